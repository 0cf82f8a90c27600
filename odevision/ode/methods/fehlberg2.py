"""Fehlberg's 1(2) pair: order 2 with order 1 embedded, three stages, not FSAL.

Fehlberg carried the first-order solution on, so that the third stage was f(t1, y1). Here, as in
torchdiffeq, the second-order solution is carried on; the third stage is then f at the embedded
solution and no stage may be carried to the next step (torchdiffeq carries it all the same).
"""

from fractions import Fraction as F

from odevision.ode.tableau import ButcherTableau

FEHLBERG2 = ButcherTableau(
    name="fehlberg2",
    order=2,
    embedded_order=1,
    a=((), (F(1, 2),), (F(1, 256), F(255, 256))),
    b=(F(1, 512), F(255, 256), F(1, 512)),
    c=(0, F(1, 2), 1),
    b_embedded=(F(1, 256), F(255, 256), 0),
    reference=(
        "Fehlberg: Low-order classical Runge-Kutta formulas with stepsize control, NASA TR R-315 "
        "(1969), RK1(2)"
    ),
)
