"""odesolve: from the user's words to a solved problem.

`odesolve.py` is the function, `checks.py` reads its arguments, `answer.py` makes the Solution.
"""

from odevision.solve.checks import (
    Gradient,
    list_gradients,
    list_solvers,
    refuse_changing_layers,
    resolve_gradient,
    resolve_solver,
    unknown_name,
)
from odevision.solve.odesolve import DEFAULT_MAX_STEPS, odesolve

__all__ = [
    "DEFAULT_MAX_STEPS",
    "Gradient",
    "list_gradients",
    "list_solvers",
    "odesolve",
    "refuse_changing_layers",
    "resolve_gradient",
    "resolve_solver",
    "unknown_name",
]
