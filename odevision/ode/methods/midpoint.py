"""The explicit midpoint rule: order 2, two stages, no embedded solution, not FSAL."""

from fractions import Fraction as F

from odevision.ode.tableau import ButcherTableau

MIDPOINT = ButcherTableau(
    name="midpoint",
    order=2,
    a=((), (F(1, 2),)),
    b=(0, 1),
    c=(0, F(1, 2)),
    reference="Runge 1895; Hairer, Norsett, Wanner: Solving ODEs I, section II.1, (1.4)",
)
