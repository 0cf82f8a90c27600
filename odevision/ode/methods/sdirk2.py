"""SDIRK2: order 2, two stages with 1 - 1/sqrt(2) on the diagonal, stiffly accurate, L-stable."""

import math

from odevision.ode.implicit_tableau import ImplicitTableau

_DIAGONAL = 1 - math.sqrt(0.5)

SDIRK2 = ImplicitTableau(
    name="sdirk2",
    order=2,
    a=((_DIAGONAL, 0), (math.sqrt(0.5), _DIAGONAL)),
    b=(math.sqrt(0.5), _DIAGONAL),
    c=(_DIAGONAL, 1),
    reference=(
        "Alexander: Diagonally implicit Runge-Kutta methods for stiff ODEs, SIAM J. Numer. Anal. "
        "14 (1977)"
    ),
)
