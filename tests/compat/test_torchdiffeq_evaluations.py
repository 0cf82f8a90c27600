"""The drop-in evaluates the field no more often than torchdiffeq does."""

from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from problems import DOUBLE
from torch import Tensor

from odevision.compat import torchdiffeq as drop_in

MATRIX = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]], dtype=DOUBLE)


def spiral(t: Tensor, y: Tensor) -> Tensor:
    return (y**3) @ MATRIX


def predators(t: Tensor, y: Tensor) -> Tensor:
    prey, hunters = y.unbind()
    return torch.stack([1.5 * prey - prey * hunters, prey * hunters - 3 * hunters])


def van_der_pol(t: Tensor, y: Tensor) -> Tensor:
    return torch.stack([y[1], 5 * (1 - y[0] ** 2) * y[1] - y[0]])


def swinging(t: Tensor, y: Tensor) -> Tensor:
    return -y * torch.cos(t)


def logistic(t: Tensor, y: Tensor) -> Tensor:
    return y * (1 - y)


PROBLEMS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], list[float], float]] = {
    "spiral": (spiral, [2.0, 0.0], 20.0),
    "predators": (predators, [1.0, 1.0], 10.0),
    "van der Pol": (van_der_pol, [2.0, 0.0], 15.0),
    "swinging": (swinging, [1.0, 2.0], 10.0),
    "logistic": (logistic, [0.01, 0.1], 15.0),
}


def evaluations(library: ModuleType, problem: str, method: str, rtol: float, backward: bool) -> int:
    f, start, end = PROBLEMS[problem]
    calls = 0

    def field(t: Tensor, y: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return f(t, y)

    y0 = torch.tensor(start, dtype=DOUBLE, requires_grad=backward)
    t = torch.linspace(0, end, 3, dtype=DOUBLE)
    settings = {"rtol": rtol, "atol": rtol / 100, "method": method}
    if not backward:
        library.odeint(field, y0, t, **settings)
        return calls
    ys = library.odeint_adjoint(field, y0, t, adjoint_params=(), **settings)
    calls = 0
    ys.sum().backward()
    return calls


@pytest.mark.parametrize(
    ("method", "rtol"),
    [
        ("dopri5", 1e-3),
        ("dopri5", 1e-5),
        ("dopri5", 1e-7),
        ("dopri8", 1e-5),
        ("dopri8", 1e-8),
        ("bosh3", 1e-3),
        ("bosh3", 1e-4),
    ],
)
def test_adaptive_steps_cost_at_most_a_tenth_more(
    torchdiffeq: ModuleType, method: str, rtol: float
) -> None:
    count = lambda library: sum(
        evaluations(library, problem, method, rtol, backward=False) for problem in PROBLEMS
    )
    assert count(drop_in) <= 1.1 * count(torchdiffeq)


def test_the_backward_solve_costs_at_most_a_tenth_more(torchdiffeq: ModuleType) -> None:
    problems = ("predators", "swinging", "logistic")
    count = lambda library: sum(
        evaluations(library, problem, "dopri5", 1e-5, backward=True) for problem in problems
    )
    assert count(drop_in) <= 1.1 * count(torchdiffeq)


@pytest.mark.parametrize("method", ["euler", "midpoint", "heun2", "heun3", "rk4", "explicit_adams"])
def test_fixed_steps_cost_the_same(torchdiffeq: ModuleType, method: str) -> None:
    def count(library: ModuleType) -> int:
        calls: list[Tensor] = []

        def field(t: Tensor, y: Tensor) -> Tensor:
            calls.append(t)
            return -y

        options = {"step_size": 0.1}
        t = torch.linspace(0, 2, 5, dtype=DOUBLE)
        library.odeint(field, torch.ones(2, dtype=DOUBLE), t, method=method, options=options)
        return len(calls)

    assert count(drop_in) == count(torchdiffeq)


def test_implicit_adams_costs_at_most_a_tenth_more(torchdiffeq: ModuleType) -> None:
    def count(library: ModuleType) -> int:
        calls: list[Tensor] = []

        def field(t: Tensor, y: Tensor) -> Tensor:
            calls.append(t)
            return swinging(t, y)

        y0, t = torch.ones(2, dtype=DOUBLE), torch.linspace(0, 4, 81, dtype=DOUBLE)
        library.odeint(field, y0, t, method="implicit_adams", rtol=1e-6, atol=1e-8)
        return len(calls)

    assert count(drop_in) <= 1.1 * count(torchdiffeq)


def test_adaptive_heun_evaluates_the_slope_that_torchdiffeq_reuses_wrongly(
    torchdiffeq: ModuleType,
) -> None:
    # torchdiffeq takes f at the Euler point for f(t1, y1): one evaluation a step instead of two.
    ours = evaluations(drop_in, "swinging", "adaptive_heun", 1e-4, backward=False)
    theirs = evaluations(torchdiffeq, "swinging", "adaptive_heun", 1e-4, backward=False)
    assert 1.7 * theirs < ours < 2.2 * theirs


def test_the_field_is_never_evaluated_beyond_the_last_time() -> None:
    seen: list[float] = []

    def field(t: Tensor, y: Tensor) -> Tensor:
        seen.append(float(t))
        return -y

    drop_in.odeint(field, torch.ones(1, dtype=DOUBLE), torch.linspace(0, 1, 4, dtype=DOUBLE))
    assert 0 <= min(seen) and max(seen) <= 1
