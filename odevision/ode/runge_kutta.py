"""rk_step, the kernel of every explicit solve, and the explicit Runge-Kutta solver around it."""

import dataclasses
import math
from collections.abc import Sequence

import torch

from odevision.ode.solver import AbstractSolver, Field, Memory, Step
from odevision.ode.stage_buffer import StageBuffer
from odevision.ode.tableau import ButcherTableau, Row
from odevision.ode.tracing import transformed
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
    buffer: StageBuffer | None = None,
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
        buffer: holds the stages as a matrix where no graph is recorded.

    Returns:
        The state at t1, of y0's shape, and the stages k_i of the same shape.
    """
    dt = t1 - t0
    ts = _stage_times(tableau, t0, t1, y0)
    k, y = [], y0
    stages = tableau.num_stages if all_stages else tableau.num_solution_stages
    for i in range(stages):
        if i > 0:
            y = add_weighted(y0, dt, tableau.stage_rows[i], k, buffer)
        k.append(f(ts[i], y) if i > 0 or f0 is None else f0)
        if buffer is not None and k[i].requires_grad:
            buffer = None  # f's graph began at this stage: its rows must not be overwritten
        if buffer is not None:
            buffer.put(i, k[i])
    if not (all_stages and tableau.fsal):  # else the last stage already stands at y1
        y = add_weighted(y0, dt, tableau.solution_row, k, buffer)
    return y, k


def _stage_times(tableau: ButcherTableau, t0: float, t1: float, y: State) -> Sequence[Scalar]:
    """The times t0 + c_i dt; exactly t0 and t1 for c = 0 and 1.

    full() and not tensor(): no copy from the host, so no wait on a GPU. Three operations for all.
    """
    dtype, count = y.real.dtype, tableau.num_stages
    start = torch.full((count,), t0, dtype=dtype, device=y.device)
    if count == 1:
        return start.unbind()
    end = torch.full((count,), t1, dtype=dtype, device=y.device)
    c = tableau.times_row.tensor(count, start)
    return torch.lerp(start, end, c).unbind()


def add_weighted(
    y: State | None,
    dt: float,
    row: Row,
    k: Sequence[State],
    buffer: StageBuffer | None = None,
) -> State:
    """Sum y + dt sum_i row_i k_i, without a change to y; None counts as 0."""
    indices, weights = row.indices, row.weights
    several = len(indices) > 1
    if buffer is not None and several:
        return buffer.add_weighted(y, dt, row)
    if y is None:
        total = torch.mul(k[indices[0]], dt * weights[0])
    else:
        total = torch.add(y, k[indices[0]], alpha=dt * weights[0])
    # Addition keeps nothing for its backward pass: sums in place are safe under autograd. They are
    # not under forward-mode differentiation, whose zero tangents cannot be written to.
    add = torch.add if several and transformed() else torch.Tensor.add_
    for i, weight in zip(indices[1:], weights[1:], strict=True):
        total = add(total, k[i], alpha=dt * weight)
    return total


@dataclasses.dataclass(frozen=True)
class ExplicitRungeKutta(AbstractSolver):
    """An explicit Runge-Kutta solver; `tableau` holds all that distinguishes one from another."""

    tableau: ButcherTableau
    name: str = dataclasses.field(init=False)
    kind: str = dataclasses.field(init=False)
    order: int = dataclasses.field(init=False)
    embedded_order: int | None = dataclasses.field(init=False)
    lands_on_saves: bool = dataclasses.field(init=False)
    has_bump: bool = dataclasses.field(init=False)
    noise_gain: float = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Say of the solver what its tableau says."""
        tableau = self.tableau
        count, errors = tableau.num_stages, tableau.error_row
        facts = {
            "name": tableau.name,
            "kind": "1 stage" if count == 1 else f"{count} stages",
            "order": tableau.order,
            "embedded_order": tableau.embedded_order,
            # The interpolant is far less accurate than a step there.
            "lands_on_saves": tableau.order > 5,
            "has_bump": tableau.b_dense is not None,
            # Independent errors in the slopes add up by their squares.
            "noise_gain": 0.0 if errors is None else math.hypot(*errors.weights),
        }
        for name, value in facts.items():
            object.__setattr__(self, name, value)

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
        buffer = memory.scratch
        if buffer is not None and buffer.shape != y0.shape:  # samples have left
            buffer = StageBuffer(self.tableau.num_stages, y0)
        if buffer is not None and torch.is_grad_enabled():
            f0 = f(t0, y0) if f0 is None else f0
            if y0.requires_grad or f0.requires_grad:
                buffer = None
        y1, k = rk_step(f, self.tableau, t0, t1, y0, f0, all_stages=all_stages, buffer=buffer)
        f1 = k[-1] if self.tableau.fsal and all_stages else None
        if buffer is not None and any(x.requires_grad for x in k):
            buffer = None  # as in rk_step
        return Step(t0, t1, y0, y1, k, k[0], f1, Memory(scratch=buffer))

    def start(self, f: Field, t0: float, y0: State) -> Memory:
        """No memory but scratch space for small states."""
        if self.tableau.num_stages > 2 and StageBuffer.suits(y0):
            return Memory(scratch=StageBuffer(self.tableau.num_stages, y0))
        return Memory()

    def error(self, step: Step) -> State:
        """Local error estimate of a step made with all stages, of the state's shape.

        It only steers the step size: the controller asks for it under no_grad.
        """
        row = self.tableau.error_row
        assert row is not None
        return add_weighted(None, step.t1 - step.t0, row, step.k, step.memory.scratch)

    def bump(self, step: Step) -> State | None:
        """The method's term of the quartic interpolant."""
        row = self.tableau.dense_row
        if row is None:
            return None
        return add_weighted(None, 1.0, row, step.k)

    def stage_time(self, step: Step, stage: int) -> float:
        """Time at which a stage of the step was evaluated."""
        return step.t0 + float(self.tableau.c[stage]) * (step.t1 - step.t0)
