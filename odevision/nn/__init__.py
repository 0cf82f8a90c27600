"""Torch modules made of or for ODEs: vector fields, the ODE block, stems, transitions and heads."""

from odevision.nn.ode_block import ODEBlock
from odevision.nn.time_conv import TimeConv2d
from odevision.nn.vector_fields import ConvField, GatedConvField
from odevision.nn.weight_norm_field import WeightNormField

__all__ = ["ConvField", "GatedConvField", "ODEBlock", "TimeConv2d", "WeightNormField"]
