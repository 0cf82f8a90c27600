"""Attempt: one attempted step of all rows, what becomes of each, and what the host knows of it."""

import dataclasses

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from odevision.ode.clock import RowClock
from odevision.ode.controller import ConstantController, PIDController
from odevision.ode.event import nan_error
from odevision.ode.independent.control import (
    Tolerances,
    Verdict,
    error_ratio,
    judge,
    least_step,
    resume,
)
from odevision.ode.independent.event import RowEventWatch
from odevision.ode.independent.rows import Rows, finite_rows
from odevision.ode.independent.step import RowTimes
from odevision.ode.solver import AbstractSolver, Step


@dataclasses.dataclass(frozen=True)
class Counts:
    """The numbers that the host reads, all at once: of rows, of save times, of roots by event.

    `unclear` are accepted rows of which an event is NaN.
    """

    accepted: int
    finished: int
    failed: int
    slopeless: int
    jumping: int
    saves: int
    roots: tuple[int, ...]
    unclear: int


@dataclasses.dataclass(frozen=True)
class Attempt:
    """An attempted step of all rows and what becomes of each.

    Attributes:
        step, clock: the step and its times.
        t_next: its signed ends.
        dt: its lengths, positive.
        verdict: of the controller.
        finished: rows that reached t1 or a terminal event.
        failed: rows that can't go on.
        slopeless: rows whose slope at the end is needed and no part of the step; None where it is
            part of every step.
        jumping: rows that go on from where f jumps; None where it doesn't.
        passed: how many save times each row has passed; None where none are asked for.
        crossed: the events with a root in each row's step, shape (rows, events); None for none.
        signs: of the events at its end.
        counts: how many.
    """

    step: Step
    clock: RowClock
    t_next: Float[Tensor, " rows"]
    dt: Float[Tensor, " rows"]
    verdict: Verdict
    finished: Bool[Tensor, " rows"]
    failed: Bool[Tensor, " rows"]
    slopeless: Bool[Tensor, " rows"] | None
    jumping: Bool[Tensor, " rows"] | None
    passed: Int64[Tensor, " rows"] | None
    crossed: Bool[Tensor, "rows events"] | None
    signs: Tensor | None
    counts: Counts


def examine(
    rows: Rows,
    step: Step,
    clock: RowClock,
    t_next: Float[Tensor, " rows"],
    *,
    solver: AbstractSolver,
    controller: ConstantController | PIDController,
    tolerances: Tolerances,
    times: RowTimes,
    watch: RowEventWatch | None,
) -> Attempt:
    """Judge a step of all rows, and look for what it passed.

    Here the device is read, once.
    """
    dt, crossed, signs, unclear = t_next - rows.t, None, None, None
    verdict = _verdict(rows, step, dt, solver, controller, tolerances)
    failed = _hopeless(rows, verdict, dt, controller)
    if watch is not None and rows.signs is not None:
        new = watch.signs(clock.t1, step.y1, rows.sample)
        # Of a state that is NaN the solve itself tells, or returns it as it is.
        unclear = torch.isnan(new).any(1) & verdict.accept & finite_rows(step.y1)
        crossed, signs = watch.crossings(rows.signs, new)
    attempt = _look(
        rows, step, clock, t_next, verdict, failed, crossed, signs, times, watch, unclear
    )
    if attempt.counts.unclear:
        assert unclear is not None
        row = int(torch.nonzero(unclear)[0])
        t, sample = float(clock.t1.reshape(-1)[row]), int(rows.sample[row])
        raise nan_error(f"for sample {sample} at t = {t:.6g}")
    return attempt


def reconsider(
    rows: Rows,
    attempt: Attempt,
    again: Bool[Tensor, " rows"],
    times: RowTimes,
    watch: RowEventWatch,
) -> Attempt:
    """The same attempt, where some accepted rows are to make their step again, shorter.

    Here the device is read, once more.
    """
    old, verdict = rows, attempt.verdict
    history = verdict.history
    if history is not None and old.history is not None:
        history = torch.where(again[:, None], old.history, history)
    verdict = Verdict(
        verdict.accept & ~again,
        torch.where(again, old.dt, verdict.dt),
        torch.where(again, old.cap, verdict.cap),
        history,
    )
    return _look(
        rows, attempt.step, attempt.clock, attempt.t_next, verdict, attempt.failed,
        attempt.crossed, attempt.signs, times, watch,
    )  # fmt: skip


