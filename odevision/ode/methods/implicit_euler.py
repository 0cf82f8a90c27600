"""Implicit Euler: order 1, one stage, L-stable."""

from odevision.ode.implicit_tableau import ImplicitTableau

IMPLICIT_EULER = ImplicitTableau(
    name="implicit-euler",
    order=1,
    a=((1,),),
    b=(1,),
    c=(1,),
    reference="Hairer, Wanner: Solving ODEs II, section IV.3",
)
