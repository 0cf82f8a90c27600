"""The interface of torchdiffeq 0.2.5 and later, over the engine of `odevision.odesolve`.

The functions take the same arguments, with the same defaults, and return the same structures.
docs/torchdiffeq.md says what differs and why. `last_stats` is our own addition.
"""

from odevision.compat.torchdiffeq.adjoint import odeint_adjoint
from odevision.compat.torchdiffeq.dense import odeint_dense
from odevision.compat.torchdiffeq.events import odeint_event
from odevision.compat.torchdiffeq.forward import odeint
from odevision.compat.torchdiffeq.statistics import last_stats

__version__ = "0.2.5"  # of the interface: programs compare it

__all__ = ["last_stats", "odeint", "odeint_adjoint", "odeint_dense", "odeint_event"]
