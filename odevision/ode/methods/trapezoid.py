"""Trapezoidal rule (Crank-Nicolson): order 2, A-stable, two stages of which the first is explicit.

Stiff parts are not damped: R(-inf) = -1, so they flip their sign at every step.
"""

from fractions import Fraction as F

from odevision.ode.implicit_tableau import ImplicitTableau

TRAPEZOID = ImplicitTableau(
    name="trapezoid",
    order=2,
    a=((0, 0), (F(1, 2), F(1, 2))),
    b=(F(1, 2), F(1, 2)),
    c=(0, 1),
    reference="Hairer, Wanner: Solving ODEs II, section IV.3",
)
