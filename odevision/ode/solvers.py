"""SOLVERS: every solver by the word users type, simplest first."""

from odevision.ode.adams import ADAMS_METHODS
from odevision.ode.implicit import IMPLICIT_METHODS
from odevision.ode.methods import METHODS
from odevision.ode.reversible import REVERSIBLE_METHODS
from odevision.ode.runge_kutta import ExplicitRungeKutta
from odevision.ode.solver import AbstractSolver

SOLVERS: dict[str, AbstractSolver] = {
    **{name: ExplicitRungeKutta(tableau) for name, tableau in METHODS.items()},
    **REVERSIBLE_METHODS,
    **IMPLICIT_METHODS,
    **ADAMS_METHODS,
}
