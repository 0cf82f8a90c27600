"""DETEST: the 25 problems on which non-stiff solvers are compared, from 0 to 20, in float64.

Hull, Enright, Fellen, Sedgwick: Comparing numerical methods for ordinary differential equations,
SIAM J. Numer. Anal. 9 (1972). The end states marked as published are those of Enright, Pryce:
Algorithm 648: NSDTST and STDTST, ACM Trans. Math. Softw. 13 (1987), which keeps the problems under
the same names.

A state is one vector y. Fields take times and states with leading dimensions too, the components in
the last one, so that many solutions can be followed at once.
"""

import dataclasses
from collections.abc import Callable, Sequence

import torch
from scipy.optimize import brentq
from scipy.special import ellipj
from torch import Tensor

DOUBLE = torch.float64
T0, T1 = 0.0, 20.0


@dataclasses.dataclass(frozen=True)
class DetestProblem:
    """One of the 25.

    Attributes:
        name: A1 to E5.
        vector_field: f(t, y), components in the last dimension of y.
        y0: state at T0.
        exact: the state at a time t, where a closed form is known.
        published_end: the state at T1 in print, where there is no closed form.
    """

    name: str
    vector_field: Callable[[Tensor, Tensor], Tensor]
    y0: Tensor
    exact: Callable[[float], Tensor] | None = None
    published_end: tuple[float, ...] | None = None


def state(*components: float) -> Tensor:
    return torch.tensor(components, dtype=DOUBLE)


def first_unit_vector(size: int) -> Tensor:
    return torch.eye(size, dtype=DOUBLE)[0]


def linear(name: str, rows: Sequence[Sequence[float]] | Tensor, y0: Tensor) -> DetestProblem:
    """y' = A y."""
    matrix = torch.as_tensor(rows, dtype=DOUBLE)
    return DetestProblem(
        name,
        lambda t, y: y @ matrix.T,
        y0,
        lambda t: torch.linalg.matrix_exp(matrix * t) @ y0,
    )


# Class A: single equations


def a1() -> DetestProblem:
    """Exponential decay."""
    return DetestProblem("A1", lambda t, y: -y, state(1), lambda t: state(-t).exp())


def a2() -> DetestProblem:
    """A special case of the Riccati equation."""
    return DetestProblem("A2", lambda t, y: -0.5 * y**3, state(1), lambda t: state(t + 1).rsqrt())


def a3() -> DetestProblem:
    """An oscillating problem."""

    def f(t: Tensor, y: Tensor) -> Tensor:
        return y * torch.cos(t)[..., None]

    return DetestProblem("A3", f, state(1), lambda t: state(t).sin().exp())


def a4() -> DetestProblem:
    """The logistic curve."""
    return DetestProblem(
        "A4",
        lambda t, y: y / 4 * (1 - y / 20),
        state(1),
        lambda t: 20 / (1 + 19 * torch.exp(-state(t) / 4)),
    )


def a5() -> DetestProblem:
    """A spiral curve: log r + phi stays the same in the polar coordinates of (t, y)."""

    def f(t: Tensor, y: Tensor) -> Tensor:
        t = t[..., None]
        return (y - t) / (y + t)

    def exact(t: float) -> Tensor:
        def rest(y: float) -> float:
            point = state(t, y)
            return float(point.norm().log() + torch.atan2(point[1], point[0])) - constant

        constant = float(state(4).log() + torch.pi / 2)
        return state(brentq(rest, 1e-3 - t, 10.0, xtol=1e-15, rtol=1e-15))

    return DetestProblem("A5", f, state(4), exact)


# Class B: small systems


def b1() -> DetestProblem:
    """The growth of two conflicting populations (Volterra)."""

    def f(t: Tensor, y: Tensor) -> Tensor:
        prey, hunters = y.unbind(-1)
        return torch.stack([2 * (prey - prey * hunters), prey * hunters - hunters], -1)

    return DetestProblem(
        "B1", f, state(1, 3), published_end=(0.6761876008576667, 0.1860816099640036)
    )


def b2() -> DetestProblem:
    """A linear chemical reaction."""
    return linear("B2", [[-1, 1, 0], [1, -2, 1], [0, 1, -1]], state(2, 0, 1))


def b3() -> DetestProblem:
    """A nonlinear chemical reaction."""

    def f(t: Tensor, y: Tensor) -> Tensor:
        y1, y2, _ = y.unbind(-1)
        return torch.stack([-y1, y1 - y2 * y2, y2 * y2], -1)

    return DetestProblem(
        "B3",
        f,
        state(1, 0, 0),
        published_end=(2.061153488557776e-09, 5.257228022048349e-02, 9.474277177183630e-01),
    )


