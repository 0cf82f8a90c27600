"""integrate: the accept/reject loop for states that share one clock. It lands exactly on t1."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch

from odevision.ode.controller import Controller, PIDController, Proposal
from odevision.ode.event import Crossing, EventWatch
from odevision.ode.interpolation import Interpolant
from odevision.ode.route import Route
from odevision.ode.solution import LATEST, Result, SolveError, passed_by_no_step, worst_sample
from odevision.ode.solver import AbstractSolver, Memory, Step
from odevision.ode.term import ODETerm
from odevision.types import State

Observer = Callable[[Literal["attempt", "accept", "reject"], float, State, float], None]
"""Called as observer(what, t0, y0, dt) before a step and once it is judged."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a solve hands out beside its end.

    Attributes:
        save_times: times to save, in the order of integration, t0 excluded.
        save_slack: their rounding, in ODE time.
        save_steps: save the end of every accepted step.
        dense: keep every step's interpolant.
        watch: looks for events.
        observer: told about every step.
    """

    save_times: tuple[float, ...] = ()
    save_slack: float = 0.0
    save_steps: bool = False
    dense: bool = False
    watch: EventWatch | None = None
    observer: Observer | None = None


@dataclasses.dataclass(frozen=True)
class AcceptedStep:
    """All that is needed to make an accepted step again from its state y0.

    Attributes:
        t0, t1: its ends.
        save_times: the times inside (t0, t1] whose states are saved.
        crossings: the event roots inside it.
        dense: its interpolant is kept.
        fresh: the solver's memory was newly started for it, from y0 alone.
    """

    t0: float
    t1: float
    save_times: tuple[float, ...] = ()
    crossings: tuple[Crossing, ...] = ()
    dense: bool = False
    fresh: bool = False

    @property
    def interpolates(self) -> bool:
        """Whether the interpolant is needed."""
        length = abs(self.t1 - self.t0)
        inside = any(abs(t - self.t0) < length for t in self.save_times)
        return self.dense or inside or bool(self.crossings)


OnAccept = Callable[[AcceptedStep, State, Memory], None]


@dataclasses.dataclass
class Trajectory:
    """What a loop made.

    Attributes:
        t: time reached.
        y1: the state at the end of the last step.
        steps: the accepted steps.
        outputs: what they handed out, one after the other; see `step_outputs`.
        error: why t1 was not reached; None where it was, or where an event ended the solve.
        memory: what the last step left.
    """

    t: float
    y1: State
    steps: list[AcceptedStep] = dataclasses.field(default_factory=list)
    outputs: list[State] = dataclasses.field(default_factory=list)
    error: SolveError | None = None
    memory: Memory | None = None


Ahead = Callable[[Trajectory, State, Proposal], tuple[State, Proposal]]
"""Makes the first steps of a path in a faster way; returns f0 and the proposal to go on with."""


class Ends:
    """A step with the slopes at its ends, evaluated where the method did not and once at most."""

    def __init__(self, term: ODETerm, solver: AbstractSolver, step: Step) -> None:
        """Nothing is evaluated yet."""
        self._term, self._solver, self.step = term, solver, step
        self.f1 = step.f1
        self._interpolant: Interpolant | None = None

    def interpolant(self) -> Interpolant:
        """The step's polynomial."""
        if self._interpolant is None:
            step = self.step
            f0 = self._term(step.t0, step.y0) if step.f0 is None else step.f0
            if self.f1 is None:
                self.f1 = self._term(step.t1, step.y1)
            bump = self._solver.bump(step)
            self._interpolant = Interpolant(step.t0, step.t1, step.y0, step.y1, f0, self.f1, bump)
        return self._interpolant


def step_outputs(accepted: AcceptedStep, ends: Ends) -> list[State]:
    """States at the step's save times, then at its event roots, then the parts of its interpolant.

    These parts are y1, f0, f1 and, where the method has one, the bump; y0 ends the step before.
    """
    step = ends.step
    if not accepted.interpolates:
        return [step.y1] * len(accepted.save_times)
    inside = ends.interpolant()
    times = (*accepted.save_times, *(crossing.t for crossing in accepted.crossings))
    states = [inside(t) for t in times]
    if accepted.dense:
        states += [inside.y1, inside.f0, inside.f1]
        states += [] if inside.bump is None else [inside.bump]
    return states


