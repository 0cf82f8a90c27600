"""answer: from a loop's trajectory to the Solution that users read."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from odevision.gradient.problem import Problem
from odevision.ode.event import Event, attach_root_gradient, first_order
from odevision.ode.interpolation import DenseOutput, Interpolant
from odevision.ode.loop import Trajectory
from odevision.ode.solution import Result, Solution
from odevision.ode.tracing import recording, tracked
from odevision.types import Scalar, State


def answer(
    problem: Problem,
    path: Trajectory,
    times: Sequence[float],
    save_at: Any,
    events: Sequence[Event],
    time_dtype: torch.dtype,
) -> Solution:
    """Sort what the steps handed out, and let gradients reach saved times and event roots.

    Args:
        problem: what was solved.
        path: the trajectory.
        times: all times to save, those at t0 included.
        save_at: what the user gave for them.
        events: what was looked for.
        time_dtype: of the times that are handed out.
    """
    saved, roots, pieces = _sort(problem, path)
    at_start = [(t, problem.y0) for t in times if t == problem.t0]
    saved = [*at_start, *saved]
    t1, y1, result = _time(problem, path.t, time_dtype), path.y1, Result.SUCCESSFUL
    event_ts, event_ys = [], []
    for i, event in enumerate(events):
        mine = [_root(problem, event, t, y, time_dtype) for j, t, y in roots if j == i]
        event_ts.append(torch.stack([t for t, _ in mine]) if mine else t1.new_zeros((0,)))
        event_ys.append(_stack([y for _, y in mine], y1))
        if event.terminal and mine and path.t == roots[-1][1] and roots[-1][0] == i:
            (t1, y1), result = mine[-1], Result.EVENT
    if path.error is not None:
        result = path.error.result
    if problem.wanted.save_steps and result is Result.EVENT:
        saved.append((path.t, y1))
    if save_at is None:
        saved, ys = [(path.t, y1)], [y1]
    else:
        ys = _follow_times(problem, saved, save_at)
    unpack = lambda y, lead=0: y if problem.layout is None else problem.layout.unpack(y, lead)
    inside = None
    if problem.wanted.dense:
        inside = DenseOutput(
            pieces, problem.t0, path.t, problem.y0, problem.layout, problem.clock()
        )
        y1 = y1.clone()  # so that changing it in place leaves the interpolants alone
    return Solution(
        ts=torch.tensor([t for t, _ in saved], dtype=t1.dtype, device=t1.device),
        ys=unpack(_stack(ys, y1), 1),
        y1=unpack(y1),
        stats=problem.stats,
        result=result,
        t1=t1,
        error=path.error,
        interpolant=inside,
        event_ts=tuple(event_ts),
        event_ys=tuple(unpack(y, 1) for y in event_ys),
    )


def _stack(states: Sequence[State], like: State) -> Tensor:
    """The states one above the other, shape (states, *like.shape); there may be none."""
    return torch.stack(list(states)) if states else like.new_zeros((0, *like.shape))


def _sort(
    problem: Problem, path: Trajectory
) -> tuple[list[tuple[float, State]], list[tuple[int, float, State]], list[Interpolant]]:
    """Saved states with their times, event roots, and interpolants."""
    outputs = iter(path.outputs)
    saved, roots, pieces = [], [], []
    y0 = problem.y0
    for step in path.steps:
        saved += [(t, next(outputs)) for t in step.save_times]
        roots += [(crossing.event, crossing.t, next(outputs)) for crossing in step.crossings]
        if step.dense:
            y1, f0, f1 = next(outputs), next(outputs), next(outputs)
            bump = next(outputs) if problem.solver.has_bump else None
            pieces.append(Interpolant(step.t0, step.t1, y0, y1, f0, f1, bump))
            y0 = y1
    return saved, roots, pieces


def _time(problem: Problem, t: float, dtype: torch.dtype) -> Scalar:
    """A time of the solve as a tensor, with the gradients of t0 and t1."""
    clock, time = problem.clock(), torch.full((), t, dtype=dtype, device=problem.y0.device)
    return time if clock is None else time + clock.motion(t, problem.y0).to(dtype)


def _root(
    problem: Problem, event: Event, t: float, y: State, dtype: torch.dtype
) -> tuple[Scalar, State]:
    time = _time(problem, t, dtype)
    if not recording():
        return time, y
    layout, term = problem.layout, problem.term()
    term.clock = None  # time has its gradients already
    bound = event.bind()
    g = lambda t, y: bound(t, y if layout is None else layout.unpack(y))
    return attach_root_gradient(g, term, time, y)


def _follow_times(
    problem: Problem, saved: Sequence[tuple[float, State]], save_at: Any
) -> list[State]:
    """The saved states, which move by f where their times move.

    The steps move with t0 and t1, and saved states with the steps. That is taken off for times
    inside, and where the times are tensors of their own.
    """
    term = problem.term()
    own = save_at.flatten() if isinstance(save_at, Tensor) and tracked(save_at) else None
    if isinstance(save_at, str) or (own is None and term.clock is None):
        return [y for _, y in saved]
    term.clock = None
    states = []
    for i, (t, y) in enumerate(saved):
        if own is None and t in (problem.t0, problem.t1):
            states.append(y)
            continue
        moved = _time(problem, t, problem.y0.real.dtype)
        shift = moved.detach() - moved
        if own is not None:
            shift = shift + (own[i] - own[i].detach()).to(shift)
        slope = term(moved.detach(), y)
        states.append(y + slope * first_order(shift, "save_at"))
    return states