def _look(
    rows: Rows,
    step: Step,
    clock: RowClock,
    t_next: Tensor,
    verdict: Verdict,
    failed: Tensor,
    crossed: Tensor | None,
    signs: Tensor | None,
    times: RowTimes,
    watch: RowEventWatch | None,
    unclear: Tensor | None = None,
) -> Attempt:
    """What the accepted rows of a step have reached and passed."""
    accept = verdict.accept
    finished = accept & (t_next >= rows.t1)
    saves, passed, interpolates = rows.saves, rows.next_save, None
    if saves is not None and passed is not None:
        place = lambda right: torch.searchsorted(saves, t_next[:, None], right=right)[:, 0]
        interpolates = accept & (place(False) > passed)
        passed = torch.where(accept, place(True), passed)
    if crossed is not None and watch is not None:
        crossed = crossed & accept[:, None]
        finished = finished | watch.terminal(crossed)
        interpolates = crossed.any(1) if interpolates is None else interpolates | crossed.any(1)
    goes_on, slopeless, jumping = accept & ~finished, None, None
    if times.jumps is not None:
        jumping = goes_on & times.at_jump(rows.in_ode_time(t_next))
        goes_on = goes_on & ~jumping
    if step.f1 is None:
        slopeless = goes_on if interpolates is None else goes_on | interpolates
    counts = _count(
        accept, finished, failed, slopeless, jumping, unclear, crossed, passed, rows.next_save
    )
    return Attempt(
        step, clock, t_next, t_next - rows.t, verdict, finished, failed, slopeless, jumping,
        passed, crossed, signs, counts,
    )  # fmt: skip


def _verdict(
    rows: Rows,
    step: Step,
    dt: Float[Tensor, " rows"],
    solver: AbstractSolver,
    controller: ConstantController | PIDController,
    tolerances: Tolerances,
) -> Verdict:
    blamed = None
    if not step.converged:
        # Newton's iteration is one for all rows. The bad ones stopped it, if there are any.
        bad = ~finite_rows(step.y1)
        blamed = torch.where(bad.any(), bad, True)
    if isinstance(controller, ConstantController):
        accept = torch.full_like(rows.sample, step.converged, dtype=torch.bool)
        return Verdict(accept, rows.dt, rows.cap)
    assert solver.embedded_order is not None
    if blamed is None:
        ratio = error_ratio(controller, solver, step, tolerances).to(dt.dtype)
    else:
        ratio = torch.full_like(dt, torch.nan)
    verdict = judge(controller, solver.embedded_order, ratio, blamed, dt, rows.cap, rows.history)
    if rows.targets is None and rows.landing is None:  # a landing is the last step
        return verdict
    resumed = resume(rows.dt, dt, verdict.dt)
    return dataclasses.replace(verdict, dt=torch.where(verdict.accept, resumed, verdict.dt))


def _hopeless(
    rows: Rows,
    verdict: Verdict,
    dt: Float[Tensor, " rows"],
    controller: ConstantController | PIDController,
) -> Bool[Tensor, " rows"]:
    """Rows for which no shorter step can mend a rejected one."""
    if isinstance(controller, ConstantController):
        return ~verdict.accept
    too_short = verdict.dt < torch.minimum(rows.shortest, rows.t1 - rows.t)
    if controller.dt_min > 0:
        too_short |= dt <= least_step(controller)
    return too_short & ~verdict.accept


def _count(
    accept: Tensor,
    finished: Tensor,
    failed: Tensor,
    slopeless: Tensor | None,
    jumping: Tensor | None,
    unclear: Tensor | None,
    crossed: Tensor | None,
    passed: Tensor | None,
    passed_before: Tensor | None,
) -> Counts:
    masks = [accept, finished, failed]
    masks += [mask for mask in (slopeless, jumping, unclear) if mask is not None]
    masks += [] if crossed is None else list(crossed.unbind(1))
    numbers = torch.stack(masks).count_nonzero(1)
    if passed is not None and passed_before is not None:
        numbers = torch.cat([numbers, (passed - passed_before).sum()[None]])
    # The one host read of an attempted step.
    read = iter(numbers.tolist())
    return Counts(
        accepted=next(read),
        finished=next(read),
        failed=next(read),
        slopeless=0 if slopeless is None else next(read),
        jumping=0 if jumping is None else next(read),
        unclear=0 if unclear is None else next(read),
        roots=() if crossed is None else tuple(next(read) for _ in crossed.unbind(1)),
        saves=0 if passed is None else next(read),
    )
