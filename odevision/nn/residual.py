"""Residual blocks: what an ODE block becomes when it takes one Euler step and forgets the time."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from odevision.nn.weight_norm_field import filter_norms
from odevision.types import Images


class ConvResidual(nn.Module):
    """y + conv(ReLU(GN(conv(ReLU(GN(y)))))): the plain twin of ConvField.

    Args:
        channels: channels of the feature map, a multiple of 32 or below 32.
    """

    def __init__(self, channels: int) -> None:
        """Build two convolutions of equal width."""
        super().__init__()
        groups = min(32, channels)
        self.norm1 = nn.GroupNorm(groups, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, y: Images) -> Images:
        """The feature map, of y's shape."""
        x = self.conv1(F.relu(self.norm1(y)))
        return y + self.conv2(F.relu(self.norm2(x)))


class GatedConvResidual(nn.Module):
    """y + g GN(conv(GELU(GN(y)))): the plain twin of GatedConvField.

    Args:
        channels: channels of the feature map, a multiple of `groups`.
        groups: groups of both norms.
        gain: g at the start.
    """

    def __init__(self, channels: int, *, groups: int = 16, gain: float = 0.5) -> None:
        """Build one convolution between two norms."""
        super().__init__()
        self.groups = groups
        self.shift = nn.Parameter(torch.zeros(channels))
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.gain = nn.Parameter(torch.full((1, channels, 1, 1), float(gain)))

    def forward(self, y: Images) -> Images:
        """The feature map, of y's shape."""
        x = F.gelu(F.group_norm(y, self.groups, bias=self.shift))
        return y + self.gain * F.group_norm(self.conv(x), self.groups)


class WeightNormResidual(nn.Module):
    """y + g W / |W| * GELU(y) + b: the plain twin of WeightNormField.

    Args:
        channels: channels of the feature map.
        gain: g at the start.
    """

    def __init__(self, channels: int, *, gain: float = 0.5) -> None:
        """Draw W as nn.Conv2d does."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.gain = nn.Parameter(torch.full((channels, 1, 1, 1), float(gain)))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, y: Images) -> Images:
        """The feature map, of y's shape."""
        filters = self.gain * self.weight / filter_norms(self.weight)
        return y + F.conv2d(F.gelu(y), filters, self.bias, padding=1)
