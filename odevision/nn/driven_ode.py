"""DrivenODE: frames fed into the vector field while the ODE is solved, a controlled equation."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from odevision.nn.gap_ode import GapODE
from odevision.nn.gru_ode import GRUODEField
from odevision.nn.ode_rnn import FrameMaps, OutputMaps
from odevision.types import Images, Scalar


class DrivenState(NamedTuple):
    """What a `DrivenODE` remembers of the frames so far.

    Attributes:
        hidden: The state of the ODE.
        control: The latest frame's features, as they drive the field.
        started: Whether there was a frame.
    """

    hidden: Images
    control: Float[Tensor, "batch gates height width"]
    started: Bool[Tensor, " batch"]


class _Driven(nn.Module):
    """f(h, x(s)), where x moves in a straight line from one frame's features to the next's."""

    def __init__(self, field: GRUODEField) -> None:
        super().__init__()
        self.field = field

    def forward(self, s: Scalar, h: Images, before: Tensor, after: Tensor) -> Images:
        return self.field(s, h, torch.lerp(before, after, s.to(before.dtype)))


class DrivenODE(nn.Module):
    """dh/dt = f(h, x(t)): the state is solved through the frames and does not jump at one.

    Between two frames x(t) is the straight line between their features. The piece from frame i - 1
    to frame i is solved when frame i has arrived, so the answer at a frame uses that frame and
    those before it, never a later one. At the first frame the state is the field's candidate, so
    that a clip of one frame has an answer.

    Reference: Kidger et al. 2020, arXiv 2005.08926, with the causal straight lines of Morrill et
    al. 2021, arXiv 2106.11028. Here x drives the field by its value, which keeps the state in
    (-1, 1), and not by its derivative.

    Args:
        in_channels: channels of the frames' features.
        channels: channels of the state.
        **settings: solver, num_steps and the other settings of `GapODE`.
    """

    def __init__(self, in_channels: int, channels: int, **settings: Any) -> None:
        """Build the field and its solve."""
        super().__init__()
        self.channels = channels
        self.evolve = GapODE(_Driven(GRUODEField(channels, in_channels=in_channels)), **settings)

    @property
    def field(self) -> GRUODEField:
        """f, as a function of h and the frames' part of the gates."""
        return self.evolve.vector_field.field  # pyright: ignore[reportReturnType]

    def initial_state(self, batch: int, height: int, width: int) -> DrivenState:
        """Zeros, on the device of the weights."""
        weight = self.field.state_conv.weight
        return DrivenState(
            hidden=weight.new_zeros(batch, self.channels, height, width),
            control=weight.new_zeros(batch, 2 * self.channels, height, width),
            started=torch.zeros(batch, dtype=torch.bool, device=weight.device),
        )

    def forward(
        self,
        x: FrameMaps,
        gaps: Float[Tensor, "batch time"],
        mask: Bool[Tensor, "batch time"],
        state: DrivenState,
    ) -> tuple[OutputMaps, DrivenState]:
        """Advance over frames; arguments and result are those of `ODERNN.forward`."""
        # In the state's dtype: under autocast the projection has half precision.
        controls = self.field.project(x.flatten(0, 1)).to(state.control.dtype)
        controls = controls.unflatten(0, x.shape[:2])
        num_pieces = self.evolve.num_pieces(gaps)
        outputs: list[Tensor] = []
        # unbind, for the reason given in `ODERNN.forward`.
        frames = zip(controls.unbind(1), gaps.unbind(1), mask.unbind(1), num_pieces, strict=True)
        for control, gap, is_frame, pieces in frames:
            advanced = self._advance(state, control, gap, pieces)
            here = is_frame[:, None, None, None]
            state = DrivenState(
                hidden=torch.where(here, advanced, state.hidden),
                control=torch.where(here, control, state.control),
                started=state.started | is_frame,
            )
            outputs.append(state.hidden)
        return torch.stack(outputs, dim=1), state

    def _advance(
        self, state: DrivenState, control: Tensor, gaps: Tensor, num_pieces: int
    ) -> Images:
        """The state at a frame, from that at the frame before."""
        hidden, started = state.hidden, state.started[:, None, None, None]
        for length, begin, end in self.evolve.pieces(gaps, num_pieces):
            line = (state.control, control)
            if num_pieces > 1:
                shares = [share[:, None, None, None].to(control.dtype) for share in (begin, end)]
                line = tuple(torch.lerp(state.control, control, share) for share in shares)
            hidden = self.evolve.solve(hidden, length, line)
        return torch.where(started, hidden, self.field.candidate(control))
