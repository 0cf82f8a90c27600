"""Kutta's 3/8 rule: order 4, four stages, no embedded solution, not FSAL.

Its error constants are mostly below those of the classic `rk4`. torchdiffeq's `rk4` is this one.
"""

from fractions import Fraction as F

from odevision.ode.tableau import ButcherTableau

RK4_38 = ButcherTableau(
    name="rk4-38",
    order=4,
    a=((), (F(1, 3),), (F(-1, 3), 1), (1, -1, 1)),
    b=(F(1, 8), F(3, 8), F(3, 8), F(1, 8)),
    c=(0, F(1, 3), F(2, 3), 1),
    reference="Kutta 1901; Hairer, Norsett, Wanner: Solving ODEs I, section II.1, table 1.2",
)
