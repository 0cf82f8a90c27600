"""The classic Runge-Kutta method: order 4, four stages, no embedded solution, not FSAL."""

from fractions import Fraction as F

from odevision.ode.tableau import ButcherTableau

RK4 = ButcherTableau(
    name="rk4",
    order=4,
    a=((), (F(1, 2),), (0, F(1, 2)), (0, 0, 1)),
    b=(F(1, 6), F(1, 3), F(1, 3), F(1, 6)),
    c=(0, F(1, 2), F(1, 2), 1),
    reference="Kutta 1901; Hairer, Norsett, Wanner: Solving ODEs I, section II.1, table 1.2",
)
