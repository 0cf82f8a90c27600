"""answer: from a loop's trajectory to the Solution that users read."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from odevision.gradient.problem import Problem
from odevision.ode.event import Event, attach_root_gradient
from odevision.ode.interpolation import DenseOutput, Interpolant
from odevision.ode.loop import Trajectory
from odevision.ode.solution import Result, Solution
from odevision.solve.checks import needs_gradient
from odevision.types import Scalar, State


def answer(
    problem: Problem,
    path: Trajectory,
    times: Sequence[float],
    save_at: Any,
    events: Sequence[Event],
) -> Solution:
    """Sort what the steps handed out, and let gradients reach saved times and event roots.

    Args:
        problem: what was solved.
        path: the trajectory.
        times: all times to save, those at t0 included.
        save_at: what the user gave for them.
        events: what was looked for.
    """
    saved, roots, pieces = _sort(problem, path)
    at_start = [(t, problem.y0) for t in times if t == problem.t0]
    saved = [*at_start, *saved]
    t1, y1, result = _time(problem, path.t), path.y1, Result.SUCCESSFUL
    event_ts, event_ys = [], []
    for i, event in enumerate(events):
        mine = [_root(problem, event, t, y) for j, t, y in roots if j == i]
        event_ts.append(torch.stack([t for t, _ in mine]) if mine else t1.new_zeros((0,)))
        ys = [y for _, y in mine]
        event_ys.append(torch.stack(ys) if ys else y1.new_zeros((0, *y1.shape)))
        if event.terminal and mine and path.t == roots[-1][1] and roots[-1][0] == i:
            (t1, y1), result = mine[-1], Result.EVENT
    if path.error is not None:
        result = path.error.result
    ys = _follow_times(problem, saved, save_at) if saved else [y1]
    ts = [t for t, _ in saved] if saved else [path.t]
    unpack = lambda y, lead=0: y if problem.layout is None else problem.layout.unpack(y, lead)
    return Solution(
        ts=torch.tensor(ts, dtype=problem.y0.real.dtype, device=problem.y0.device),
        ys=unpack(torch.stack(ys), 1),
        y1=unpack(y1),
        stats=problem.stats,
        result=result,
        t1=t1,
        error=path.error,
        interpolant=DenseOutput(pieces, unpack) if pieces else None,
        event_ts=tuple(event_ts),
        event_ys=tuple(unpack(y, 1) for y in event_ys),
    )


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


def _time(problem: Problem, t: float) -> Scalar:
    """A time of the solve as a tensor, with the gradients of t0 and t1."""
    term = problem.term()
    if term.clock is not None:
        return term.clock.time(t, problem.y0)
    return torch.full((), t, dtype=problem.y0.real.dtype, device=problem.y0.device)


def _root(problem: Problem, event: Event, t: float, y: State) -> tuple[Scalar, State]:
    time = _time(problem, t)
    if not torch.is_grad_enabled():
        return time, y
    layout, term = problem.layout, problem.term()
    term.clock = None  # time has its gradients already
    g = lambda t, y: event.function(t, y if layout is None else layout.unpack(y))
    return attach_root_gradient(g, term, time, y)


def _follow_times(
    problem: Problem, saved: Sequence[tuple[float, State]], save_at: Any
) -> list[State]:
    """The saved states, which move by f where their times move.

    A save time at t0 or t1 stays there where these are tensors of their own: they move it.
    """
    if not (isinstance(save_at, Tensor) and needs_gradient(save_at)):
        return [y for _, y in saved]
    term = problem.term()
    term.clock = None
    states = []
    for (t, y), time in zip(saved, save_at.flatten(), strict=False):
        fixed = _time(problem, t)
        slope = term(fixed.detach(), y)
        shift = (time - time.detach()).to(fixed) - (fixed - fixed.detach())
        states.append(y + slope * shift)
    return states
