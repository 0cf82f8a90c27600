"""TR-BDF2: order 2 with order 3 embedded, an explicit and two implicit stages, L-stable.

A trapezoidal step to 2 - sqrt(2), then the second backward difference formula. The embedded
solution is not A-stable, so its error estimate needs the filter.
"""

import math

from odevision.ode.implicit_tableau import ImplicitTableau

_ROOT = math.sqrt(2)
_DIAGONAL = 1 - _ROOT / 2
_OUTER = _ROOT / 4

TRBDF2 = ImplicitTableau(
    name="trbdf2",
    order=2,
    embedded_order=3,
    a=((0, 0, 0), (_DIAGONAL, _DIAGONAL, 0), (_OUTER, _OUTER, _DIAGONAL)),
    b=(_OUTER, _OUTER, _DIAGONAL),
    c=(0, 2 - _ROOT, 1),
    b_embedded=((4 - _ROOT) / 12, (4 + 3 * _ROOT) / 12, (2 - _ROOT) / 6),
    filters_error=True,
    reference=(
        "Hosea, Shampine: Analysis and implementation of TR-BDF2, Appl. Numer. Math. 20 (1996)"
    ),
)
