"""The Runge-Kutta methods, one file each; `METHODS` is the explicit list."""

from odevision.ode.methods.bosh3 import BOSH3
from odevision.ode.methods.dopri5 import DOPRI5
from odevision.ode.methods.euler import EULER
from odevision.ode.methods.heun import HEUN
from odevision.ode.methods.midpoint import MIDPOINT
from odevision.ode.methods.rk4 import RK4
from odevision.ode.methods.tsit5 import TSIT5
from odevision.ode.tableau import ButcherTableau

METHODS: dict[str, ButcherTableau] = {
    tableau.name: tableau for tableau in (EULER, MIDPOINT, HEUN, RK4, BOSH3, DOPRI5, TSIT5)
}
