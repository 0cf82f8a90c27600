"""The explicit Runge-Kutta methods, one file each; `METHODS` is the explicit list."""

from odevision.ode.methods.bosh3 import BOSH3
from odevision.ode.methods.dopri5 import DOPRI5
from odevision.ode.methods.dopri8 import DOPRI8
from odevision.ode.methods.euler import EULER
from odevision.ode.methods.fehlberg2 import FEHLBERG2
from odevision.ode.methods.heun import HEUN, HEUN2
from odevision.ode.methods.heun3 import HEUN3
from odevision.ode.methods.midpoint import MIDPOINT
from odevision.ode.methods.ralston import RALSTON
from odevision.ode.methods.rk4 import RK4
from odevision.ode.methods.rk4_38 import RK4_38
from odevision.ode.methods.tsit5 import TSIT5
from odevision.ode.tableau import ButcherTableau

METHODS: dict[str, ButcherTableau] = {
    tableau.name: tableau
    for tableau in (
        EULER,
        MIDPOINT,
        HEUN,
        HEUN2,
        HEUN3,
        RALSTON,
        RK4,
        RK4_38,
        BOSH3,
        FEHLBERG2,
        TSIT5,
        DOPRI5,
        DOPRI8,
    )
}
