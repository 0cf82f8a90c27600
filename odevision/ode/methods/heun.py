"""Heun's 2(1) pair: order 2 with Euler embedded (order 1), two stages, not FSAL.

Its second stage is f at the Euler point, not at y1, so no stage may be carried to the next step.
`heun2` is the same method without the embedded solution, for fixed steps only.
"""

import dataclasses
from fractions import Fraction as F

from odevision.ode.tableau import ButcherTableau

HEUN = ButcherTableau(
    name="heun",
    order=2,
    embedded_order=1,
    a=((), (1,)),
    b=(F(1, 2), F(1, 2)),
    c=(0, 1),
    b_embedded=(1, 0),
    reference="Hairer, Norsett, Wanner: Solving ODEs I, section II.1; embedded pair: section II.4",
)

HEUN2 = dataclasses.replace(HEUN, name="heun2", embedded_order=None, b_embedded=None)
