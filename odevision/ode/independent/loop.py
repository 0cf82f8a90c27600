"""integrate_independent: the accept/reject loop for samples that each have a clock of their own."""

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from odevision.ode.clock import RowClock, column
from odevision.ode.controller import ConstantController, PIDController
from odevision.ode.independent.attempt import Attempt, examine, reconsider
from odevision.ode.independent.control import (
    Tolerances,
    first_steps,
    resume,
    select_tolerances,
)
from odevision.ode.independent.failure import Failures
from odevision.ode.independent.moments import find_moments, inner_roots
from odevision.ode.independent.rows import Rows, RowsWanted, chosen, finite_rows, first_rows
from odevision.ode.independent.step import (
    Moments,
    RowStep,
    RowTimes,
    SampleField,
    refuse_past,
)
from odevision.ode.solution import LATEST, Stats
from odevision.ode.solver import AbstractSolver, Memory
from odevision.ode.term import ODETerm, check
from odevision.types import State

OnAccept = Callable[[RowStep, Tensor], None]
"""Told about the accepted rows of a step, and the states that they start from."""


@dataclasses.dataclass
class RowTrajectory:
    """What the loop made.

    Attributes:
        y1: states at the end of each sample's last step, one a sample.
        t1: time that each reached.
        stats: what it cost, one number a sample.
        failures: the samples that did not reach their t1.
        moments: the moments of all steps that have any.
        outputs: the states at them, one tensor for each of `moments`.
    """

    y1: State
    t1: Float[Tensor, " batch"]
    stats: Stats
    failures: Failures
    moments: list[Moments] = dataclasses.field(default_factory=list)
    outputs: list[Tensor] = dataclasses.field(default_factory=list)


def integrate_independent(
    field: SampleField,
    solver: AbstractSolver,
    controller: ConstantController | PIDController,
    y0: State,
    times: RowTimes,
    *,
    wanted: RowsWanted,
    max_steps: int,
    throw: bool,
    on_accept: OnAccept | None = None,
) -> RowTrajectory:
    """Advance every sample from its t0 to its t1, without a graph.

    The device is read once an attempted step, and a few times more where events are located.

    Args:
        field: the vector field on any of the samples.
        solver: makes one step; a one-step method.
        controller: chooses the steps and judges them.
        y0: states at t0, one sample along dimension 0.
        times: the ends.
        wanted: what to hand out beside the end.
        max_steps: most attempted steps.
        throw: stop at the first failure; else the other samples go on.
        on_accept: told about the accepted steps.

    Returns:
        The trajectory, with the failures in it.
    """
    with torch.no_grad():
        loop = _Loop(field, solver, controller, y0, times, wanted, max_steps, on_accept)
        rows = loop.start()
        while len(rows) and not (throw and loop.path.failures.error):
            rows = loop.advance(rows)
        loop.write(rows)
        if isinstance(controller, PIDController):
            loop.path.failures.note_overflow(loop.path.y1, loop.path.t1)
    return loop.path


