"""Kennedy-Carpenter 4(3): order 4 with order 3 embedded, an explicit and five implicit stages.

Stiffly accurate, L-stable, of stage order 2; the implicit half of ARK4(3)6L[2]SA.
"""

from fractions import Fraction as F

from odevision.ode.implicit_tableau import ImplicitTableau

_DIAGONAL = F(1, 4)
_LAST_ROW = (
    F(82889, 524892),
    0,
    F(15625, 83664),
    F(69875, 102672),
    F(-2260, 8211),
    _DIAGONAL,
)

KENCARP4 = ImplicitTableau(
    name="kencarp4",
    order=4,
    embedded_order=3,
    a=(
        (0, 0, 0, 0, 0, 0),
        (F(1, 4), _DIAGONAL, 0, 0, 0, 0),
        (F(8611, 62500), F(-1743, 31250), _DIAGONAL, 0, 0, 0),
        (F(5012029, 34652500), F(-654441, 2922500), F(174375, 388108), _DIAGONAL, 0, 0),
        (
            F(15267082809, 155376265600),
            F(-71443401, 120774400),
            F(730878875, 902184768),
            F(2285395, 8070912),
            _DIAGONAL,
            0,
        ),
        _LAST_ROW,
    ),
    b=_LAST_ROW,
    c=(0, F(1, 2), F(83, 250), F(31, 50), F(17, 20), 1),
    b_embedded=(
        F(4586570599, 29645900160),
        0,
        F(178811875, 945068544),
        F(814220225, 1159782912),
        F(-3700637, 11593932),
        F(61727, 225920),
    ),
    reference=(
        "Kennedy, Carpenter: Additive Runge-Kutta schemes for convection-diffusion-reaction "
        "equations, Appl. Numer. Math. 44 (2003)"
    ),
)
