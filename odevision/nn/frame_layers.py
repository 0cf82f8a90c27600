"""Layers over frames without an ODE: a residual block, and the baselines' recurrent layers."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from odevision.nn.ode_rnn import ODERNN, FrameMaps, OutputMaps
from odevision.types import FeatureMaps


class GapAsInput(nn.Module):
    """Appends the gap before each frame to its feature maps, as a constant channel.

    Args:
        layer: takes one channel more than the feature maps have.
    """

    def __init__(self, layer: ODERNN) -> None:
        """Keep the layer."""
        super().__init__()
        self.layer = layer

    def initial_state(self, batch: int, height: int, width: int) -> Any:
        """That of the layer."""
        return self.layer.initial_state(batch, height, width)

    def forward(
        self,
        x: FrameMaps,
        gaps: Float[Tensor, "batch time"],
        mask: Bool[Tensor, "batch time"],
        state: Any,
    ) -> tuple[OutputMaps, Any]:
        """Advance over frames; arguments and result are those of `ODERNN.forward`."""
        channel = gaps[:, :, None, None, None].expand(*x.shape[:2], 1, *x.shape[3:]).to(x.dtype)
        return self.layer(torch.cat([x, channel], dim=2), gaps, mask, state)


class FrameResidual(nn.Module):
    """x + conv(GELU(conv(GELU(x)))) of each frame by itself.

    Args:
        channels: channels of the feature maps; inside there are three times as many, which takes as
            many weights as a ConvGRU.
    """

    def __init__(self, channels: int) -> None:
        """Build both convolutions."""
        super().__init__()
        self.inner = nn.Conv2d(channels, 3 * channels, 3, padding=1)
        self.outer = nn.Conv2d(3 * channels, channels, 3, padding=1)

    def forward(self, x: FeatureMaps) -> FeatureMaps:
        """Feature maps of the same shape, of any number of frames."""
        return x + self.outer(F.gelu(self.inner(F.gelu(x))))


class EachFrame(nn.Module):
    """FrameResidual in the place of a recurrent layer.

    Args:
        channels: channels of the feature maps.
    """

    def __init__(self, channels: int) -> None:
        """Build it."""
        super().__init__()
        self.residual = FrameResidual(channels)

    def initial_state(self, batch: int, height: int, width: int) -> tuple[()]:
        """Nothing is remembered."""
        return ()

    def forward(
        self,
        x: FrameMaps,
        gaps: Float[Tensor, "batch time"],
        mask: Bool[Tensor, "batch time"],
        state: tuple[()],
    ) -> tuple[FrameMaps, tuple[()]]:
        """As `ODERNN.forward`; time means nothing here."""
        maps = self.residual(x.flatten(0, 1))
        return maps.unflatten(0, x.shape[:2]), state
