"""integrate: the only accept/reject loop. It lands exactly on t1."""

import dataclasses
import math
import sys
from collections.abc import Callable, Sequence

import torch

from odevision.ode.controller import Controller, Proposal
from odevision.ode.interpolation import interpolate
from odevision.ode.runge_kutta import ExplicitRungeKutta, Step
from odevision.ode.solution import Result, SolveError, worst_sample
from odevision.ode.term import ODETerm
from odevision.types import State


@dataclasses.dataclass(frozen=True)
class AcceptedStep:
    """All that is needed to make an accepted step again from its state y0.

    Attributes:
        t0, t1: its ends.
        save_times: the times inside (t0, t1] whose states are saved.
    """

    t0: float
    t1: float
    save_times: tuple[float, ...]


OnAccept = Callable[[AcceptedStep, State], None]


def integrate(
    term: ODETerm,
    solver: ExplicitRungeKutta,
    controller: Controller,
    y0: State,
    t0: float,
    t1: float,
    *,
    save_times: Sequence[float] = (),
    max_steps: int,
    on_accept: OnAccept | None = None,
) -> tuple[State, list[State]]:
    """Advance y0 from t0 to t1.

    Args:
        term: the vector field.
        solver: makes one step.
        controller: chooses the steps and judges them.
        y0: state at t0.
        t0: start time.
        t1: end time; before t0 to go backward.
        save_times: times to save, in the order of integration, t0 excluded.
        max_steps: most attempted steps.
        on_accept: told about each accepted step and the state that it starts from.

    Returns:
        The state at t1, and the states at save_times.

    Raises:
        SolveError: f became non-finite, dt vanished, or max_steps ran out.
    """
    t, y, stats = t0, y0, term.stats
    saved: list[State] = []
    f0 = term(t0, y0) if controller.adaptive else None
    proposal = controller.start(term, solver, t0, t1, y0, f0)
    while t != t1:
        if stats.num_steps >= max_steps:
            cause = f"The solve took max_steps = {max_steps} steps and t1 = {t1:.6g} is still ahead"
            raise SolveError(Result.MAX_STEPS, cause, t=t, dt=proposal.dt, sample=None)
        t_next = _land(t, proposal.dt, t1)
        if t_next == t or abs(t_next - t) < _smallest_step(t, t0, t1):
            raise _vanished(term, solver, proposal, t, t1, y, f0)
        inside = _between(save_times[len(saved) :], t, t_next)
        needs_all = controller.adaptive or bool(inside)
        step = solver.step(term, t, t_next, y, f0, all_stages=needs_all)
        stats.num_steps += 1
        proposal = controller.adapt(solver, step, t1, proposal)
        if not proposal.accept:
            stats.num_rejected_steps += 1
            f0 = step.k[0]
            if not math.isfinite(proposal.error_ratio):
                _refuse_non_finite_start(step)
            continue
        stats.num_accepted_steps += 1
        if on_accept is not None:
            on_accept(AcceptedStep(t, t_next, inside), y)
        states, f0 = save(term, solver, step, inside)
        saved.extend(states)
        t, y = t_next, step.y1
    return y, saved


def save(
    term: ODETerm, solver: ExplicitRungeKutta, step: Step, times: Sequence[float]
) -> tuple[list[State], State | None]:
    """States at `times` inside an accepted step, and f(t1, y1) where it is known by then."""
    f1 = step.f1
    if f1 is None and any(t != step.t1 for t in times):
        f1 = term(step.t1, step.y1)
    states = []
    for t in times:
        states.append(step.y1 if t == step.t1 else interpolate(step, f1, solver.tableau, t))
    return states, f1


def _land(t: float, dt: float, t1: float) -> float:
    """End of the next step; t1 itself where the rest is at most 1 % longer than dt."""
    if abs(t1 - t) <= 1.01 * abs(dt):
        return t1
    return t + dt


def _between(times: Sequence[float], t: float, t_next: float) -> tuple[float, ...]:
    """The leading times that lie in (t, t_next], in the direction of integration."""
    count = 0
    while count < len(times) and abs(times[count] - t) <= abs(t_next - t):
        count += 1
    return tuple(times[:count])


def _smallest_step(t: float, t0: float, t1: float) -> float:
    """Shortest step that still moves the clock, a few units in the last place of its times."""
    return 4 * sys.float_info.epsilon * max(abs(t), abs(t0), abs(t1))


def _refuse_non_finite_start(step: Step) -> None:
    """A non-finite f at the step's own start cannot be mended by a shorter step."""
    for name, value in (("state", step.y0), ("vector field", step.k[0])):
        if not bool(torch.isfinite(value).all()):  # reads the device, in a failing solve only
            raise SolveError(
                Result.NON_FINITE,
                f"The {name} is NaN or infinite",
                t=step.t0,
                dt=step.t1 - step.t0,
                sample=worst_sample(value),
            )


def _vanished(
    term: ODETerm,
    solver: ExplicitRungeKutta,
    proposal: Proposal,
    t: float,
    t1: float,
    y: State,
    f0: State | None,
) -> SolveError:
    """Name the cause for which no step is short enough at t."""
    # Repeat a step to see which sample fails: a failing solve may cost more.
    trial = t + math.copysign(_smallest_step(t, t, t1), t1 - t)
    step = solver.step(term, t, trial, y, f0, all_stages=True)
    if not math.isfinite(proposal.error_ratio):
        bad = next((k for k in step.k if not bool(torch.isfinite(k).all())), step.y1)
        cause = f"NaN or infinity comes from the vector field right after t = {t:.6g}"
        return SolveError(Result.NON_FINITE, cause, t=t, dt=proposal.dt, sample=worst_sample(bad))
    norm = float(torch.linalg.vector_norm(step.k[0]))
    cause = (
        f"The step size vanished: the error stays {proposal.error_ratio:.3g} times the tolerance "
        f"(norm of f: {norm:.3g})"
    )
    sample = worst_sample(solver.error(step))
    return SolveError(Result.DT_UNDERFLOW, cause, t=t, dt=proposal.dt, sample=sample)
