"""integrate: the only accept/reject loop. It lands exactly on t1."""

import dataclasses
import math
import sys
from collections.abc import Callable, Sequence

import torch

from odevision.ode.controller import Controller, PIDController, Proposal
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

    @property
    def interpolates(self) -> bool:
        """Whether a saved time lies before its end, so that the interpolant is needed."""
        return any(t != self.t1 for t in self.save_times)


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
        shortest = min(_clock_tick(t0, t1), abs(t1 - t))
        t_next = _land(t, proposal.dt, t1, shortest)
        attempt = AcceptedStep(t, t_next, _between(save_times[len(saved) :], t, t_next))
        needs_all = controller.adaptive or attempt.interpolates
        step = solver.step(term, t, t_next, y, f0, all_stages=needs_all)
        stats.num_steps += 1
        proposal = controller.adapt(solver, step, t1, proposal)
        if not proposal.accept:
            stats.num_rejected_steps += 1
            f0 = step.k[0]
            _refuse_hopeless(controller, solver, step, proposal, shortest)
            continue
        stats.num_accepted_steps += 1
        if on_accept is not None:
            on_accept(attempt, y)
        states, f0 = save(term, solver, step, attempt.save_times)
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
        if t == step.t1:
            states.append(step.y1)
        else:
            assert f1 is not None
            states.append(interpolate(step, f1, solver.tableau, t))
    return states, f1


def _land(t: float, dt: float, t1: float, shortest: float) -> float:
    """End of the next step; t1 itself where the rest is at most 1 % longer than dt."""
    length = max(abs(dt), shortest)
    if abs(t1 - t) <= 1.01 * length:
        return t1
    return t + math.copysign(length, t1 - t)


def _between(times: Sequence[float], t: float, t_next: float) -> tuple[float, ...]:
    """The leading times that lie in (t, t_next], in the direction of integration."""
    count = 0
    while count < len(times) and abs(times[count] - t) <= abs(t_next - t):
        count += 1
    return tuple(times[:count])


def _clock_tick(t0: float, t1: float) -> float:
    """Shortest step that still moves the clock, a few units in the last place of its times."""
    return 4 * sys.float_info.epsilon * max(abs(t0), abs(t1))


def _refuse_hopeless(
    controller: Controller,
    solver: ExplicitRungeKutta,
    step: Step,
    proposal: Proposal,
    shortest: float,
) -> None:
    """Raise where no shorter step can mend a rejected one. A failing solve may read the device."""
    dt = step.t1 - step.t0
    if not math.isfinite(proposal.error_ratio):
        for name, value in (("state", step.y0), ("vector field", step.k[0])):
            if not bool(torch.isfinite(value).all()):
                cause, sample = f"The {name} is NaN or infinite", worst_sample(value)
                raise SolveError(Result.NON_FINITE, cause, t=step.t0, dt=dt, sample=sample)
    if abs(proposal.dt) >= shortest:
        return
    for value in (*step.k, step.y1):
        if not bool(torch.isfinite(value).all()):
            cause = f"NaN or infinity comes from the vector field right after t = {step.t0:.6g}"
            sample = worst_sample(value)
            raise SolveError(Result.NON_FINITE, cause, t=step.t0, dt=dt, sample=sample)
    assert isinstance(controller, PIDController)  # constant steps are never rejected
    cause = (
        f"The step size vanished: the error stays {proposal.error_ratio:.3g} times the tolerance "
        f"(largest |f|: {float(step.k[0].abs().max()):.3g})"
    )
    sample = worst_sample(controller.scaled_error(solver, step))
    raise SolveError(Result.DT_UNDERFLOW, cause, t=step.t0, dt=dt, sample=sample)
