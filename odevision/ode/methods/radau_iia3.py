"""Radau IIA of order 3: two coupled stages, stiffly accurate, L-stable."""

from fractions import Fraction as F

from odevision.ode.implicit_tableau import ImplicitTableau

RADAU_IIA3 = ImplicitTableau(
    name="radau-iia3",
    order=3,
    a=((F(5, 12), F(-1, 12)), (F(3, 4), F(1, 4))),
    b=(F(3, 4), F(1, 4)),
    c=(F(1, 3), 1),
    reference="Hairer, Wanner: Solving ODEs II, section IV.5, table 5.5",
)
