"""GapODE: a layer that evolves each sample of a batch over a gap of time of its own."""

import contextlib
import dataclasses
import math
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from odevision.nn.ode_block import prepared
from odevision.ode.solution import Stats
from odevision.solve import (
    Gradient,
    odesolve,
    refuse_changing_layers,
    resolve_gradient,
    resolve_solver,
)
from odevision.types import Number, Scalar, State

_MOST_COSTS = 10_000
"""Solves whose backward pass is waited for."""

_RECOMPUTING: ContextVar[bool] = ContextVar("odevision_recomputing", default=False)


@contextlib.contextmanager
def recomputing() -> Iterator[None]:
    """Count what is evaluated inside as repeated by the backward pass."""
    token = _RECOMPUTING.set(True)
    try:
        yield
    finally:
        _RECOMPUTING.reset(token)


def one_a_sample(numbers: Float[Tensor, " batch"], y: State) -> Tensor:
    """Shape and convert a number a sample so that it multiplies all of that sample's state."""
    return numbers.view(-1, *[1] * (y.ndim - 1)).to(y.dtype)


class _OverGap(nn.Module):
    """dy/ds = gap f(s, y): one unit of s is the whole gap, however long it is."""

    def __init__(self, vector_field: nn.Module) -> None:
        super().__init__()
        self.vector_field = vector_field

    def forward(self, s: Scalar, y: State, gaps: Float[Tensor, " batch"], *args: Any) -> State:
        slope = self.vector_field(s, y, *args)
        return one_a_sample(gaps, y) * slope