def b4() -> DetestProblem:
    """The integral surface of a torus."""

    def f(t: Tensor, y: Tensor) -> Tensor:
        y1, y2, y3 = y.unbind(-1)
        radius = torch.hypot(y1, y2)
        return torch.stack([-y2 - y1 * y3 / radius, y1 - y2 * y3 / radius, y1 / radius], -1)

    def exact(t: float) -> Tensor:
        cos, sin = state(t).cos(), state(t).sin()
        return torch.cat([(2 + cos) * cos, (2 + cos) * sin, sin])

    return DetestProblem("B4", f, state(3, 0, 0), exact)


def b5() -> DetestProblem:
    """Euler's equations of motion for a rigid body without external forces."""

    def f(t: Tensor, y: Tensor) -> Tensor:
        y1, y2, y3 = y.unbind(-1)
        return torch.stack([y2 * y3, -y1 * y3, -0.51 * y1 * y2], -1)

    return DetestProblem(
        "B5", f, state(0, 1, 1), lambda t: state(*(float(x) for x in ellipj(t, 0.51)[:3]))
    )


# Class C: moderate systems


def decay_chain(name: str, rates: Sequence[float]) -> DetestProblem:
    """Radioactive decay: each element turns into the next at its rate."""
    loss = torch.tensor([*rates, 0], dtype=DOUBLE)
    return linear(name, torch.diag(loss[:-1], -1) - torch.diag(loss), first_unit_vector(len(loss)))


def heat(name: str, size: int) -> DetestProblem:
    """A parabolic partial differential equation, discretized in space."""
    side = torch.ones(size - 1, dtype=DOUBLE)
    matrix = torch.diag(side, -1) + torch.diag(side, 1) - 2 * torch.eye(size, dtype=DOUBLE)
    return linear(name, matrix, first_unit_vector(size))


_GRAVITY, _SUN = 2.95912208286, 1.00000597682
_PLANETS = (
    0.000954786104043,
    0.000285583733151,
    0.0000437273164546,
    0.0000517759138449,
    0.00000277777777778,
)
_POSITIONS = (
    (3.42947415189, 3.35386959711, 1.35494901715),
    (6.64145542550, 5.97156957878, 2.18231499728),
    (11.2630437207, 14.6952576794, 6.27960525067),
    (-30.1552268759, 1.65699966404, 1.43785752721),
    (-21.1238353380, 28.4465098142, 15.3882659679),
)
_VELOCITIES = (
    (-0.557160570446, 0.505696783289, 0.230578543901),
    (-0.415570776342, 0.365682722812, 0.169143213293),
    (-0.325325669158, 0.189706021964, 0.0877265322780),
    (-0.0240476254170, -0.287659532608, -0.117219543175),
    (-0.176860753121, -0.216393453025, -0.0148647893090),
)


def c5() -> DetestProblem:
    """The five outer planets about the sun, in astronomical units and hundreds of days.

    y holds the five positions, then the five velocities. Positions are relative to the sun, so each
    planet also feels, reversed, the pull of the others on the sun.
    """
    masses, one = torch.tensor(_PLANETS, dtype=DOUBLE), torch.eye(5, dtype=DOUBLE)

    def f(t: Tensor, y: Tensor) -> Tensor:
        moving = y.unflatten(-1, (2, 5, 3))
        x, velocity = moving[..., 0, :, :], moving[..., 1, :, :]
        to_sun = x / x.norm(dim=-1, keepdim=True) ** 3
        on_sun = masses @ to_sun
        apart = x[..., None, :, :] - x[..., :, None, :]  # [i, j] leads from planet i to planet j
        distance = (apart.square().sum(-1) + one).sqrt()  # a planet has no pull on itself
        on_planets = (masses / distance**3).unsqueeze(-2) @ apart
        pull = on_planets.squeeze(-2) - _SUN * to_sun - on_sun.unsqueeze(-2)
        return torch.cat([velocity, _GRAVITY * pull], -2).flatten(-2)

    y0 = torch.tensor([_POSITIONS, _VELOCITIES], dtype=DOUBLE).flatten()
    return DetestProblem("C5", f, y0, published_end=_C5_END)


