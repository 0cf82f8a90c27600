"""Euler's method: order 1, one stage, no embedded solution, not FSAL."""

from odevision.ode.tableau import ButcherTableau

EULER = ButcherTableau(
    name="euler",
    order=1,
    a=((),),
    b=(1,),
    c=(0,),
    reference="Hairer, Norsett, Wanner: Solving Ordinary Differential Equations I, section I.7",
)
