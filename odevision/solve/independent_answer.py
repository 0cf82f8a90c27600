"""From the trajectory of samples with a clock each to the Solution that users read."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from odevision.gradient.independent import IndependentProblem
from odevision.gradient.problem import Problem
from odevision.ode.clock import column
from odevision.ode.event import Event, attach_root_gradient, first_order
from odevision.ode.independent import RESULTS, RowTrajectory, user_view
from odevision.ode.loop import Trajectory
from odevision.ode.solution import Result, Solution, SolveError
from odevision.ode.state import StateLayout
from odevision.ode.term import check
from odevision.ode.tracing import recording, tracked

Points = tuple[Tensor, Tensor, Tensor, Tensor]
"""Samples, times, slots and states of moments of one kind, one entry a moment."""


def answer_independent(
    problem: IndependentProblem,
    path: RowTrajectory,
    save_at: Any,
    events: Sequence[Event],
    time_dtype: torch.dtype,
) -> Solution:
    """Sort what the steps handed out, and let gradients reach saved times and event roots.

    Args:
        problem: what was solved.
        path: the trajectory.
        save_at: what the user gave for it.
        events: what was looked for.
        time_dtype: of the times that are handed out.
    """
    batch, y0 = len(problem.y0), problem.y0
    every = torch.arange(batch, device=y0.device)
    t1, y1 = problem.times.moved(path.t1, every), path.y1
    results = path.failures.results
    kinds = _sort(problem, path, 1 + len(events))
    event_ts, event_ys = [], []
    for event, points in zip(events, kinds[1:], strict=True):
        sample, end, _, _ = points
        t, y = _roots(problem, path, event, points)
        if event.terminal:
            last = torch.nonzero(end == path.t1[sample])[:, 0]
            which = sample[last]
            t1, y1 = t1.index_copy(0, which, t[last]), y1.index_copy(0, which, y[last])
            results = results.index_fill(0, which, RESULTS.index(Result.EVENT))
        rank = _ranks(sample)
        size = int(rank.max()) + 1 if len(rank) else 0
        event_ts.append(_place(t, rank * batch + sample, (size, batch)))
        event_ys.append(_place(y, rank * batch + sample, (size, batch)))
    ts, ys = t1[:, None], y1[None]
    if save_at is not None:
        ts = save_at if isinstance(save_at, Tensor) else torch.tensor(save_at, dtype=t1.dtype)
        ts = ts.to(y0.device)
        ys = _saved(problem, path, save_at, kinds[0])
    return _solution(
        problem.layout,
        time_dtype,
        ts=ts,
        ys=ys,
        y1=y1,
        t1=t1,
        stats=path.stats,
        result=tuple(RESULTS[i] for i in results.tolist()),
        error=path.failures.error,
        event_ts=event_ts,
        event_ys=event_ys,
    )


def answer_fixed(
    problem: Problem,
    path: Trajectory,
    times: tuple[Tensor, Tensor],
    error: SolveError | None,
    time_dtype: torch.dtype,
) -> Solution:
    """The end of a solve by the loop of one clock, for s from 0 to 1.

    Args:
        problem: what was solved.
        path: the trajectory.
        times: t0 and t1, shape (batch,).
        error: its failure, if any.
        time_dtype: of the times that are handed out.
    """
    start, span = times[0], (times[1] - times[0]).abs()
    t0, t1 = problem.ends
    assert t0 is not None and t1 is not None
    t = t1 if path.t == 1 else torch.lerp(t0, t1, path.t)
    stats = problem.stats
    for name in ("nfe_forward", "nfe_backward"):
        # Of one number a sample; the backward pass adds to the same tensor.
        setattr(stats, name, torch.full_like(start, getattr(stats, name), dtype=torch.int64))
    for name in ("num_steps", "num_accepted_steps", "num_rejected_steps"):
        setattr(stats, name, torch.full_like(start, getattr(stats, name), dtype=torch.int64))
    stats.dt_first = None if stats.dt_first is None else stats.dt_first * span
    stats.dt_last = None if stats.dt_last is None else stats.dt_last * span
    result = Result.SUCCESSFUL if error is None else error.result
    return _solution(
        problem.layout,
        time_dtype,
        ts=t[:, None],
        ys=path.y1[None],
        y1=path.y1,
        t1=t,
        stats=stats,
        result=(result,) * len(start),
        error=error,
    )


def _solution(
    layout: StateLayout | None,
    dtype: torch.dtype,
    *,
    ts: Tensor,
    ys: Tensor,
    y1: Tensor,
    t1: Tensor,
    event_ts: Sequence[Tensor] = (),
    event_ys: Sequence[Tensor] = (),
    **parts: Any,
) -> Solution:
    unpack = lambda y, lead=0: y if layout is None else layout.unpack(y, lead)
    return Solution(
        ts=ts.to(dtype),
        ys=unpack(ys, 1),
        y1=unpack(y1),
        t1=t1.to(dtype),
        event_ts=tuple(t.to(dtype) for t in event_ts),
        event_ys=tuple(unpack(y, 1) for y in event_ys),
        **parts,
    )


def _sort(problem: IndependentProblem, path: RowTrajectory, num_kinds: int) -> list[Points]:
    """The moments by their kind: save times, then the roots of each event, none after the end."""
    none = problem.times.t0.new_zeros(0)
    empty = (none.long(), none, none.long(), problem.y0[:0])
    kinds: list[list[Points]] = [[empty] for _ in range(num_kinds)]
    for moments, states in zip(path.moments, path.outputs, strict=True):
        parts = (moments.sample, moments.t, moments.slot, states)
        split = [part.split(moments.counts) for part in parts]
        for kind, *points in zip(kinds, *split, strict=True):
            kind.append(tuple(points))
    sorted_kinds = []
    for kind in kinds:
        sample, t, slot, y = (torch.cat(part) for part in zip(*kind, strict=True))
        # A terminal event may have ended the solve inside the step that found this moment.
        forward = (problem.times.t1 > problem.times.t0)[sample]
        end = path.t1[sample]
        keep = torch.nonzero(torch.where(forward, t <= end, t >= end))[:, 0]
        sorted_kinds.append(tuple(x.index_select(0, keep) for x in (sample, t, slot, y)))
    return sorted_kinds


def _saved(
    problem: IndependentProblem, path: RowTrajectory, save_at: Any, points: Points
) -> Tensor:
    """States at the saved times, shape (times, batch, ...); NaN at those that were not reached."""
    y0, batch = problem.y0, len(problem.y0)
    saves = problem.wanted.saves
    assert saves is not None
    at_start = torch.nonzero(saves == problem.times.t0[:, None])
    sample, slot = torch.cat([at_start[:, 0], points[0]]), torch.cat([at_start[:, 1], points[2]])
    t = torch.cat([problem.times.t0[at_start[:, 0]], points[1]])
    y = torch.cat([y0.index_select(0, at_start[:, 0]), points[3]])
    y = _follow_times(problem, path, save_at, (sample, t, slot, y))
    return _place(y, slot * batch + sample, (saves.shape[1], batch))


def _follow_times(
    problem: IndependentProblem, path: RowTrajectory, save_at: Any, points: Points
) -> Tensor:
    """The saved states, which move by f where their times move.

    A time inside the solve stays where t0 and t1 move, while the steps around it move along.
    """
    sample, t, slot, y = points
    fixed = problem.times.moved(t, sample)
    if not (tracked(save_at) or tracked(fixed)) or not len(t):
        return y
    start, end = problem.times.t0[sample], problem.times.t1[sample]
    inside = (t != start) & (t != end)
    shift = torch.where(inside, fixed.detach() - fixed, 0)
    if tracked(save_at):
        time = save_at[slot] if save_at.ndim == 1 else save_at[sample, slot]
        shift = (time - time.detach()).to(t) + (fixed.detach() - fixed)
    slope = _counted_slopes(problem, path, sample)(column(t, y), y)
    return y + slope * column(first_order(shift, "save_at"), y)


def _roots(
    problem: IndependentProblem, path: RowTrajectory, event: Event, points: Points
) -> tuple[Tensor, Tensor]:
    """Times and states of an event's roots, with the gradients that their motion adds."""
    sample, t, _, y = points
    t = problem.times.moved(t, sample)
    if not len(t) or not recording():
        return t, y
    view = user_view(problem.layout)
    bound = event.bind(sample)
    g = lambda t, y: bound(*view(t, y))
    f = _counted_slopes(problem, path, sample)
    return attach_root_gradient(g, f, t, y)


def _counted_slopes(
    problem: IndependentProblem, path: RowTrajectory, sample: Int64[Tensor, " moments"]
) -> Callable[[Tensor, Tensor], Tensor]:
    """The field on these samples, of which one may be there several times."""
    f = problem.term().field.on(sample)

    def counted(t: Tensor, y: Tensor) -> Tensor:
        path.stats.nfe_forward.index_add_(0, sample, torch.ones_like(sample))
        return check(f(t, y), y)

    return counted


def _ranks(sample: Int64[Tensor, " roots"]) -> Int64[Tensor, " roots"]:
    """How many entries of the same sample stand before each."""
    order = torch.argsort(sample, stable=True)
    ordered = sample[order]
    place = torch.arange(len(sample), device=sample.device)
    first = torch.searchsorted(ordered, ordered)
    return torch.empty_like(sample).index_copy(0, order, place - first)


def _place(values: Tensor, index: Tensor, shape: tuple[int, int]) -> Tensor:
    """Values at their places in a tensor of NaN of this shape, before the values' own."""
    nothing = values.new_full((shape[0] * shape[1], *values.shape[1:]), torch.nan)
    return nothing.index_copy(0, index, values).reshape(*shape, *values.shape[1:])