_C5_END = (
    *(-4.792730224323733, -2.420550725448973, -9.212509306014886e-01),
    *(-4.217310404035213, 7.356202947498970, 3.223785985421212),
    *(4.035559443262270, 1.719865528670555e01, 7.478910794233703),
    *(-2.998759326324844e01, -4.107310937550929, -9.277008321754407e-01),
    *(-2.442125302518482e01, 2.381459045746554e01, 1.492096306951359e01),
    *(3.499208963063806e-01, -5.748487687912825e-01, -2.551694020879149e-01),
    *(-5.237040978903326e-01, -2.493000463579661e-01, -8.045341642044464e-02),
    *(-3.875289237334110e-01, 5.648603288767891e-02, 3.023606472143342e-02),
    *(4.133856546712445e-02, -2.862393029841379e-01, -1.183032405136207e-01),
    *(-1.511986457359206e-01, -2.460068894318766e-01, -3.189687411323877e-02),
)


# Class D: orbits


def orbit(name: str, eccentricity: float) -> DetestProblem:
    """Two bodies: a Kepler ellipse of half axis 1 and period 2 pi."""
    e = eccentricity
    minor = (1 - e * e) ** 0.5

    def f(t: Tensor, y: Tensor) -> Tensor:
        y1, y2, y3, y4 = y.unbind(-1)
        cubed = torch.hypot(y1, y2) ** 3
        return torch.stack([y3, y4, -y1 / cubed, -y2 / cubed], -1)

    def exact(t: float) -> Tensor:
        anomaly = state(
            brentq(lambda u: u - e * float(state(u).sin()) - t, t - 1, t + 1, xtol=1e-15)
        )
        cos, sin = anomaly.cos(), anomaly.sin()
        rate = 1 / (1 - e * cos)
        return torch.cat([cos - e, minor * sin, -sin * rate, minor * cos * rate])

    return DetestProblem(name, f, state(1 - e, 0, 0, ((1 + e) / (1 - e)) ** 0.5), exact)


# Class E: equations of higher order


def e1() -> DetestProblem:
    """Bessel's equation of order 1/2, the origin shifted one unit to the left."""

    def f(t: Tensor, y: Tensor) -> Tensor:
        (y1, y2), x = y.unbind(-1), t + 1
        return torch.stack([y2, -(y2 / x + (1 - 0.25 / x**2) * y1)], -1)

    def exact(t: float) -> Tensor:
        x = state(t + 1)
        height = (2 / (torch.pi * x)).sqrt()
        return torch.cat([height * x.sin(), height * (x.cos() - x.sin() / (2 * x))])

    return DetestProblem("E1", f, exact(0.0), exact)


def e2() -> DetestProblem:
    """Van der Pol's equation."""

    def f(t: Tensor, y: Tensor) -> Tensor:
        y1, y2 = y.unbind(-1)
        return torch.stack([y2, (1 - y1 * y1) * y2 - y1], -1)

    return DetestProblem(
        "E2", f, state(2, 0), published_end=(2.008149762174948, -4.250887527320057e-02)
    )


def e3() -> DetestProblem:
    """Duffing's equation."""

    def f(t: Tensor, y: Tensor) -> Tensor:
        y1, y2 = y.unbind(-1)
        return torch.stack([y2, y1**3 / 6 - y1 + 2 * torch.sin(2.78535 * t)], -1)

    return DetestProblem(
        "E3", f, state(0, 0), published_end=(-1.004178858647128e-01, 2.411400132095954e-01)
    )


def e4() -> DetestProblem:
    """A falling body."""

    def f(t: Tensor, y: Tensor) -> Tensor:
        _, y2 = y.unbind(-1)
        return torch.stack([y2, 0.032 - 0.4 * y2 * y2], -1)

    def exact(t: float) -> Tensor:
        x = state(t) * 0.0128**0.5
        return torch.cat([30 + x.cosh().log() / 0.4, 0.08**0.5 * x.tanh()])

    return DetestProblem("E4", f, state(30, 0), exact)


def e5() -> DetestProblem:
    """A linear pursuit."""

    def f(t: Tensor, y: Tensor) -> Tensor:
        _, y2 = y.unbind(-1)
        return torch.stack([y2, (1 + y2 * y2).sqrt() / (25 - t)], -1)

    def exact(t: float) -> Tensor:
        left = state(25 - t)
        way = 12.5 * torch.log(25 / left) - (625 - left**2) / 100
        return torch.cat([way, (25 / left - left / 25) / 2])

    return DetestProblem("E5", f, state(0, 0), exact)


PROBLEMS = (
    *(a1(), a2(), a3(), a4(), a5()),
    *(b1(), b2(), b3(), b4(), b5()),
    decay_chain("C1", [1] * 9),
    decay_chain("C2", range(1, 10)),
    heat("C3", 10),
    heat("C4", 51),
    c5(),
    *(orbit(f"D{i}", e) for i, e in enumerate((0.1, 0.3, 0.5, 0.7, 0.9), start=1)),
    *(e1(), e2(), e3(), e4(), e5()),
)
