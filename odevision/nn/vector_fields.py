"""Vector fields for images: f(t, y) keeps the shape of a feature map.

A field may offer `prepare(y)`: what it needs of its weights but not of t and y, made once a solve
and handed to f as arguments, so that gradients flow through it.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from odevision.nn.time_conv import TimeConv2d
from odevision.types import Images, Scalar


class ConvField(nn.Module):
    """The paper's field: GroupNorm, ReLU, time-aware 3x3 convolution, twice, then GroupNorm.

    Reference: Chen et al. 2018, "Neural ordinary differential equations", section 3.

    Args:
        channels: channels of the state; its groups are 32, or as many as there are channels.
    """

    def __init__(self, channels: int) -> None:
        """Build two convolutions of equal width."""
        super().__init__()
        groups = min(32, channels)
        if channels % groups:
            raise ValueError(f"`channels` must be a multiple of {groups}, got {channels}. Try 64.")
        self.norm1 = nn.GroupNorm(groups, channels)
        self.conv1 = TimeConv2d(channels, channels)
        self.norm2 = nn.GroupNorm(groups, channels)
        self.conv2 = TimeConv2d(channels, channels)
        self.norm3 = nn.GroupNorm(groups, channels)

    def prepare(self, y: Images) -> tuple[Tensor, Tensor]:
        """The two convolutions' responses to one unit of time."""
        return self.conv1.time_response(y), self.conv2.time_response(y)

    def forward(self, t: Scalar, y: Images, response1: Tensor, response2: Tensor) -> Images:
        """dy/dt, of y's shape."""
        x = self.conv1(t, F.relu(self.norm1(y)), response1)
        x = self.conv2(t, F.relu(self.norm2(x)), response2)
        return self.norm3(x)


class GatedConvField(nn.Module):
    """f = (g + g' t) GN(conv(GELU(GN(y) + b + b' t))): one convolution; the time shifts and scales.

    The gain g starts below 1, so that the state at t1 is about as large as at t0 and few steps
    integrate it well: the trained network stays an ODE, not a residual network in disguise.
    GroupNorm has no gain of its own; g and the next convolution carry the scale.

    Args:
        channels: channels of the state, a multiple of `groups`.
        groups: groups of both norms.
        gain: g at the start, > 0.
    """

    def __init__(self, channels: int, *, groups: int = 16, gain: float = 0.5) -> None:
        """Build one convolution between two norms."""
        super().__init__()
        if channels % groups:
            raise ValueError(f"`channels` must be a multiple of groups = {groups}, got {channels}.")
        self.groups = groups
        self.shift = nn.Parameter(torch.zeros(channels))
        self.time_shift = nn.Parameter(torch.zeros(channels))
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.gain = nn.Parameter(torch.full((1, channels, 1, 1), float(gain)))
        self.time_gain = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, t: Scalar, y: Images) -> Images:
        """dy/dt, of y's shape."""
        shift: Float[Tensor, " channels"] = self.shift + t * self.time_shift
        x = F.gelu(F.group_norm(y, self.groups, bias=shift))
        x = F.group_norm(self.conv(x), self.groups)
        return (self.gain + t * self.time_gain) * x
