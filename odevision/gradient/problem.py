"""Problem: one initial value problem, checked and bound, as every gradient method receives it."""

import dataclasses
from typing import Any

from odevision.ode.controller import Controller
from odevision.ode.runge_kutta import ExplicitRungeKutta
from odevision.ode.term import ODETerm
from odevision.types import State, VectorField


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """What to solve and how.

    Attributes:
        vector_field: the user's callable, where the gradient looks for tensors to reach.
        args: the user's arguments to it.
        term: the vector field bound to its arguments, with its counters.
        solver: makes one step.
        controller: chooses and judges the steps.
        y0: state at t0, any shape.
        t0, t1: the ends, in ODE time.
        save_times: times to save, in the order of integration, t0 excluded.
        max_steps: most attempted steps.
    """

    vector_field: VectorField
    args: Any
    term: ODETerm
    solver: ExplicitRungeKutta
    controller: Controller
    y0: State
    t0: float
    t1: float
    save_times: tuple[float, ...]
    max_steps: int
