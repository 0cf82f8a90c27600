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
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        """Start the convolution as the identity on its first input channels."""
        conv = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
        with torch.no_grad():
            nn.init.dirac_(conv.weight[: min(in_channels, channels)])
        norm = nn.BatchNorm2d(channels)
        norm.weight.requires_grad_(False)
        super().__init__(conv, nn.MaxPool2d(2), norm, nn.GELU())
