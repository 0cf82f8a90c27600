"""Implicit midpoint rule: order 2, one stage, A-stable, symplectic; the first Gauss method."""

from fractions import Fraction as F

from odevision.ode.implicit_tableau import ImplicitTableau

IMPLICIT_MIDPOINT = ImplicitTableau(
    name="implicit-midpoint",
    order=2,
    a=((F(1, 2),),),
    b=(1,),
    c=(F(1, 2),),
    reference="Hairer, Lubich, Wanner: Geometric Numerical Integration, section II.1.1",
)
