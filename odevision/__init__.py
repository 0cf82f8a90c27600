"""odevision: image and video classifiers made of neural ordinary differential equations.

The parts, bottom-up: `odesolve` solves an initial value problem with exact gradients, `ODEBlock` is
a layer around it, `create_model` builds whole networks, `StreamingClassifier` answers a video frame
by frame. Training, evaluation and prediction are commands; see `odevision --help`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from odevision.version import __version__

if TYPE_CHECKING:
    from odevision.evaluation.streaming import StreamingClassifier, StreamSnapshot
    from odevision.models import create_model, list_models
    from odevision.nn import ODEBlock
    from odevision.ode.controller import ConstantController, GridController, PIDController
    from odevision.ode.event import Event
    from odevision.ode.per_sample import PerSample
    from odevision.ode.solution import Result, Solution, SolveError, Stats
    from odevision.solve import list_gradients, list_solvers, odesolve
    from odevision.training.checkpoint import load_checkpoint

__all__ = [
    "ConstantController",
    "Event",
    "GridController",
    "ODEBlock",
    "PIDController",
    "PerSample",
    "Result",
    "Solution",
    "SolveError",
    "Stats",
    "StreamSnapshot",
    "StreamingClassifier",
    "__version__",
    "create_model",
    "list_gradients",
    "list_models",
    "list_solvers",
    "load_checkpoint",
    "odesolve",
]

# Imported at first use: torch takes seconds, which `odevision --help` need not wait for.
_HOMES = {
    "ConstantController": "odevision.ode.controller",
    "Event": "odevision.ode.event",
    "GridController": "odevision.ode.controller",
    "PIDController": "odevision.ode.controller",
    "PerSample": "odevision.ode.per_sample",
    "ODEBlock": "odevision.nn",
    "Result": "odevision.ode.solution",
    "Solution": "odevision.ode.solution",
    "SolveError": "odevision.ode.solution",
    "Stats": "odevision.ode.solution",
    "StreamSnapshot": "odevision.evaluation.streaming",
    "StreamingClassifier": "odevision.evaluation.streaming",
    "create_model": "odevision.models",
    "list_models": "odevision.models",
    "list_gradients": "odevision.solve",
    "list_solvers": "odevision.solve",
    "load_checkpoint": "odevision.training.checkpoint",
    "odesolve": "odevision.solve",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'odevision' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """What completion shows: the names above, imported or not."""
    return sorted({*globals(), *__all__})
