"""rk_step, the kernel of every explicit solve, and the explicit Runge-Kutta solver around it."""

import dataclasses
from collections.abc import Sequence

import torch

from odevision.ode.solver import AbstractSolver, Field, Memory, Step
from odevision.ode.tableau import ButcherTableau, Row
from odevision.types import Scalar, State


def rk_step(
    f: Field,
    tableau: ButcherTableau,
    t0: float,
    t1: float,
    y0: State,
    f0: State | None = None,
    *,
    all_stages: bool,
) -> tuple[State, list[State]]:
    """Advance y from t0 to t1 by one explicit Runge-Kutta step.

    Args:
        f: the vector field, called as f(t, y).
        tableau: the method's coefficients.
        t0: start of the step.
        t1: end of the step; before t0 where time runs backward.
        y0: state at t0, any shape.
        f0: f(t0, y0) where it is known from the step before.
        all_stages: also evaluate the stages that only the error estimate or the next step needs.

    Returns:
        The state at t1, of y0's shape, and the stages k_i of the same shape.
    """
    dt = t1 - t0
    ts = _stage_times(tableau, t0, t1, y0)
    k = [f(ts[0], y0) if f0 is None else f0]
    y = y0
    stages = tableau.num_stages if all_stages else tableau.num_solution_stages
    for i in range(1, stages):
        y = add_weighted(y0, dt, tableau.stage_rows[i], k)
        k.append(f(ts[i], y))
    if not (all_stages and tableau.fsal):  # else the last stage already stands at y1
        y = add_weighted(y0, dt, tableau.solution_row, k)
    return y, k


def _stage_times(tableau: ButcherTableau, t0: float, t1: float, y: State) -> Sequence[Scalar]:
    """The times t0 + c_i dt; exactly t0 and t1 for c = 0 and 1.

    full() and not tensor(): no copy from the host, so no wait on a GPU. Three operations for all.
    """
    dtype, count = y.dtype.to_real(), tableau.num_stages
    start = torch.full((count,), t0, dtype=dtype, device=y.device)
    if count == 1:
        return start.unbind()
    end = torch.full((count,), t1, dtype=dtype, device=y.device)
    c = tableau.times_row.tensor(dtype, y.device, full=True)
    return torch.lerp(start, end, c).unbind()


# Below this size an operation costs its launch and not its work: one product of all stages is
# faster than a chain of sums. On a GPU that holds for every size.
_FEW_ENTRIES = 16_384


def add_weighted(y: State | None, dt: float, row: Row, k: Sequence[State]) -> State:
    """Sum y + dt sum_i weights_i k_i, without a change to y; None counts as 0."""
    indices, weights = row.indices, row.weights
    like = k[0] if y is None else y
    if (
        len(indices) > 2
        and (like.is_cuda or like.numel() <= _FEW_ENTRIES)
        and like.is_contiguous()
        and not torch.compiler.is_compiling()  # a compiler fuses the chain
    ):
        stages = torch.stack([k[i] for i in indices]).view(len(indices), -1)
        factors = row.tensor(like.dtype, like.device)
        beta = 0 if y is None else 1
        return torch.addmv(
            like.view(-1), stages.t(), factors, beta=beta, alpha=dt
        ).view_as(like)
    if y is None:
        total = torch.mul(k[indices[0]], dt * weights[0])
    else:
        total = torch.add(y, k[indices[0]], alpha=dt * weights[0])
    for i, weight in zip(indices[1:], weights[1:], strict=True):
        # Addition keeps nothing for its backward pass: sums in place are safe under autograd.
        total.add_(k[i], alpha=dt * weight)
    return total


@dataclasses.dataclass(frozen=True)
class ExplicitRungeKutta(AbstractSolver):
    """An explicit Runge-Kutta solver; `tableau` holds all that distinguishes one from another."""

    tableau: ButcherTableau

    @property
    def name(self) -> str:
        """The word users type."""
        return self.tableau.name

    @property
    def kind(self) -> str:
        """Its stages."""
        count = self.tableau.num_stages
        return "1 stage" if count == 1 else f"{count} stages"

    @property
    def order(self) -> int:
        """Order of the solution."""
        return self.tableau.order

    @property
    def embedded_order(self) -> int | None:
        """Order of the embedded solution."""
        return self.tableau.embedded_order

    @property
    def lands_on_saves(self) -> bool:
        """Whether the interpolant is far less accurate than a step."""
        return self.tableau.order > 5

    @property
    def has_bump(self) -> bool:
        """Whether the interpolant is quartic."""
        return self.tableau.b_dense is not None

    def step(
        self,
        f: Field,
        t0: float,
        t1: float,
        y0: State,
        f0: State | None,
        memory: Memory,
        *,
        all_stages: bool,
    ) -> Step:
        """Attempt one step; see `rk_step` for the arguments."""
        y1, k = rk_step(f, self.tableau, t0, t1, y0, f0, all_stages=all_stages)
        f1 = k[-1] if self.tableau.fsal and all_stages else None
        return Step(t0, t1, y0, y1, k, k[0], f1, memory)

    def error(self, step: Step) -> State:
        """Local error estimate of a step made with all stages, of the state's shape.

        It only steers the step size: the controller asks for it under no_grad.
        """
        row = self.tableau.error_row
        assert row is not None
        return add_weighted(None, step.t1 - step.t0, row, step.k)

    def bump(self, step: Step) -> State | None:
        """The method's term of the quartic interpolant."""
        row = self.tableau.dense_row
        if row is None:
            return None
        return add_weighted(None, 1.0, row, step.k)

    def stage_time(self, step: Step, stage: int) -> float:
        """Time at which a stage of the step was evaluated."""
        return step.t0 + float(self.tableau.c[stage]) * (step.t1 - step.t0)
