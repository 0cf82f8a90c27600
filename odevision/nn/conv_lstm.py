"""ConvLSTMCell: a long short-term memory whose state is a pair of feature maps."""

import torch
from torch import nn

from odevision.nn.gate_conv import GateConv, GateNorm, Gates, StateMaps
from odevision.types import FeatureMaps, Images


class ConvLSTMCell(nn.Module):
    """The long short-term memory with convolutions in place of matrices.

    i, f, o = sigmoid(W * x + U * h), g = tanh(W_g * x + U_g * h), c' = f c + i g, h' = o tanh(c').

    The state holds h and, behind it, c, so that it is one tensor of twice the channels, shape
    (batch, 2 * channels, height, width).

    Reference: Shi et al. 2015, arXiv 1506.04214, without the peephole connections.

    Args:
        in_channels: channels of the input.
        channels: channels of h, which the next layer sees.
        kernel_size: side of the filters, odd.
        norm: of the filters or the gates, see `GateConv`.
    """

    def __init__(
        self, in_channels: int, channels: int, *, kernel_size: int = 3, norm: GateNorm = "none"
    ) -> None:
        """Build one convolution for the input and one for h; the forget gate starts open."""
        super().__init__()
        self.channels, self.state_channels = channels, 2 * channels
        self.input_conv = GateConv(in_channels, channels, 4, kernel_size=kernel_size, norm=norm)
        self.state_conv = GateConv(
            channels, channels, 4, kernel_size=kernel_size, norm=norm, bias=False
        )
        assert self.input_conv.bias is not None
        with torch.no_grad():
            self.input_conv.bias[channels : 2 * channels] = 1.0

    def project(self, x: Images) -> Gates:
        """The input's part of the gates and the candidate, for as many frames as x has."""
        return self.input_conv(x)

    def update(self, projected: Gates, state: StateMaps) -> StateMaps:
        """The state after a frame, from what `project` made of it; in the state's dtype."""
        hidden, memory = state.chunk(2, dim=1)
        mixed = projected + self.state_conv(hidden)
        gates, candidate = mixed.split([3 * self.channels, self.channels], dim=1)
        write, keep, show = torch.sigmoid(gates).chunk(3, dim=1)
        memory = keep * memory + write * torch.tanh(candidate)
        return torch.cat([show * torch.tanh(memory), memory], dim=1).to(state.dtype)

    def forward(self, x: Images, state: StateMaps) -> StateMaps:
        """The state after a frame."""
        return self.update(self.project(x), state)

    def output(self, state: StateMaps) -> FeatureMaps:
        """What the next layer sees: h."""
        return state[:, : self.channels]
