"""Which samples of a solve failed, and why. A failure may read from the device."""

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from odevision.ode.controller import ConstantController, PIDController
from odevision.ode.independent.attempt import Attempt
from odevision.ode.independent.control import Tolerances, error_ratio
from odevision.ode.independent.rows import Rows, chosen, finite_rows
from odevision.ode.solution import Result, SolveError, passed_by_no_step
from odevision.ode.solver import AbstractSolver, Step
from odevision.types import State

RESULTS = tuple(Result)
"""Results by the number that stands for them in tensors."""


@dataclasses.dataclass
class Failures:
    """The samples that did not reach their end.

    Attributes:
        results: how each sample ended, as a number of `RESULTS`.
        error: the first failure; None where there was none.
    """

    results: Int64[Tensor, " batch"]
    error: SolveError | None = None

    def note_starts(self, rows: Rows, row: Int64[Tensor, " bad"]) -> None:
        """Rows whose state or slope is NaN or infinite before the first step."""
        first = int(row[0])
        t, cause = float(rows.in_ode_time(rows.t)[first]), "The state is NaN or infinite"
        if bool(torch.isfinite(rows.y[first]).all()):
            cause = f"The vector field gave NaN or infinity at t = {t:.6g}"
        slope = float(rows.f0[first].abs().max())
        results = torch.full_like(row, RESULTS.index(Result.NON_FINITE))
        self._note(rows.sample[row], results, cause, t=t, slope=slope)

    def note_step(
        self,
        rows: Rows,
        attempt: Attempt,
        solver: AbstractSolver,
        controller: ConstantController | PIDController,
        tolerances: Tolerances,
    ) -> None:
        """Rows that rejected a step which no shorter one could mend."""
        row = chosen(attempt.failed, attempt.counts.failed)
        first, step = int(row[0]), attempt.step
        t = float(rows.in_ode_time(rows.t)[first])
        dt = float(rows.in_ode_time(attempt.dt)[first])
        cause = _cause(solver, controller, tolerances, step, first, t, dt)
        slope = None if step.f0 is None else float(step.f0[first].abs().max()) / abs(dt)
        self._note(rows.sample[row], _results(step)[row], cause, t=t, dt=dt, slope=slope)

    def note_max_steps(
        self,
        rows: Rows,
        latest: Sequence[tuple[Rows, Attempt]],
        solver: AbstractSolver,
        max_steps: int,
    ) -> None:
        """All rows that still run, after the latest steps, of those that adapt, were attempted.

        A step that rounds away has no error, so that a row can creep up to where f ends for ever:
        then that is what is told.
        """
        t, dt, end = (float(rows.in_ode_time(x)[0]) for x in (rows.t, rows.dt, rows.t1))
        cause = f"The solve took max_steps = {max_steps} steps and t1 = {end:.6g} is still ahead"
        slope = float(rows.f0[0].abs().max()) if latest else None
        is_blocked = torch.zeros_like(rows.sample, dtype=torch.bool)
        for before, attempt in latest:
            row = torch.searchsorted(before.sample, rows.sample)  # what runs now ran then
            for i, k in reversed([*enumerate(attempt.step.k)]):  # the first stage has the last word
                at = before.t + solver.stage_time(attempt.step, i) * attempt.dt
                at = at.index_select(0, row)
                bad = ~finite_rows(k).index_select(0, row) & (at > rows.t)
                is_blocked |= bad
                if bool(bad[0]):
                    cause = passed_by_no_step(float(rows.in_ode_time(at)[0]), max_steps)
        results = torch.where(
            is_blocked, RESULTS.index(Result.NON_FINITE), RESULTS.index(Result.MAX_STEPS)
        )
        self._note(rows.sample, results, cause, t=t, dt=dt, slope=slope)

    def note_overflow(self, y1: State, t1: Float[Tensor, " batch"]) -> None:
        """Samples whose last step overflowed: an error relative to infinity is 0."""
        reached = self.results == RESULTS.index(Result.SUCCESSFUL)
        sample = torch.nonzero(reached & ~finite_rows(y1))[:, 0]  # the device is read once a solve
        if len(sample):
            results = torch.full_like(sample, RESULTS.index(Result.NON_FINITE))
            cause, t = "The state is NaN or infinite", float(t1[sample[0]])
            self._note(sample, results, cause, t=t)

    def _note(
        self,
        sample: Tensor,
        results: Tensor,
        cause: str,
        *,
        t: float,
        dt: float | None = None,
        slope: float | None = None,
    ) -> None:
        """Write these samples down; the rest is about the first of them."""
        self.results.index_copy_(0, sample, results)
        if self.error is None:
            name = int(sample[0]) if len(self.results) > 1 else None
            kind = RESULTS[int(results[0])]
            self.error = SolveError(kind, cause, t=t, dt=dt, sample=name, slope=slope)


def _results(step: Step) -> Int64[Tensor, " rows"]:
    """What kind of failure a hopelessly rejected step of each row is."""
    finite = finite_rows(step.y0) & finite_rows(step.y1)
    for k in step.k:
        finite &= finite_rows(k)
    rejected = Result.DT_UNDERFLOW if step.converged else Result.NOT_CONVERGED
    return torch.where(finite, RESULTS.index(rejected), RESULTS.index(Result.NON_FINITE))


def _cause(
    solver: AbstractSolver,
    controller: ConstantController | PIDController,
    tolerances: Tolerances,
    step: Step,
    row: int,
    t: float,
    dt: float,
) -> str:
    """Why no shorter step from t could mend the rejected one of this row."""
    finite = lambda x: bool(torch.isfinite(x[row]).all())
    if not finite(step.y0):
        return "The state is NaN or infinite"
    for i, k in enumerate(step.k):
        if not finite(k):
            at = t + solver.stage_time(step, i) * dt
            return f"NaN or infinity first came from the vector field at t = {at:.9g}"
    if not step.converged:
        return "Newton's iteration did not find the stages of an implicit step"
    if not finite(step.y1):
        return "The state overflowed"
    assert isinstance(controller, PIDController)  # other steps are rejected by Newton only
    ratio = float(error_ratio(controller, solver, step, tolerances)[row])
    return f"The step size vanished: the error stays {ratio:.3g} times the tolerance"
