"""Dormand-Prince 5(4): order 5, embedded order 4, seven stages, FSAL, dense output of order 4."""

from fractions import Fraction as F

from odevision.ode.tableau import ButcherTableau

DOPRI5 = ButcherTableau(
    name="dopri5",
    order=5,
    embedded_order=4,
    a=(
        (),
        (F(1, 5),),
        (F(3, 40), F(9, 40)),
        (F(44, 45), F(-56, 15), F(32, 9)),
        (F(19372, 6561), F(-25360, 2187), F(64448, 6561), F(-212, 729)),
        (F(9017, 3168), F(-355, 33), F(46732, 5247), F(49, 176), F(-5103, 18656)),
        (F(35, 384), 0, F(500, 1113), F(125, 192), F(-2187, 6784), F(11, 84)),
    ),
    b=(F(35, 384), 0, F(500, 1113), F(125, 192), F(-2187, 6784), F(11, 84), 0),
    c=(0, F(1, 5), F(3, 10), F(4, 5), F(8, 9), 1, 1),
    b_embedded=(
        F(5179, 57600),
        0,
        F(7571, 16695),
        F(393, 640),
        F(-92097, 339200),
        F(187, 2100),
        F(1, 40),
    ),
    b_dense=(
        F(-12715105075, 11282082432),
        0,
        F(87487479700, 32700410799),
        F(-10690763975, 1880347072),
        F(701980252875, 199316789632),
        F(-1453857185, 822651844),
        F(69997945, 29380423),
    ),
    reference=(
        "Dormand, Prince: A family of embedded Runge-Kutta formulae, J. Comput. Appl. Math. 6 "
        "(1980); dense output: Hairer, Norsett, Wanner: Solving ODEs I, section II.6"
    ),
)
