"""Gradients of a solve with respect to y0, args and whatever the vector field holds.

`Direct` lets autograd record every accepted step. `Checkpointed` keeps states between the steps and
makes each step again on the way back. `Reversible` undoes the steps by algebra and keeps nothing
but the end. All three are exact: the gradient of the numbers that the forward pass computed.
`Backsolve` solves the adjoint ODE, whose gradient is right up to the tolerance only. `Auto` makes
the choice.
"""

from odevision.gradient.auto import Auto
from odevision.gradient.backsolve import Backsolve
from odevision.gradient.checkpointed import Checkpointed
from odevision.gradient.direct import Direct
from odevision.gradient.method import AbstractGradient
from odevision.gradient.reversible import Reversible

GRADIENTS: dict[str, AbstractGradient] = {
    gradient.name: gradient
    for gradient in (Direct(), Checkpointed(), Reversible(), Backsolve(), Auto())
}

__all__ = [
    "GRADIENTS",
    "AbstractGradient",
    "Auto",
    "Backsolve",
    "Checkpointed",
    "Direct",
    "Reversible",
]
