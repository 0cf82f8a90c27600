"""DrivenODE: frames fed into the vector field while the ODE is solved, a controlled equation."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from odevision.nn.gap_ode import GapODE, one_a_sample
from odevision.nn.gru_ode import GRUODEField
from odevision.nn.ode_rnn import FrameMaps, OutputMaps
from odevision.types import Images, Scalar

_SHORTEST_GAP = 1e-3
"""In ODE time: frames that are nearer count as this far apart where their change is measured."""


class DrivenState(NamedTuple):
    """What a `DrivenODE` remembers of the frames so far.

    Attributes:
        hidden: The state of the ODE.
        control: What the latest frame makes of the gates: by its features, and by their change.
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
    """dh/dt = f(h, x(t), dx/dt): the state is solved through the frames and does not jump at one.

    Between two frames x(t) is the straight line between their features. The piece from frame i - 1
    to frame i is solved when frame i has arrived, so the answer at a frame uses that frame and
    those before it, never a later one. At the first frame the state is the field's candidate, so
    that a clip of one frame has an answer.

    Reference: Kidger et al. 2020, arXiv 2005.08926, with the causal straight lines of Morrill et
    al. 2021, arXiv 2106.11028. Here x and its derivative stand inside the field and not as a factor
    of it, which keeps the state in (-1, 1).

    Args:
        in_channels: channels of the frames' features.
        channels: channels of the state.
        **settings: solver, num_steps and the other settings of `GapODE`.
    """

    def __init__(self, in_channels: int, channels: int, **settings: Any) -> None:
        """Build the field, what feeds it, and its solve."""
        super().__init__()
        self.channels = channels
        field = GRUODEField(channels)
        # What drives the field is to reach the state within a frame or two.
        nn.init.zeros_(field.state_conv.bias)  # pyright: ignore[reportArgumentType]
        # The gates' part of x, and that of dx/dt.
        self.input_conv = nn.Conv2d(in_channels, 4 * channels, 3, padding=1, bias=False)
        self.evolve = GapODE(_Driven(field), **settings)

    @property
    def field(self) -> GRUODEField:
        """f, as a function of h and the frames' part of the gates."""
        return self.evolve.vector_field.field  # pyright: ignore[reportReturnType]

    def initial_state(self, batch: int, height: int, width: int) -> DrivenState:
        """Zeros, on the device of the weights."""
        weight = self.field.state_conv.weight
        return DrivenState(
            hidden=weight.new_zeros(batch, self.channels, height, width),
            control=weight.new_zeros(batch, 4 * self.channels, height, width),
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
        controls = self.input_conv(x.flatten(0, 1)).to(state.control.dtype)
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
        value, mark = control.chunk(2, dim=1)
        old_value, old_mark = state.control.chunk(2, dim=1)
        slope = (mark - old_mark) / one_a_sample(gaps.clamp(min=_SHORTEST_GAP), mark)
        before, after = old_value + slope, value + slope
        for length, begin, end in self.evolve.pieces(gaps, num_pieces):
            line = (before, after)
            if num_pieces > 1:
                shares = [one_a_sample(share, value) for share in (begin, end)]
                line = tuple(torch.lerp(before, after, share) for share in shares)
            hidden = self.evolve.solve(hidden, length, line)
        return torch.where(started, hidden, self.field.candidate(value))
