"""Gauss-Legendre of order 6: three coupled stages, A-stable, symplectic."""

import math
from fractions import Fraction as F

from odevision.ode.implicit_tableau import ImplicitTableau

_ROOT = math.sqrt(15)

GAUSS_LEGENDRE6 = ImplicitTableau(
    name="gauss-legendre6",
    order=6,
    a=(
        (F(5, 36), 2 / 9 - _ROOT / 15, 5 / 36 - _ROOT / 30),
        (5 / 36 + _ROOT / 24, F(2, 9), 5 / 36 - _ROOT / 24),
        (5 / 36 + _ROOT / 30, 2 / 9 + _ROOT / 15, F(5, 36)),
    ),
    b=(F(5, 18), F(4, 9), F(5, 18)),
    c=(1 / 2 - _ROOT / 10, F(1, 2), 1 / 2 + _ROOT / 10),
    reference="Hairer, Wanner: Solving ODEs II, section IV.5, table 5.2",
)
