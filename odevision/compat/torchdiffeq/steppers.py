"""stepper: the engine's solver for a method and its options."""

import dataclasses
import warnings
from typing import Any

from odevision.compat.torchdiffeq.inputs import Inputs
from odevision.compat.torchdiffeq.methods import ADAPTIVE, EXPLICIT, IMPLICIT
from odevision.ode.adams import MAX_ORDER, Adams
from odevision.ode.implicit import ImplicitRungeKutta
from odevision.ode.solver import AbstractSolver, Field, Memory, Step
from odevision.solve import resolve_solver
from odevision.types import State

_START = "rk4-38"
_LEAST_ORDER = 4


def stepper(inputs: Inputs) -> AbstractSolver:
    """The solver that makes the steps.

    Raises:
        ValueError: an option of the method is out of its range.
    """
    method, options = inputs.method, inputs.options
    if method in ADAPTIVE:
        return resolve_solver(ADAPTIVE[method])
    if method in EXPLICIT:
        return resolve_solver(EXPLICIT[method])
    if method in IMPLICIT:
        return _with_max_iters(resolve_solver(IMPLICIT[method]), options.get("max_iters"))
    order = int(options.get("max_order", MAX_ORDER))
    if order > MAX_ORDER:
        raise ValueError(f"option `max_order` must be at most {MAX_ORDER}, got {order}.")
    if order < _LEAST_ORDER:
        warnings.warn(
            f"option `max_order` is {order}: below {_LEAST_ORDER} every step is one of rk4.",
            stacklevel=6,
        )
        return resolve_solver(_START)
    return RisingAdams(
        order=order,
        implicit=method != "explicit_adams" and bool(options.get("implicit", True)),
        inputs=inputs,
        max_iters=int(options.get("max_iters", 4)),
    )


def _with_max_iters(solver: AbstractSolver, given: Any) -> AbstractSolver:
    """The option bounds Newton's iterations; torchdiffeq's, by Broyden's rule, are many more."""
    assert isinstance(solver, ImplicitRungeKutta)
    return solver if given is None else dataclasses.replace(solver, max_newton_steps=int(given))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RisingAdams(AbstractSolver):
    """Adams methods as torchdiffeq takes them: the order rises with the slopes at hand.

    The first steps are made by rk4. `odevision.ode.adams.Adams` keeps its order from the first step
    on instead, at many more evaluations there.

    Args:
        order: the highest.
        implicit: whether to correct.
        inputs: the call, for its tolerances.
        max_iters: most corrections a step.
    """

    order: int
    implicit: bool
    inputs: Inputs
    max_iters: int
    name: str = "adams"

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
        """Attempt one step; the memory holds older slopes, newest first."""
        f0 = f(t0, y0) if f0 is None else f0
        slopes = Memory((f0, *memory.states), (t0, *memory.times))
        known = len(slopes.states)
        if known < _LEAST_ORDER - 1:
            start = resolve_solver(_START)
            step = start.step(f, t0, t1, y0, f0, Memory(), all_stages=all_stages)
        else:
            # torchdiffeq's explicit method ends one order below max_order.
            solver = self._of_order(min(known, self.order - (not self.implicit)))
            step = solver.step(f, t0, t1, y0, f0, memory, all_stages=all_stages)
        newest = Memory(slopes.states[: self.order - 1], slopes.times[: self.order - 1])
        return dataclasses.replace(step, memory=newest)

    def _of_order(self, order: int) -> Adams:
        if not self.implicit:
            return Adams(order=order)
        return Adams(
            order=order,
            implicit=True,
            max_iters=self.max_iters,
            rtol=self.inputs.rtol,
            atol=self.inputs.atol,
        )
