"""odevision: image classifiers made of neural ordinary differential equations.

The parts, bottom-up: `odesolve` solves an initial value problem with exact gradients, `ODEBlock` is a
layer around it, `create_model` builds whole networks. Training, evaluation and prediction are commands;
see `odevision --help`.
"""

from odevision.models import create_model, list_models
from odevision.nn import ODEBlock
from odevision.ode.solution import Solution, SolveError, Stats
from odevision.solve import list_solvers, odesolve

__version__ = "0.1.0"

__all__ = [
    "ODEBlock",
    "Solution",
    "SolveError",
    "Stats",
    "create_model",
    "list_models",
    "list_solvers",
    "odesolve",
]
