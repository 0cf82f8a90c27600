"""Radau IIA of order 5: three coupled stages, stiffly accurate, L-stable."""

import math
from fractions import Fraction as F

from odevision.ode.implicit_tableau import ImplicitTableau

_ROOT = math.sqrt(6)
_LAST_ROW = ((16 - _ROOT) / 36, (16 + _ROOT) / 36, F(1, 9))

RADAU_IIA5 = ImplicitTableau(
    name="radau-iia5",
    order=5,
    a=(
        ((88 - 7 * _ROOT) / 360, (296 - 169 * _ROOT) / 1800, (-2 + 3 * _ROOT) / 225),
        ((296 + 169 * _ROOT) / 1800, (88 + 7 * _ROOT) / 360, (-2 - 3 * _ROOT) / 225),
        _LAST_ROW,
    ),
    b=_LAST_ROW,
    c=((4 - _ROOT) / 10, (4 + _ROOT) / 10, 1),
    reference="Hairer, Wanner: Solving ODEs II, section IV.5, table 5.6",
)
