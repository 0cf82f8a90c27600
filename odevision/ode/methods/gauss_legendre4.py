"""Gauss-Legendre of order 4: two coupled stages, A-stable, symplectic."""

import math
from fractions import Fraction as F

from odevision.ode.implicit_tableau import ImplicitTableau

_SHIFT = math.sqrt(3) / 6

GAUSS_LEGENDRE4 = ImplicitTableau(
    name="gauss-legendre4",
    order=4,
    a=((F(1, 4), 1 / 4 - _SHIFT), (1 / 4 + _SHIFT, F(1, 4))),
    b=(F(1, 2), F(1, 2)),
    c=(1 / 2 - _SHIFT, 1 / 2 + _SHIFT),
    reference="Hairer, Wanner: Solving ODEs II, section IV.5, table 5.1",
)
