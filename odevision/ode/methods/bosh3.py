"""Bogacki-Shampine 3(2): order 3 with order 2 embedded, four stages, FSAL."""

from fractions import Fraction as F

from odevision.ode.tableau import ButcherTableau

BOSH3 = ButcherTableau(
    name="bosh3",
    order=3,
    embedded_order=2,
    a=((), (F(1, 2),), (0, F(3, 4)), (F(2, 9), F(1, 3), F(4, 9))),
    b=(F(2, 9), F(1, 3), F(4, 9), 0),
    c=(0, F(1, 2), F(3, 4), 1),
    b_embedded=(F(7, 24), F(1, 4), F(1, 3), F(1, 8)),
    reference="Bogacki, Shampine: A 3(2) pair of Runge-Kutta formulas, Appl. Math. Lett. 2 (1989)",
)
