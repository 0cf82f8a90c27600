"""ODERNN: a recurrent layer whose state lives between the frames, too."""

from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from odevision.nn.gap_ode import GapODE
from odevision.nn.gate_conv import StateMaps

FrameMaps = Float[Tensor, "batch time channels height width"]
"""Feature maps of the frames of clips."""

OutputMaps = Float[Tensor, "batch time features height width"]
"""Feature maps of the same frames in another number of channels."""


class Cell(Protocol):
    """What updates a state at a frame: ConvGRUCell or ConvLSTMCell."""

    channels: int
    state_channels: int

    def project(self, x: Tensor) -> Tensor:
        """The input's part, for many frames at once."""
        ...

    def update(self, projected: Tensor, state: Tensor) -> Tensor:
        """The state after a frame."""
        ...

    def output(self, state: Tensor) -> Tensor:
        """What the next layer sees of a state."""
        ...


class ODERNN(nn.Module):
    """Evolve the state over the real gap before each frame, then update it at the frame.

    h(t_i-) = h after dh/dt = f(h) for t_i - t_(i-1); h(t_i) = cell(x_i, h(t_i-)). A padded frame
    does neither. Without an ODE the layer is the plain recurrent network, for which gaps mean
    nothing.

    Reference: Rubanova, Chen and Duvenaud 2019, arXiv 1907.03907.

    Args:
        cell: ConvGRUCell or ConvLSTMCell.
        evolve: the ODE, over a field of the cell's `state_channels`; None leaves it out.
    """

    def __init__(self, cell: nn.Module, evolve: GapODE | None) -> None:
        """Keep both."""
        super().__init__()
        self.cell = cell
        self.evolve = evolve

    def initial_state(self, batch: int, height: int, width: int) -> StateMaps:
        """Zeros, on the device of the weights."""
        weight = next(self.parameters())
        channels: int = self.cell.state_channels  # pyright: ignore[reportAssignmentType]
        return weight.new_zeros(batch, channels, height, width)

    def forward(
        self,
        x: FrameMaps,
        gaps: Float[Tensor, "batch time"],
        mask: Bool[Tensor, "batch time"],
        state: StateMaps,
    ) -> tuple[OutputMaps, StateMaps]:
        """Advance over frames.

        Args:
            x: features of the frames.
            gaps: ODE time from the frame before to each frame, 0 or more.
            mask: True for a frame, False for padding.
            state: before the first of these frames, from `initial_state` or an earlier call.

        Returns:
            The outputs at the frames, and the state after the last; a padded frame repeats the
            output before it.
        """
        cell: Cell = self.cell  # pyright: ignore[reportAssignmentType]
        projected = cell.project(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        pieces, args = [], ()
        if self.evolve is not None:
            pieces, args = self.evolve.num_pieces(gaps), self.evolve.prepare(state)
        is_frame = mask[:, :, None, None, None]
        outputs: list[Tensor] = []
        # unbind: the way back of x[:, i] would fill a tensor for all frames with zeros, each frame.
        frames = zip(projected.unbind(1), gaps.unbind(1), is_frame.unbind(1), strict=True)
        for i, (one, gap, here) in enumerate(frames):
            evolved = state
            if self.evolve is not None:
                evolved = self.evolve(state, gap, args, pieces[i])
            state = torch.where(here, cell.update(one, evolved), state)
            outputs.append(cell.output(state))
        return torch.stack(outputs, dim=1), state
