"""GateConv: the one convolution behind all gates of a recurrent cell, plain or normalized."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from odevision.nn.weight_norm_field import filter_norms
from odevision.types import Images

Gates = Float[Tensor, "batch gates height width"]
"""Feature maps of all gates, before their nonlinearities."""

StateMaps = Float[Tensor, "batch state_channels height width"]
"""Feature maps that are the state of a recurrent layer."""

GateNorm = Literal["none", "weight", "group"]


class GateConv(nn.Module):
    """Convolution to the gates of a cell, with the norm that was chosen.

    BatchNorm is not among the norms: its statistics would depend on how many frames come at once.

    Args:
        in_channels: channels of the input.
        channels: channels of one gate.
        gates: number of gates.
        kernel_size: side of the filters, odd.
        norm: "none"; "weight" divides each filter by its norm and gives it a gain, which starts at
            that norm (Salimans and Kingma 2016, arXiv 1602.07868); "group" normalizes the maps of
            each gate, frame by frame.
        bias: whether the gates have one; under "group" they always do.

    Raises:
        ValueError: there is no such norm, or the filters have no middle.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        gates: int,
        *,
        kernel_size: int = 3,
        norm: GateNorm = "none",
        bias: bool = True,
    ) -> None:
        """Build the convolution and its norm."""
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` must be odd, got {kernel_size}. Try 3.")
        if norm not in ("none", "weight", "group"):
            raise ValueError(f"`norm` must be 'none', 'weight' or 'group', got {norm!r}.")
        total, by_group = gates * channels, norm == "group"
        self.conv = nn.Conv2d(
            in_channels, total, kernel_size, padding="same", bias=bias and not by_group
        )
        self.norm = nn.GroupNorm(gates, total) if by_group else None
        self.gain = None
        if norm == "weight":
            self.gain = nn.Parameter(filter_norms(self.conv.weight.detach()))

    @property
    def bias(self) -> Tensor | None:
        """What shifts the gates."""
        return self.conv.bias if self.norm is None else self.norm.bias

    def forward(self, x: Images) -> Gates:
        """All gates, one behind the other."""
        if self.gain is not None:
            filters = self.gain * self.conv.weight / filter_norms(self.conv.weight)
            return F.conv2d(x, filters, self.conv.bias, padding="same")
        x = self.conv(x)
        return x if self.norm is None else self.norm(x)
