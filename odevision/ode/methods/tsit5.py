"""Tsitouras 5(4): order 5 with order 4 embedded, seven stages, FSAL, dense output of order 4.

Published as decimals, so the order conditions hold to about 1e-15. b_dense holds the coefficients
of theta^4 in the paper's interpolant; the rest of it is the cubic Hermite interpolant.
"""

from fractions import Fraction as F

from odevision.ode.tableau import ButcherTableau

_LAST_ROW = (
    F("0.09646076681806523"),
    F("0.01"),
    F("0.4798896504144996"),
    F("1.379008574103742"),
    F("-3.290069515436081"),
    F("2.324710524099774"),
)
_ERROR = (
    F("-0.00178001105222577714"),
    F("-0.0008164344596567469"),
    F("0.007880878010261995"),
    F("-0.1447110071732629"),
    F("0.5823571654525552"),
    F("-0.45808210592918697"),
    F(1, 66),
)

TSIT5 = ButcherTableau(
    name="tsit5",
    order=5,
    embedded_order=4,
    a=(
        (),
        (F("0.161"),),
        (F("-0.008480655492356989"), F("0.335480655492357")),
        (F("2.8971530571054935"), F("-6.359448489975075"), F("4.3622954328695815")),
        (
            F("5.325864828439257"),
            F("-11.748883564062828"),
            F("7.4955393428898365"),
            F("-0.09249506636175525"),
        ),
        (
            F("5.86145544294642"),
            F("-12.92096931784711"),
            F("8.159367898576159"),
            F("-0.071584973281401"),
            F("-0.028269050394068383"),
        ),
        _LAST_ROW,
    ),
    b=(*_LAST_ROW, 0),
    c=(0, F("0.161"), F("0.327"), F("0.9"), F("0.9800255409045097"), 1, 1),
    b_embedded=tuple(b - e for b, e in zip((*_LAST_ROW, 0), _ERROR, strict=True)),
    b_dense=(
        F("-1.0530884977290216"),
        F("0.1017"),
        F("2.490627285651252793"),
        F("-16.54810288924490272"),
        F("47.37952196281928122"),
        F("-34.87065786149660974"),
        F("2.5"),
    ),
    reference=(
        "Tsitouras: Runge-Kutta pairs of order 5(4) satisfying only the first column simplifying "
        "assumption, Comput. Math. Appl. 62 (2011)"
    ),
)
