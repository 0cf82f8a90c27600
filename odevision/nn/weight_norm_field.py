"""A vector field that normalizes its weights instead of its feature maps."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from odevision.types import Images, Scalar


def filter_norms(
    filters: Float[Tensor, "out_channels in_channels height width"],
) -> Float[Tensor, "out_channels 1 1 1"]:
    """The norm of each output channel's filter, kept away from zero to be divided by."""
    norms = torch.linalg.vector_norm(filters, dim=(1, 2, 3), keepdim=True)
    return norms.clamp_min(1e-8)


class WeightNormField(nn.Module):
    """f(t, y) = W(t) * GELU(y) + b(t), with W(t) = (g + t g') (W0 + t W1) / |W0|.

    |W0| is the norm of each output channel's filter, so the gain g alone sets how fast the state
    moves: |f| stays bounded by the state, and few steps integrate it well. Nothing is normalized
    from sample to sample or from evaluation to evaluation, so an evaluation costs one convolution
    and one GELU. Gains and biases are folded into the convolution; they cost nothing either.

    The leaky one is f(t, y) = GELU(W(t) * y + b(t)) - y, a continuous-time recurrent network: the
    state is drawn to the features made from it instead of having them added, and so forgets what it
    was. One Euler step over a unit of time is a plain layer.

    Reference: weight normalization of Salimans and Kingma 2016, arXiv 1602.07868; filters linear in
    the time are the piecewise linear basis of Queiruga et al. 2021, arXiv 2106.11479, on one piece;
    the leaky form is that of Funahashi and Nakamura 1993, "Approximation of dynamical systems by
    continuous time recurrent neural networks".

    Args:
        channels: channels of the state.
        gain: g at the start, >= 0. None takes 0.5, and 1 for the leaky field. With 0 the block
            begins as the identity, but not if it is leaky.
        time_weights: whether W1 is there; it starts at 0. Without it the time moves g and b only.
        leaky: which of the two.
    """

    def __init__(
        self,
        channels: int,
        *,
        gain: float | None = None,
        time_weights: bool = False,
        leaky: bool = False,
    ) -> None:
        """Draw W0 as nn.Conv2d does; everything that depends on the time starts at zero."""
        super().__init__()
        self.leaky = leaky
        gain = (1.0 if leaky else 0.5) if gain is None else gain
        shape = (channels, channels, 3, 3)
        self.weight = nn.Parameter(torch.empty(shape))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        self.time_weight = nn.Parameter(torch.zeros(shape)) if time_weights else None
        # Four dimensions mark a gain, which an optimizer treats as a weight and not as a bias.
        self.gain = nn.Parameter(torch.full((channels, 1, 1, 1), float(gain)))
        self.time_gain = nn.Parameter(torch.zeros(channels, 1, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.time_bias = nn.Parameter(torch.zeros(channels))

    def prepare(self, y: Images) -> tuple[Tensor, ...]:
        """The filters W0 / |W0| and, where they move with the time, W1 / |W0|."""
        scale = filter_norms(self.weight)
        if self.time_weight is None:
            return (self.weight / scale,)
        return self.weight / scale, self.time_weight / scale

    def forward(
        self, t: Scalar, y: Images, filters: Tensor, time_filters: Tensor | None = None
    ) -> Images:
        """dy/dt, of y's shape; under autocast in its dtype, but if it is leaky in y's."""
        if time_filters is not None:
            filters = filters + t * time_filters
        filters = (self.gain + t * self.time_gain) * filters
        bias = self.bias + t * self.time_bias
        x = y
        if torch.is_autocast_enabled(y.device.type):
            # Before the GELU, which autocast would leave in the state's float32.
            x = y.to(torch.get_autocast_dtype(y.device.type))
        if self.leaky:
            return F.gelu(F.conv2d(x, filters, bias, padding=1)) - y
        return F.conv2d(F.gelu(x), filters, bias, padding=1)
