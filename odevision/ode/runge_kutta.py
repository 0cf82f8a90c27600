"""rk_step, the kernel of every explicit solve, and the explicit Runge-Kutta solver around it."""

import dataclasses
from collections.abc import Callable, Sequence

import torch

from odevision.ode.tableau import ButcherTableau
from odevision.types import State

Field = Callable[[float, State], State]


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
    k = [f(t0, y0) if f0 is None else f0]
    y = y0
    stages = tableau.num_stages if all_stages else tableau.num_solution_stages
    for weights, c in zip(
        tableau.stage_weights[1:stages], tableau.stage_times[1:stages], strict=True
    ):
        y = add_weighted(y0, dt, weights, k)
        k.append(f(t1 if c == 1 else t0 + c * dt, y))
    if not (all_stages and tableau.fsal):  # else the last stage already stands at y1
        y = add_weighted(y0, dt, tableau.solution_weights, k)
    return y, k


def add_weighted(y: State, dt: float, weights: Sequence[float], k: Sequence[State]) -> State:
    """Sum y + dt sum_i weights_i k_i, in one buffer beside y.

    Addition keeps nothing for its backward pass, so the in-place sums are safe under autograd.
    """
    total = None
    for weight, k_i in zip(weights, k, strict=False):
        if weight == 0:
            continue
        if total is None:
            total = torch.add(y, k_i, alpha=dt * weight)
        else:
            total.add_(k_i, alpha=dt * weight)
    return y if total is None else total


@dataclasses.dataclass(frozen=True)
class Step:
    """One attempted step from (t0, y0) to (t1, y1).

    Attributes:
        t0, t1: its ends, in ODE time.
        y0, y1: the states there.
        k: the stages; the error estimate and the interpolant are made of them.
        f1: f(t1, y1) where the method yields it (FSAL), else None.
    """

    t0: float
    t1: float
    y0: State
    y1: State
    k: list[State]
    f1: State | None


@dataclasses.dataclass(frozen=True)
class ExplicitRungeKutta:
    """An explicit Runge-Kutta solver; `tableau` holds all that distinguishes one from another."""

    tableau: ButcherTableau

    @property
    def name(self) -> str:
        """The word users type."""
        return self.tableau.name

    @property
    def adaptive(self) -> bool:
        """Whether an embedded solution estimates the error of a step."""
        return self.tableau.embedded_order is not None

    def step(
        self, f: Field, t0: float, t1: float, y0: State, f0: State | None, *, all_stages: bool
    ) -> Step:
        """Attempt one step; see `rk_step` for the arguments."""
        y1, k = rk_step(f, self.tableau, t0, t1, y0, f0, all_stages=all_stages)
        f1 = k[-1] if self.tableau.fsal and all_stages else None
        return Step(t0, t1, y0, y1, k, f1)

    def error(self, step: Step) -> State:
        """Local error estimate of a step made with all stages, of the state's shape.

        It only steers the step size, so it stays out of the autograd graph.
        """
        assert self.tableau.error_weights is not None
        with torch.no_grad():
            zero = step.y0.new_zeros(()).expand_as(step.y0)
            return add_weighted(zero, step.t1 - step.t0, self.tableau.error_weights, step.k)
