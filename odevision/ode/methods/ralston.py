"""Ralston's method: order 2, two stages, no embedded solution, not FSAL.

Of all two-stage methods of order 2 it has the smallest bound on the local error (a_21 = 2/3).
"""

from fractions import Fraction as F

from odevision.ode.tableau import ButcherTableau

RALSTON = ButcherTableau(
    name="ralston",
    order=2,
    a=((), (F(2, 3),)),
    b=(F(1, 4), F(3, 4)),
    c=(0, F(2, 3)),
    reference="Ralston: Runge-Kutta methods with minimum error bounds, Math. Comput. 16 (1962)",
)