def integrate(
    term: ODETerm,
    solver: AbstractSolver,
    controller: Controller,
    y0: State,
    t0: float,
    t1: float,
    *,
    wanted: Wanted | None = None,
    max_steps: int,
    on_accept: OnAccept | None = None,
    ahead: Ahead | None = None,
) -> Trajectory:
    """Advance y0 from t0 to t1.

    Args:
        term: the vector field.
        solver: makes one step.
        controller: chooses the steps and judges them.
        y0: state at t0.
        t0: start time.
        t1: end time; before t0 to go backward.
        wanted: what to hand out beside the end.
        max_steps: most attempted steps.
        on_accept: told about each accepted step, and the state and memory that it starts from.
        ahead: goes ahead of the loop as far as it can.

    Returns:
        The trajectory; its error tells where f became non-finite, dt vanished, Newton's iteration
        did not converge or max_steps ran out.
    """
    wanted = wanted or Wanted()
    stats, watch, observer = term.stats, wanted.watch, wanted.observer
    route = _route(solver, controller, y0, t0, t1, wanted)
    path = Trajectory(t0, y0)
    latest: list[Step] = []
    memory, f0, proposal = _start(term, solver, controller, route, t0, y0)
    if ahead is not None and f0 is not None:
        f0, proposal = ahead(path, f0, proposal)
    if watch is not None:
        watch.start(t0, y0)
    while path.t != t1:
        t, y = path.t, path.y1
        if stats.num_steps >= max_steps:
            path.error = _out_of_steps(
                solver, controller, path, latest, f0, proposal, max_steps, t1
            )
            break
        t_next = route.next(t, proposal.dt)
        if observer is not None:
            observer("attempt", t, y, t_next - t)
        fresh, saves = not path.steps or route.is_jump(t), ()
        all_stages = controller.adaptive or wanted.dense or watch is not None
        if not controller.adaptive:
            saves = route.take_saves(t_next)
            all_stages = all_stages or any(time != t_next for time in saves)
        start, end = route.after(t), route.before(t_next)
        step = solver.step(term, start, end, y, f0, memory, all_stages=all_stages)
        stats.num_steps += 1
        if controller.adaptive and stats.num_steps > max_steps - LATEST:
            latest.append(step)
        planned, previous = proposal.dt, proposal
        proposal = _judge(solver, controller, step, proposal)
        ends, root = Ends(term, solver, step), None
        if proposal.accept and watch is not None and solver.lands_on_saves:
            root = watch.inner_root(end, step.y1, ends.interpolant)
        if root is not None:  # try again, and end there: the interpolant is poor inside a step
            route.land(root, put_back=len(saves))
            proposal = previous
        accept = proposal.accept and root is None
        if observer is not None:
            observer("accept" if accept else "reject", t, y, t_next - t)
        if not accept:
            stats.num_rejected_steps += 1
            f0 = step.f0
            if root is None:
                path.error = _hopeless(solver, controller, step, proposal, route.shortest(t))
            if path.error is not None:
                break
            continue
        stats.num_accepted_steps += 1
        if controller.adaptive:
            saves = route.take_saves(t_next)
        if wanted.save_steps:
            saves = (t_next,)
        attempt = AcceptedStep(start, end, saves, dense=wanted.dense, fresh=fresh)
        if watch is not None:
            attempt = _find_crossings(attempt, watch, ends)
        if on_accept is not None:
            on_accept(attempt, y, memory)
        path.steps.append(attempt)
        path.outputs.extend(step_outputs(attempt, ends))
        path.t, path.y1, memory, f0 = t_next, step.y1, step.memory, ends.f1
        path.memory = memory
        if controller.adaptive and stats.dt_warm is None:
            stats.dt_warm = abs(proposal.dt)
        dt = route.resume(planned, t_next - t, proposal.dt)
        if dt != proposal.dt:
            proposal = dataclasses.replace(proposal, dt=dt)
        taken = abs(t_next - t)
        stats.dt_first = stats.dt_first or taken
        stats.dt_last = abs(proposal.dt) if controller.adaptive else taken
        if watch is not None and watch.ends(attempt.crossings):
            path.t = attempt.crossings[-1].t
            break
        if route.is_jump(t_next) and t_next != t1:
            # Slopes from before the jump say nothing about what follows it.
            memory = solver.start(term, route.after(t_next), step.y1)
            f0 = term(route.after(t_next), step.y1) if controller.adaptive else None
    if controller.adaptive and path.error is None:
        path.error = _infinite(path)
    return path


def _out_of_steps(
    solver: AbstractSolver,
    controller: Controller,
    path: Trajectory,
    latest: Sequence[Step],
    f0: State | None,
    proposal: Proposal,
    max_steps: int,
    t1: float,
) -> SolveError:
    """The failure of a solve that may not go on. It may read the device.

    A step that rounds away has no error, so that a solve can creep up to where f ends for ever:
    then that is what is told.
    """
    for step in reversed(latest):
        bad = _bad_stage(solver, step)
        if bad is not None and abs(bad[0] - t1) < abs(path.t - t1):
            cause = passed_by_no_step(bad[0], max_steps)
            dt, slope = step.t1 - step.t0, _largest(step.f0)
            return SolveError(
                Result.NON_FINITE, cause, t=path.t, dt=dt, sample=worst_sample(bad[1]), slope=slope
            )
    cause = f"The solve took max_steps = {max_steps} steps and t1 = {t1:.6g} is still ahead"
    dt = proposal.dt if math.isfinite(proposal.dt) else None
    sample = None
    if latest and isinstance(controller, PIDController):
        sample = worst_sample(controller.scaled_error(solver, latest[-1]))
    return SolveError(Result.MAX_STEPS, cause, t=path.t, dt=dt, sample=sample, slope=_largest(f0))