class GapODE(nn.Module):
    """y after a gap, where dy/dt = f(s, y) and the gap is another one for each sample.

    The gaps of a batch make one solve: with s = t / gap, dy/ds = gap f(s, y) for s from 0 to 1.
    A gap of 0 is the identity, to the bit. With equal steps, gaps longer than `max_step` are taken
    in pieces of that length and a rest, sample by sample, so that no sample depends on the gaps of
    the others. f receives s, the share of the piece that has passed; only where it ignores s does a
    gap that is split anywhere give the same state.

    Args:
        vector_field: module called as f(s, y) or f(s, y, *args), keeping y's shape. With a method
            `prepare(y)`, what that returns goes first among args; see `prepare`.
        solver: a name that `list_solvers()` gives.
        num_steps: equal steps a piece; None adapts them to the tolerance, over the whole gap.
        rtol: relative tolerance.
        atol: absolute tolerance.
        gradient: as for `odesolve`.
        max_step: longest piece, in units of ODE time; has no meaning for adaptive steps.
        max_gap: gaps above it count as this long, in units of ODE time. A field that draws the
            state to a place of rest has it there by then, and a stream that pauses for hours must
            not take hours to go on.

    Raises:
        ValueError: an argument is out of range, or the field holds BatchNorm or dropout.
    """

    def __init__(
        self,
        vector_field: nn.Module,
        *,
        solver: str = "midpoint",
        num_steps: int | None = 1,
        rtol: Number = 1e-3,
        atol: Number = 1e-3,
        gradient: Gradient = "direct",
        max_step: float = 1.0,
        max_gap: float = 64.0,
    ) -> None:
        """Keep the settings; odesolve checks the rest at the first solve."""
        super().__init__()
        resolve_gradient(gradient).solver_for(resolve_solver(solver))
        for name, value in (("max_step", max_step), ("max_gap", max_gap)):
            if not value > 0:
                raise ValueError(f"`{name}` must be above 0, got {value}. Try 1.")
        refuse_changing_layers(vector_field)
        self.over_gap = _OverGap(vector_field)
        self.solver, self.num_steps = solver, num_steps
        self.rtol, self.atol = rtol, atol
        self.gradient: Gradient = gradient
        self.max_step, self.max_gap = max_step, max_gap
        self.reset_stats()

    @property
    def vector_field(self) -> nn.Module:
        """The f that was given."""
        return self.over_gap.vector_field

    @property
    def last_stats(self) -> Stats | None:
        """Evaluations and steps of all gaps since `reset_stats`; None where there was none."""
        if not self._costs and self._settled.nfe_forward == 0:
            return None
        total = dataclasses.replace(self._settled)
        for stats, is_repeated in self._costs:
            _add(total, stats, is_repeated=is_repeated)
        return total

    last_step_error = None

    @property
    def measures_step_error(self) -> bool:
        """Whether step errors are measured, as an `ODEBlock` can: they are not."""
        return False

    @measures_step_error.setter
    def measures_step_error(self, wanted: bool) -> None:
        if wanted:
            raise ValueError(
                "`measures_step_error` must be False between the frames of a video, whose many "
                "solves keep no slopes. Try step_error_weight=0."
            )

    def reset_stats(self) -> None:
        """Begin to count anew."""
        self._settled = Stats()
        # Those whose backward pass may still come, and whether they were solved once before.
        self._costs: list[tuple[Stats, bool]] = []

    def prepare(self, y: State) -> tuple[Any, ...]:
        """What f makes of its weights alone, once for many gaps; goes first among `args`."""
        return prepared(self.vector_field, y)

    def num_pieces(self, gaps: Float[Tensor, "batch time"]) -> list[int]:
        """Pieces for each frame's gaps: how often the longest takes `max_step`; one host read.

        Raises:
            ValueError: a gap is negative or NaN; adaptive steps do not look.
        """
        if self.num_steps is None:
            return [1] * gaps.shape[1]
        least, longest = torch.stack(gaps.detach().aminmax(dim=0)).tolist()
        for low, high in zip(least, longest, strict=True):
            if not 0 <= low <= high:  # NaN neither
                raise ValueError(
                    f"`gaps` must be 0 or more, got {low}. Try to sort the frames by their times."
                )
        # A hair's breadth above a whole number is rounding of time stamps, not another piece.
        pieces = (min(high, self.max_gap) / self.max_step - 1e-4 for high in longest)
        return [max(1, math.ceil(count)) for count in pieces]

    def forward(
        self,
        y: State,
        gaps: Float[Tensor, " batch"],
        args: tuple[Any, ...] | None = None,
        num_pieces: int | None = None,
    ) -> State:
        """The states after the gaps, of y's shape.

        Args:
            y: states, one a sample.
            gaps: in units of ODE time, 0 or more.
            args: further arguments of f, what `prepare` returns first; None makes that here. f sees
                them unchanged in every piece.
            num_pieces: from `num_pieces`; None reads it off the gaps.

        Raises:
            SolveError: the end of a gap could not be reached.
        """
        if num_pieces is None:
            (num_pieces,) = self.num_pieces(gaps[:, None])
        args = self.prepare(y) if args is None else args
        for length, _, _ in self.pieces(gaps, num_pieces):
            y = self.solve(y, length, args)
        return y

    def pieces(
        self, gaps: Float[Tensor, " batch"], num_pieces: int
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Cut gaps into pieces of at most `max_step`.

        Args:
            gaps: in units of ODE time.
            num_pieces: from `num_pieces`.

        Returns:
            An iterator over the length of each piece, and the shares of the gap at which it begins
            and ends, each of shape (batch,). A sample whose gap is over has length 0 and share 1.
        """
        gaps = gaps.clamp(max=self.max_gap)
        if num_pieces == 1:  # A gap a hair above `max_step` is not cut.
            yield gaps, torch.zeros_like(gaps), torch.ones_like(gaps)
            return
        begin, at = torch.zeros_like(gaps), torch.zeros_like(gaps)
        for piece in range(1, num_pieces + 1):
            end = gaps if piece == num_pieces else gaps.clamp(max=piece * self.max_step)
            share = torch.where(gaps > 0, end / gaps.clamp(min=1e-30), 1.0)
            yield end - begin, at, share
            begin, at = end, share

    def solve(self, y: State, gaps: Float[Tensor, " batch"], args: tuple[Any, ...] = ()) -> State:
        """One piece: as `forward`, but in one solve however long the gaps are."""
        steps: dict[str, Any] = {"num_steps": self.num_steps}
        if self.num_steps is None:
            steps = {"rtol": self.rtol, "atol": self.atol}
        solution = odesolve(
            self.over_gap,
            y.float() if y.dtype in (torch.bfloat16, torch.float16) else y,
            0.0,
            1.0,
            args=(gaps, *args),
            solver=self.solver,
            gradient=self.gradient,
            **steps,
        )
        self._count(solution.stats)
        return solution.y1

    def _count(self, stats: Stats) -> None:
        if torch.is_grad_enabled():
            self._costs.append((stats, _RECOMPUTING.get()))
            if len(self._costs) > _MOST_COSTS:  # nobody asks: the oldest count as they are
                for old, is_repeated in self._costs[: _MOST_COSTS // 2]:
                    _add(self._settled, old, is_repeated=is_repeated)
                del self._costs[: _MOST_COSTS // 2]
        else:  # A stream may go on for hours: a few numbers, not a list.
            _add(self._settled, stats, is_repeated=_RECOMPUTING.get())

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles begin to count anew."""
        return {**super().__getstate__(), "_costs": [], "_settled": Stats()}

    def extra_repr(self) -> str:
        """The settings of the solve."""
        steps = f"rtol={self.rtol}, atol={self.atol}"
        if self.num_steps is not None:
            steps = f"num_steps={self.num_steps}, max_step={self.max_step}"
        gradient = self.gradient if isinstance(self.gradient, str) else self.gradient.name
        return f"solver={self.solver}, {steps}, gradient={gradient}, max_gap={self.max_gap}"


def _add(total: Stats, stats: Stats, *, is_repeated: bool) -> None:
    """Add the cost of a solve; what the backward pass repeats counts as its own."""
    total.nfe_backward += stats.nfe_backward
    if is_repeated:
        total.nfe_backward += stats.nfe_forward
        return
    total.nfe_forward += stats.nfe_forward
    total.num_steps += stats.num_steps
    total.num_accepted_steps += stats.num_accepted_steps
    total.num_rejected_steps += stats.num_rejected_steps
