"""The error of the Euler step that stands inside each step of a solver, as a term for the loss."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from odevision.ode.runge_kutta import ExplicitRungeKutta, add_weighted
from odevision.ode.solver import AbstractSolver
from odevision.ode.tableau import Row
from odevision.types import State


def refuse_step_error(solver: object, num_steps: int | None, gradient: str) -> None:
    """Refuse settings under which no graph of all slopes is at hand.

    Raises:
        ValueError: the solve is not one of equal explicit Runge-Kutta steps of two stages or more
            with `direct` gradients.
    """
    if not isinstance(solver, ExplicitRungeKutta) or solver.tableau.num_stages < 2:
        name = getattr(solver, "name", solver)
        raise ValueError(
            f"`solver` must be an explicit Runge-Kutta method of two stages or more to measure the "
            f"step error, got {name!r}. Try 'midpoint'."
        )
    if num_steps is None or gradient != "direct":
        raise ValueError(
            "`num_steps` must be given, and `gradient` be 'direct', to measure the step error, got "
            f"num_steps = {num_steps} and gradient = {gradient!r}."
        )


class StageRecorder:
    """A vector field that remembers its slopes, from which the step errors are made afterwards.

    The slopes are evaluated for the solve anyway, so the errors cost no evaluation.

    Args:
        vector_field: what is recorded, called as f(t, y, ...).
    """

    def __init__(self, vector_field: Callable[..., Any]) -> None:
        """Nothing is recorded yet."""
        self.vector_field = vector_field
        self.slopes: list[State] = []

    def __call__(self, t: Any, y: State, *args: Any) -> State:
        """Evaluate f and remember what it returned."""
        slope = self.vector_field(t, y, *args)
        self.slopes.append(slope)
        return slope

    def mean_square_error(
        self, solver: AbstractSolver, num_steps: int, span: float, y0: State
    ) -> Float[Tensor, ""]:
        """Mean square of y1 - (y0 + dt k1) over the steps, relative to the mean square of y0.

        Args:
            solver: the method of the solve.
            num_steps: equal steps that were made.
            span: t1 - t0, in ODE time.
            y0: the state at t0.

        Returns:
            A number >= 0 with a graph to the slopes; the scale y0 is taken as a constant.
        """
        assert isinstance(solver, ExplicitRungeKutta)  # refuse_step_error has looked
        row = solver.tableau.solution_row
        weights = dict(zip(row.indices, row.weights, strict=True))
        weights[0] = weights.get(0, 0.0) - 1.0
        difference = Row([weights.get(i, 0.0) for i in range(solver.tableau.num_stages)])
        per_step = len(self.slopes) // num_steps
        errors = [
            add_weighted(None, span / num_steps, difference, self.slopes[start : start + per_step])
            for start in range(0, per_step * num_steps, per_step)
        ]
        # In the state's dtype: slopes are half precision under autocast.
        total = torch.stack([error.to(y0.dtype).square().mean() for error in errors]).mean()
        return total / y0.detach().square().mean().clamp_min(1e-12)
