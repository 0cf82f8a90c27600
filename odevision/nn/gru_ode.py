"""GRUODEField: the gated recurrent unit with continuous time, as a vector field."""

import torch
from torch import nn

from odevision.nn.gate_conv import Gates
from odevision.types import Images, Scalar


class GRUODEField(nn.Module):
    """dh/dt = (1 - z) (n - h), with z and n the gate and the candidate of a ConvGRU.

    z = sigmoid(U_z * h + W_z * x), n = tanh(U_n * h + W_n * x). The state is drawn towards n at a
    rate below 1, so that one that starts in [-1, 1] stays there, up to the error of the solver:
    long gaps are as safe as short ones. The field does not depend on the time, so a gap may be
    split anywhere. Without an x the field is the state's alone; whoever drives it passes W * x as
    `projected`.

    Reference: De Brouwer et al. 2019, arXiv 1905.12374, of which this is the minimal form (no reset
    gate).

    Args:
        channels: channels of the state.
        kernel_size: side of the filters, odd.
    """

    def __init__(self, channels: int, *, kernel_size: int = 3) -> None:
        """Build one convolution for gate and candidate."""
        super().__init__()
        self.channels = channels
        self.state_conv = nn.Conv2d(channels, 2 * channels, kernel_size, padding="same")
        assert self.state_conv.bias is not None
        # Gates near 0.9 at the start: a state lasts for some frames before it has learned to.
        nn.init.constant_(self.state_conv.bias[:channels], 2.0)

    def candidate(self, projected: Gates) -> Images:
        """Where an empty state is drawn to by an input."""
        assert self.state_conv.bias is not None
        bias = self.state_conv.bias[self.channels :, None, None]
        return torch.tanh(projected[:, self.channels :].to(bias.dtype) + bias)

    def forward(self, s: Scalar, h: Images, projected: Gates | None = None) -> Images:
        """dh/dt, of h's shape; under autocast only the convolution has half precision."""
        mixed = self.state_conv(h)
        if projected is not None:
            mixed = mixed + projected
        mixed = mixed.to(h.dtype)
        gate, candidate = mixed.chunk(2, dim=1)
        return torch.sigmoid(-gate) * (torch.tanh(candidate) - h)