class _Loop:
    """What stays the same during a solve, and the trajectory that grows."""

    def __init__(
        self,
        field: SampleField,
        solver: AbstractSolver,
        controller: ConstantController | PIDController,
        y0: Tensor,
        times: RowTimes,
        wanted: RowsWanted,
        max_steps: int,
        on_accept: OnAccept | None,
    ) -> None:
        self.field, self.solver, self.controller, self.y0 = field, solver, controller, y0
        self.times, self.watch, self.wanted = times, wanted.watch, wanted
        self.max_steps, self.on_accept = max_steps, on_accept
        self.num_steps, self.nfe, self.memory = 0, 0, Memory()
        self.latest: list[tuple[Rows, Attempt]] = []
        self._all_started = False
        count = lambda: torch.zeros_like(times.t0, dtype=torch.int64)
        length = lambda: torch.full_like(times.t0, torch.nan)
        stats = Stats(*(count() for _ in range(5)), dt_first=length(), dt_last=length())
        self.path = RowTrajectory(y0.clone(), times.t0.clone(), stats, Failures(count()))

    def start(self) -> Rows:
        """The rows before their first steps."""
        running = self.times.t0 != self.times.t1
        both = torch.stack([running, self.times.t0 > self.times.t1])
        # The device is read before the first step: nothing has to wait for it yet.
        num_running, num_backward = both.count_nonzero(1).tolist()
        rows = first_rows(
            chosen(running, num_running),
            self.y0,
            self.times,
            self.wanted,
            self.controller,
            self.solver,
            forward=not num_backward,
        )
        self._attend(rows)
        if not len(rows):
            return rows
        clock = self._clock(rows, rows.t1)
        term = ODETerm(self._f, Stats(), clock=clock)
        self.memory = self.solver.start(term, 0.0, rows.y)
        refuse_past(self.solver, self.memory)
        f0 = check(self._f(clock.t0, rows.y), rows.y)
        self.nfe += 1 + term.stats.nfe_forward
        rows = dataclasses.replace(rows, f0=f0)
        if self.watch is not None:
            signs = self.watch.signs(clock.t0, rows.y, rows.sample)
            rows = dataclasses.replace(rows, signs=signs)
        good = finite_rows(rows.y) & finite_rows(f0)
        num_good = int(torch.count_nonzero(good))
        if num_good < len(rows):
            self.path.failures.note_starts(rows, chosen(~good, len(rows) - num_good))
            self.write(rows)
            rows = rows.select(chosen(good, num_good))
            self._attend(rows)
        return self._first_steps(rows) if len(rows) else rows

    def advance(self, rows: Rows) -> Rows:
        """Attempt one step of all rows; returns those that still run."""
        if self.num_steps >= self.max_steps:
            self.path.failures.note_max_steps(rows, self.latest, self.solver, self.max_steps)
            self.write(rows)
            return rows.select(rows.sample[:0])
        self.num_steps += 1
        before, t_next = self.memory, rows.next_times()
        clock = self._clock(rows, t_next)
        term = ODETerm(self._f, Stats(), clock=clock)
        step = self.solver.step(term, 0.0, 1.0, rows.y, rows.f0 * clock.dt, before, all_stages=True)
        self.memory = step.memory
        refuse_past(self.solver, step.memory)
        attempt = examine(
            rows,
            step,
            clock,
            t_next,
            solver=self.solver,
            controller=self.controller,
            tolerances=self._tolerances,
            times=self.times,
            watch=self.watch,
        )
        adapts = isinstance(self.controller, PIDController)
        if adapts and self.num_steps > self.max_steps - LATEST:
            self.latest.append((rows, attempt))
        self.nfe += term.stats.nfe_forward
        rows, f1 = self._end_slopes(rows, attempt)
        if rows.landing is not None and any(attempt.counts.roots):
            rows, attempt = self._land(rows, attempt, f1)
        moments, t_end = None, t_next
        if attempt.counts.saves or any(attempt.counts.roots):
            moments, states, t_end = find_moments(rows, attempt, self.solver, self.watch, f1)
            self.path.moments.append(moments)
            self.path.outputs.append(states)
        if self.on_accept is not None and attempt.counts.accepted:
            self.on_accept(*self._accepted(rows, attempt, before, moments))
        return self._settle(rows, attempt, t_end, f1)

    def write(self, rows: Rows) -> None:
        """Note down how far these rows have come."""
        stats, note = self.path.stats, lambda x, value: x.index_copy_(0, rows.sample, value)
        note(self.path.y1, rows.y)
        note(self.path.t1, rows.in_ode_time(rows.t))
        note(stats.nfe_forward, self.nfe + rows.extra_nfe)
        note(stats.num_steps, torch.full_like(rows.sample, self.num_steps))
        note(stats.num_accepted_steps, rows.num_accepted)
        note(stats.num_rejected_steps, self.num_steps - rows.num_accepted)
        note(stats.dt_first, rows.dt_first)
        note(stats.dt_last, rows.dt)

    def _attend(self, rows: Rows) -> None:
        """Bind the field and the tolerances to the rows that run."""
        self._f = self.field.on(rows.sample if len(rows) < len(self.y0) else None)
        self._tolerances: Tolerances = (0.0, 0.0)
        if isinstance(self.controller, PIDController):
            self._tolerances = select_tolerances(self.controller, self.y0.shape, rows.sample)

    def _clock(self, rows: Rows, t_next: Tensor) -> RowClock:
        start, end = rows.in_ode_time(rows.t), rows.in_ode_time(t_next)
        return self.times.clock(start, end, rows.sample, rows.y)

    def _first_steps(self, rows: Rows) -> Rows:
        if isinstance(self.controller, ConstantController):
            return dataclasses.replace(rows, dt=(rows.t1 - rows.t) / self.controller.num_steps)
        # f is not known beyond the first jump.
        span = rows.smooth_until(self.times.jumps) - rows.t

        def probe(h: Tensor) -> Tensor:
            self.nfe += 1
            y = rows.y + rows.f0 * column(rows.in_ode_time(h), rows.y)
            return check(self._f(column(rows.in_ode_time(rows.t + h), rows.y), y), y)

        order = self.solver.embedded_order
        assert order is not None
        dt = first_steps(self.controller, order, probe, span, rows.y, rows.f0, self._tolerances)
        return dataclasses.replace(rows, dt=dt)

    def _end_slopes(self, rows: Rows, attempt: Attempt) -> tuple[Rows, Tensor]:
        """The rows with the cost, and the slopes dy/ds at the ends of steps that need them."""
        step, count = attempt.step, attempt.counts.slopeless
        if step.f1 is not None:
            return rows, step.f1
        assert attempt.slopeless is not None and step.f0 is not None
        if not count:
            return rows, step.f0
        row, clock = chosen(attempt.slopeless, count), attempt.clock
        slopes = self._slopes(rows, row, clock.t1, step.y1) * clock.dt.index_select(0, row)
        rows = dataclasses.replace(rows, extra_nfe=rows.extra_nfe + attempt.slopeless)
        return rows, step.f0.index_copy(0, row, slopes)

    def _land(self, rows: Rows, attempt: Attempt, f1: Tensor) -> tuple[Rows, Attempt]:
        """Have rows make their step again that would read a root off an interpolant."""
        assert self.watch is not None and rows.landing is not None
        t, again = inner_roots(rows, attempt, self.solver, self.watch, f1)
        attempt = reconsider(rows, attempt, again, self.times, self.watch)
        landing = torch.where(again, t, rows.landing)
        return dataclasses.replace(rows, landing=landing), attempt

    def _slopes(self, rows: Rows, row: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Slopes of some rows, in ODE time."""
        t, y, sample = (x.index_select(0, row) for x in (t, y, rows.sample))
        return check(self.field.on(sample)(t, y), y)

    def _settle(self, rows: Rows, attempt: Attempt, t_end: Tensor, f1: Tensor) -> Rows:
        """Move on to where the steps lead; returns the rows that still run."""
        counts, verdict = attempt.counts, attempt.verdict
        accept, y, f0 = verdict.accept, attempt.step.y1, f1 / attempt.clock.dt
        dt_first, signs = rows.dt_first, rows.signs
        if not self._all_started:
            first = accept & (rows.num_accepted == 0)
            dt_first = torch.where(first, attempt.dt, dt_first)
            self._all_started = counts.accepted == len(rows)
        if attempt.signs is not None:
            signs = attempt.signs
        if counts.accepted < len(rows):
            # Rejections are few: to put them back is several times faster than torch.where.
            row = chosen(~accept, len(rows) - counts.accepted)
            put_back = lambda new, old: new.index_copy(0, row, old.index_select(0, row))
            y, f0, t_end = put_back(y, rows.y), put_back(f0, rows.f0), put_back(t_end, rows.t)
            signs = None if signs is None else put_back(signs, rows.signs)
        moved = dataclasses.replace(
            rows,
            y=y,
            f0=f0,
            t=t_end,
            dt=verdict.dt,
            cap=verdict.cap,
            num_accepted=rows.num_accepted + accept,
            dt_first=dt_first,
            history=verdict.history,
            next_save=attempt.passed,
            signs=signs,
        )
        if counts.jumping:
            assert attempt.jumping is not None
            moved = self._restart(moved, chosen(attempt.jumping, counts.jumping))
        if counts.failed:
            self.path.failures.note_step(
                rows, attempt, self.solver, self.controller, self._tolerances
            )
        if counts.finished + counts.failed == 0:
            return moved
        return self._compact(rows, attempt, moved)

    def _compact(self, rows: Rows, attempt: Attempt, moved: Rows) -> Rows:
        """Let go of the rows that finished or failed."""
        counts = attempt.counts
        num_gone = counts.finished + counts.failed
        leaves = attempt.finished | attempt.failed
        gone = chosen(leaves, num_gone)
        left = moved.select(gone)
        dt = resume(rows.dt[gone], attempt.dt[gone], left.dt)
        self.write(dataclasses.replace(left, dt=torch.where(attempt.finished[gone], dt, left.dt)))
        moved = moved.select(chosen(~leaves, len(rows) - num_gone))
        if len(moved):
            self._attend(moved)
        return moved

    def _restart(self, rows: Rows, row: Int64[Tensor, " jumping"]) -> Rows:
        """Evaluate slopes anew where f jumps."""
        f0 = self._slopes(rows, row, self._clock(rows, rows.t1).t0, rows.y)
        extra_nfe = rows.extra_nfe.index_add(0, row, torch.ones_like(row))
        return dataclasses.replace(rows, f0=rows.f0.index_copy(0, row, f0), extra_nfe=extra_nfe)

    def _accepted(
        self, rows: Rows, attempt: Attempt, before: Memory, moments: Moments | None
    ) -> tuple[RowStep, Tensor]:
        """The accepted rows of a step, and the states that they start from."""
        t0, t1 = rows.in_ode_time(rows.t), rows.in_ode_time(attempt.t_next)
        before = dataclasses.replace(before, scratch=None)
        some = len(rows) < len(self.y0)
        if attempt.counts.accepted == len(rows):
            return RowStep(rows.sample, some, t0, t1, before, moments), rows.y
        accept = attempt.verdict.accept
        row = chosen(accept, attempt.counts.accepted)
        if moments is not None:
            place = torch.cumsum(accept, 0) - 1
            moments = dataclasses.replace(moments, row=place[moments.row])
        sample, t0, t1, y = (x.index_select(0, row) for x in (rows.sample, t0, t1, rows.y))
        return RowStep(sample, True, t0, t1, before, moments), y
