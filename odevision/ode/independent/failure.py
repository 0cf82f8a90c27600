"""Which samples of a solve failed, and why."""

import dataclasses

import torch
from jaxtyping import Int64
from torch import Tensor

from odevision.ode.controller import Controller, PIDController
from odevision.ode.independent.control import Tolerances, error_ratio
from odevision.ode.independent.rows import finite_rows
from odevision.ode.solution import Result, SolveError
from odevision.ode.solver import AbstractSolver, Step

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

    def note(self, samples: Tensor, results: Tensor, error: SolveError) -> None:
        """Write failures down; `error` is that of the first of these samples."""
        self.results.index_copy_(0, samples, results)
        self.error = self.error or error


def step_results(step: Step) -> Int64[Tensor, " rows"]:
    """What kind of failure a hopelessly rejected step of each row is."""
    finite = finite_rows(step.y0) & finite_rows(step.y1)
    for k in step.k:
        finite &= finite_rows(k)
    rejected = Result.DT_UNDERFLOW if step.converged else Result.NOT_CONVERGED
    return torch.where(finite, RESULTS.index(rejected), RESULTS.index(Result.NON_FINITE))


def start_error(row: int, sample: int | None, t: float, y: Tensor, slope: Tensor) -> SolveError:
    """The failure of a sample whose state or slope is bad before the first step."""
    bad_state = not bool(torch.isfinite(y[row]).all())
    cause = "The state is NaN or infinite"
    if not bad_state:
        cause = f"The vector field gave NaN or infinity at t = {t:.6g}"
    largest = float(slope[row].abs().max())
    return SolveError(Result.NON_FINITE, cause, t=t, dt=None, sample=sample, slope=largest)


def step_error(
    solver: AbstractSolver,
    controller: Controller,
    tolerances: Tolerances,
    step: Step,
    row: int,
    sample: int | None,
    t: float,
    dt: float,
) -> SolveError:
    """The failure of one row's hopelessly rejected step. It reads the device.

    Args:
        solver: what made the step.
        controller: what judged it.
        tolerances: rtol and atol of the rows.
        step: the step of all rows, of unit length.
        row: which row.
        sample: its sample; None where the state holds a single one.
        t: where its step starts, in ODE time.
        dt: its length, signed.
    """
    finite = lambda x: bool(torch.isfinite(x[row]).all())
    slope = None if step.f0 is None else float(step.f0[row].abs().max()) / abs(dt)
    fail = lambda result, cause: SolveError(result, cause, t=t, dt=dt, sample=sample, slope=slope)
    if not finite(step.y0):
        return fail(Result.NON_FINITE, "The state is NaN or infinite")
    for i, k in enumerate(step.k):
        if not finite(k):
            at = t + solver.stage_time(step, i) * dt
            cause = f"NaN or infinity first came from the vector field at t = {at:.9g}"
            return fail(Result.NON_FINITE, cause)
    if not step.converged:
        cause = "Newton's iteration did not find the stages of an implicit step"
        return fail(Result.NOT_CONVERGED, cause)
    if not finite(step.y1):
        return fail(Result.NON_FINITE, "The state overflowed")
    assert isinstance(controller, PIDController)  # other steps are rejected by Newton only
    ratio = float(error_ratio(controller, solver, step, tolerances)[row])
    cause = f"The step size vanished: the error stays {ratio:.3g} times the tolerance"
    return fail(Result.DT_UNDERFLOW, cause)
