"""Moments: times inside a step at which states are handed out, and the states there."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from odevision.ode.clock import RowClock
from odevision.ode.independent.attempt import Attempt
from odevision.ode.independent.event import RowEventWatch
from odevision.ode.independent.rows import Rows, chosen
from odevision.ode.independent.step import Moments, interpolate
from odevision.ode.solver import AbstractSolver
from odevision.types import State


def find_moments(
    rows: Rows,
    attempt: Attempt,
    solver: AbstractSolver,
    watch: RowEventWatch | None,
    f1: State,
) -> tuple[Moments, Tensor, Float[Tensor, " rows"]]:
    """The save times that a step passed and the roots inside it.

    A row may have moments after its own end, which a terminal event put before the step's end: they
    don't count, and are left to be sorted out when the solve is over.

    Args:
        rows: the rows before the step.
        attempt: the step.
        solver: what made it.
        watch: located the roots.
        f1: slopes at its end, dy/ds; of any value where no moment asks for them.

    Returns:
        The moments, the states there, and the signed time at which each row's step ends.
    """
    step, t_end = attempt.step, attempt.t_next
    bump, f0 = solver.bump(step), step.f0
    assert f0 is not None
    inside = lambda row, s: interpolate(row, s, step, f0, f1, bump)
    found = [_saves(rows, attempt)]
    for i in range(len(attempt.counts.roots)):
        assert watch is not None
        row, s = _roots(rows, attempt, watch, i, inside)
        t = _time(rows, attempt, row, s)
        found.append((row, s, t, torch.zeros_like(row)))
        if watch.events[i].terminal:
            t_end = t_end.index_copy(0, row, torch.minimum(t_end[row], t))
    row, s, t, slot = (torch.cat(part) for part in zip(*found, strict=True))
    lands = solver.lands_on_saves and not any(attempt.counts.roots)
    moments = Moments(
        row=row,
        s=s,
        sample=rows.sample[row],
        t=t if rows.sign is None else rows.sign[row] * t,
        slot=slot,
        counts=tuple(len(part[0]) for part in found),
        at_end=lands,
    )
    states = step.y1.index_select(0, row) if lands else inside(row, s)
    return moments, states, t_end


def inner_roots(
    rows: Rows, attempt: Attempt, solver: AbstractSolver, watch: RowEventWatch, f1: State
) -> tuple[Float[Tensor, " rows"], Bool[Tensor, " rows"]]:
    """The first root of each row that lies well inside its step, as a signed time.

    An interpolant is far more accurate close to the ends of its step than inside it, so that
    methods without an accurate one make such a step again, to land on the root.

    Returns:
        The times, infinite where there is no such root, and where there is one.
    """
    step, f0 = attempt.step, attempt.step.f0
    assert f0 is not None
    bump, first = solver.bump(step), torch.full_like(rows.t, torch.inf)
    inside = lambda row, s: interpolate(row, s, step, f0, f1, bump)
    for i in range(len(watch.events)):
        row, s = _roots(rows, attempt, watch, i, inside)
        s = torch.where((s > 1e-3) & (s < 1 - 1e-3), s, torch.inf)
        first = first.index_copy(0, row, torch.minimum(first[row], s))
    found = torch.isfinite(first)
    t = torch.lerp(rows.t, attempt.t_next, torch.where(found, first, 0))
    return torch.where(found, t, torch.inf), found


def _roots(
    rows: Rows,
    attempt: Attempt,
    watch: RowEventWatch,
    i: int,
    inside: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """Rows with a root of event i in their step, and its place there."""
    assert attempt.crossed is not None and rows.signs is not None
    row = chosen(attempt.crossed[:, i], attempt.counts.roots[i])
    if not attempt.counts.roots[i]:
        return row, rows.t.new_zeros(0)
    old = rows.signs[row, i].to(rows.t.dtype)
    clock, sample = _clock_of(attempt.clock, row), rows.sample[row]
    return row, watch.roots(i, old, clock, lambda s: inside(row, s), sample)


def _saves(rows: Rows, attempt: Attempt) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Row, place in the step, signed time and number of each save time."""
    count = attempt.counts.saves
    passed, before = attempt.passed, rows.next_save
    if not count or passed is None or before is None or rows.saves is None:
        none = rows.sample.new_zeros(0)
        return none, rows.t.new_zeros(0), rows.t.new_zeros(0), none
    new = passed - before
    index = torch.arange(len(new), device=new.device)
    row = torch.repeat_interleave(index, new, output_size=count)
    first = torch.cumsum(new, 0) - new
    slot = torch.arange(count, device=new.device) + (before - first)[row]
    t = rows.saves[row, slot]
    s = (t - rows.t[row]) / attempt.dt[row]
    return row, s, t, slot


def _time(rows: Rows, attempt: Attempt, row: Tensor, s: Tensor) -> Tensor:
    """Signed time at s in a row's step; exactly its end at 1."""
    return torch.lerp(rows.t[row], attempt.t_next[row], s)


def _clock_of(clock: RowClock, row: Int64[Tensor, " roots"]) -> RowClock:
    pick = lambda x: x.index_select(0, row)
    return RowClock(pick(clock.t0), pick(clock.t1), pick(clock.dt))
