"""ConvGRUCell: a gated recurrent unit whose state is a feature map."""

import torch
from torch import nn

from odevision.nn.gate_conv import GateConv, GateNorm, Gates, StateMaps
from odevision.types import FeatureMaps, Images


class ConvGRUCell(nn.Module):
    """The gated recurrent unit with convolutions in place of matrices.

    z = sigmoid(W_z * x + U_z * h), r = sigmoid(W_r * x + U_r * h),
    n = tanh(W_n * x + r (U_n * h)), h' = z h + (1 - z) n.

    The reset gate stands behind the convolution of the state, as in cuDNN's GRU, so that one
    convolution a frame serves all three. The part of the input can be made for many frames at once:
    `update(project(x), h)` is `cell(x, h)`. A state that starts in (-1, 1) stays there. It has the
    shape (batch, channels, height, width) of the input's height and width.

    Reference: Ballas et al. 2016, arXiv 1511.06432.

    Args:
        in_channels: channels of the input.
        channels: channels of the state.
        kernel_size: side of the filters, odd.
        norm: of the filters or the gates, see `GateConv`.
    """

    def __init__(
        self, in_channels: int, channels: int, *, kernel_size: int = 3, norm: GateNorm = "none"
    ) -> None:
        """Build one convolution for the input and one for the state."""
        super().__init__()
        self.channels = self.state_channels = channels
        self.input_conv = GateConv(in_channels, channels, 3, kernel_size=kernel_size, norm=norm)
        self.state_conv = GateConv(channels, channels, 3, kernel_size=kernel_size, norm=norm)

    def project(self, x: Images) -> Gates:
        """The input's part of the gates and the candidate, for as many frames as x has."""
        return self.input_conv(x)

    def update(self, projected: Gates, state: StateMaps) -> StateMaps:
        """The state after a frame, from what `project` made of it; in the state's dtype."""
        x_gates, x_candidate = projected.split([2 * self.channels, self.channels], dim=1)
        h_gates, h_candidate = self.state_conv(state).split(
            [2 * self.channels, self.channels], dim=1
        )
        keep, reset = torch.sigmoid(x_gates + h_gates).chunk(2, dim=1)
        candidate = torch.tanh(x_candidate + reset * h_candidate)
        return (keep * state + (1 - keep) * candidate).to(state.dtype)

    def forward(self, x: Images, state: StateMaps) -> StateMaps:
        """The state after a frame."""
        return self.update(self.project(x), state)

    def output(self, state: StateMaps) -> FeatureMaps:
        """What the next layer sees: all of the state."""
        return state
