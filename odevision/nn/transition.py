"""Transition: between two ODE blocks, because an ODE keeps the shape of its state."""

import torch
from torch import nn


class Transition(nn.Sequential):
    """Convolution, 2x2 max pooling, BatchNorm, GELU: half the resolution, a new width.

    An odd height or width is rounded down.

    BatchNorm is safe here, outside of the vector fields. Its gain stays at 1: the next layers
    normalize anyway, so a trained gain would only act as a second learning rate.

    Args:
        in_channels: channels before.
        channels: channels after.
        num_convs: convolutions; those after the first stand behind the pooling, as PlainLayer.
    """

    def __init__(self, in_channels: int, channels: int, *, num_convs: int = 1) -> None:
        """Start the convolution as the identity on its first input channels."""
        more = (PlainLayer(channels) for _ in range(num_convs - 1))
        super().__init__(
            _identity_conv(in_channels, channels),
            nn.MaxPool2d(2),
            _norm(channels),
            nn.GELU(),
            *more,
        )


class PlainLayer(nn.Sequential):
    """Convolution, BatchNorm, GELU; the convolution starts as the identity.

    Args:
        channels: channels of the feature map.
    """

    def __init__(self, channels: int) -> None:
        """Build the three layers."""
        super().__init__(_identity_conv(channels, channels), _norm(channels), nn.GELU())


def _identity_conv(in_channels: int, channels: int) -> nn.Conv2d:
    """A 3x3 convolution that starts as the identity on as many channels as both sides have."""
    conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(conv.weight[: min(in_channels, channels)])
    return conv


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    norm.weight.requires_grad_(False)
    return norm
