"""Heun's third-order method: order 3, three stages, no embedded solution, not FSAL."""

from fractions import Fraction as F

from odevision.ode.tableau import ButcherTableau

HEUN3 = ButcherTableau(
    name="heun3",
    order=3,
    a=((), (F(1, 3),), (0, F(2, 3))),
    b=(F(1, 4), 0, F(3, 4)),
    c=(0, F(1, 3), F(2, 3)),
    reference="Heun 1900; Hairer, Norsett, Wanner: Solving ODEs I, section II.1, table 1.1",
)