def _bad_stage(solver: AbstractSolver, step: Step) -> tuple[float, State] | None:
    """Time and slope of the first stage at which f was NaN or infinite."""
    for i, k in enumerate(step.k):
        if not bool(torch.isfinite(k).all()):
            return solver.stage_time(step, i), k
    return None


def _infinite(path: Trajectory) -> SolveError | None:
    """The failure of a last step that overflowed: an error relative to infinity is 0."""
    y1 = path.y1.detach()
    if not path.steps or bool(torch.isfinite(y1).all()):  # one host read a solve
        return None
    last = path.steps[-1]
    cause, dt = "The state is NaN or infinite", last.t1 - last.t0
    return SolveError(Result.NON_FINITE, cause, t=path.t, dt=dt, sample=worst_sample(y1))


def _route(
    solver: AbstractSolver,
    controller: Controller,
    y0: State,
    t0: float,
    t1: float,
    wanted: Wanted,
) -> Route:
    return Route(
        controller,
        t0,
        t1,
        wanted.save_times,
        save_slack=wanted.save_slack,
        land_on_saves=solver.lands_on_saves,
        dtype=y0.real.dtype,
    )


def _start(
    term: ODETerm,
    solver: AbstractSolver,
    controller: Controller,
    route: Route,
    t0: float,
    y0: State,
) -> tuple[Memory, State | None, Proposal]:
    t0, t1 = route.after(t0), route.smooth_until()
    memory = solver.start(term, t0, y0)
    if not isinstance(controller, PIDController):
        return memory, None, Proposal(True, math.copysign(math.inf, t1 - t0))
    f0 = term(t0, y0)
    return memory, f0, controller.start(term, solver, t0, t1, y0, f0)


def _judge(
    solver: AbstractSolver, controller: Controller, step: Step, proposal: Proposal
) -> Proposal:
    if isinstance(controller, PIDController):
        return controller.adapt(solver, step, proposal)
    return proposal if step.converged else dataclasses.replace(proposal, accept=False)


def _find_crossings(attempt: AcceptedStep, watch: EventWatch, ends: Ends) -> AcceptedStep:
    found = watch.crossings(attempt.t1, ends.step.y1, ends.interpolant)
    saves = attempt.save_times
    if watch.ends(found):
        reach = abs(found[-1].t - attempt.t0)
        saves = tuple(t for t in saves if abs(t - attempt.t0) <= reach)
    return dataclasses.replace(attempt, save_times=saves, crossings=tuple(found))


def _hopeless(
    solver: AbstractSolver,
    controller: Controller,
    step: Step,
    proposal: Proposal,
    shortest: float,
) -> SolveError | None:
    """The failure where no shorter step can mend a rejected one. It may read the device."""
    dt = step.t1 - step.t0
    fail = lambda result, cause, sample, at=step.t0: SolveError(
        result, cause, t=at, dt=dt, sample=sample, slope=_largest(step.f0)
    )
    if step.converged and not math.isfinite(proposal.error_ratio):
        if not bool(torch.isfinite(step.y0).all()):
            return fail(Result.NON_FINITE, "The state is NaN or infinite", worst_sample(step.y0))
        if step.f0 is not None and not bool(torch.isfinite(step.f0).all()):
            cause = f"The vector field gave NaN or infinity at t = {step.t0:.6g}"
            return fail(Result.NON_FINITE, cause, worst_sample(step.f0))
    if isinstance(controller, PIDController) and (
        abs(proposal.dt) >= max(shortest, controller.dt_min)
    ):
        return None
    bad = _bad_stage(solver, step)
    if bad is not None:
        cause = f"NaN or infinity first came from the vector field at t = {bad[0]:.9g}"
        return fail(Result.NON_FINITE, cause, worst_sample(bad[1]))
    if not step.converged:
        cause = "Newton's iteration did not find the stages of an implicit step"
        return fail(Result.NOT_CONVERGED, cause, None)
    if not bool(torch.isfinite(step.y1).all()):
        return fail(Result.NON_FINITE, "The state overflowed", worst_sample(step.y1))
    assert isinstance(controller, PIDController)  # other steps are rejected by Newton only
    ratio = proposal.error_ratio
    cause = f"The step size vanished: the error stays {ratio:.3g} times the tolerance"
    return fail(Result.DT_UNDERFLOW, cause, worst_sample(controller.scaled_error(solver, step)))


def _largest(slope: State | None) -> float | None:
    return None if slope is None else float(slope.detach().abs().max())
