"""Gradients through odeint: exact, to everything, and differentiable again."""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from problems import DOUBLE, error
from torch import Tensor, nn

from odevision.compat import torchdiffeq as drop_in
from odevision.compat.torchdiffeq.methods import EXPLICIT


class Cubic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[-0.3, 1.0], [-1.0, -0.3]], dtype=DOUBLE))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return (y**3) @ self.matrix * torch.cos(t)


def start() -> Tensor:
    return torch.tensor([[1.0, 0.4]], dtype=DOUBLE, requires_grad=True)


def times(reverse: bool = False) -> Tensor:
    t = torch.tensor([0.1, 0.5, 0.8, 1.6], dtype=DOUBLE)
    return (t.flip(0) if reverse else t).requires_grad_()


def gradients(solve: Callable[[nn.Module, Tensor, Tensor], Tensor], reverse: bool = False) -> Any:
    """Of a weighted sum of all outputs, by y0, the parameters and t."""
    field, y0, t = Cubic(), start(), times(reverse)
    ys = solve(field, y0, t)
    weights = torch.linspace(-1, 2, ys.numel(), dtype=DOUBLE).reshape(ys.shape)
    return torch.autograd.grad((weights * ys).sum(), (y0, field.matrix, t))


def accurate(reverse: bool = False) -> Any:
    return gradients(
        lambda f, y0, t: drop_in.odeint(f, y0, t, rtol=1e-11, atol=1e-12, method="dopri8"), reverse
    )


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("method", EXPLICIT)
def test_gradients_of_fixed_steps_are_torchdiffeqs_to_rounding(
    torchdiffeq: ModuleType, method: str, reverse: bool
) -> None:
    solve = lambda library: gradients(
        lambda f, y0, t: library.odeint(f, y0, t, method=method), reverse
    )
    for ours, theirs in zip(solve(drop_in), solve(torchdiffeq), strict=True):
        assert error(ours, theirs) < 1e-10


@pytest.mark.parametrize(
    "options", [{}, {"step_size": 0.32}, {"step_size": 0.32, "interp": "cubic"}]
)
@pytest.mark.parametrize("method", ["euler", "rk4"])
def test_gradients_of_fixed_steps_pass_gradcheck(method: str, options: dict) -> None:
    field = Cubic()
    solve = lambda y0, t: drop_in.odeint(field, y0, t, method=method, options=options)
    assert torch.autograd.gradcheck(solve, (start(), times()))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("method", ["dopri5", "dopri8", "bosh3", "tsit5"])
def test_gradients_of_adaptive_steps_converge(method: str, reverse: bool) -> None:
    tolerance = 1e-9 if method != "bosh3" else 1e-7
    solve = lambda f, y0, t: drop_in.odeint(
        f, y0, t, rtol=tolerance, atol=tolerance / 10, method=method
    )
    for got, expected in zip(gradients(solve, reverse), accurate(reverse), strict=True):
        assert error(got, expected) < 2e-6 if method != "bosh3" else 2e-5


@pytest.mark.parametrize("method", ["explicit_adams", "implicit_adams"])
def test_gradients_of_adams_methods_converge(method: str) -> None:
    options = {"step_size": 0.01, "max_order": 6}
    solve = lambda f, y0, t: drop_in.odeint(f, y0, t, method=method, options=options)
    for got, expected in zip(gradients(solve), accurate(), strict=True):
        assert error(got, expected) < 1e-5


@pytest.mark.parametrize("method", ["radauIIA5", "gl4", "trbdf2"])
def test_gradients_of_implicit_methods_converge(method: str) -> None:
    options = {"step_size": 0.02}
    solve = lambda f, y0, t: drop_in.odeint(f, y0, t, method=method, options=options)
    for got, expected in zip(gradients(solve), accurate(), strict=True):
        assert error(got, expected) < 1e-3


def test_times_on_the_ends_of_steps_have_the_gradient_of_the_flow() -> None:
    solve = lambda f, y0, t: drop_in.odeint(f, y0, t, method="rk4", options={"step_size": 0.02})
    got = gradients(lambda f, y0, t: solve(f, y0, t))[2]
    assert error(got, accurate()[2]) < 1e-5


def test_gradients_reach_what_a_function_closes_over(library: ModuleType) -> None:
    rate = torch.tensor(0.7, dtype=DOUBLE, requires_grad=True)
    t = torch.tensor([0.0, 2.0], dtype=DOUBLE)
    y1 = library.odeint(lambda t, y: -rate * y, torch.ones((), dtype=DOUBLE), t)[-1]
    y1.backward()
    assert float(rate.grad) == pytest.approx(-2 * torch.e**-1.4, rel=1e-5)


def test_gradients_reach_all_tensors_of_a_tuple(library: ModuleType) -> None:
    y0 = tuple(torch.tensor(x, dtype=DOUBLE, requires_grad=True) for x in (1.0, 2.0))
    t = torch.tensor([0.0, 1.0], dtype=DOUBLE)
    ys = library.odeint(lambda t, y: (y[1], -y[0]), y0, t)
    ys[0][-1].backward()
    assert float(y0[0].grad) == pytest.approx(math.cos(1.0))
    assert float(y0[1].grad) == pytest.approx(math.sin(1.0))


@pytest.mark.parametrize("method", ["dopri5", "rk4"])
def test_second_derivatives_flow_through_odeint(library: ModuleType, method: str) -> None:
    options = {"step_size": 0.01} if method == "rk4" else {}
    y0 = torch.tensor(0.3, dtype=DOUBLE, requires_grad=True)
    t = torch.tensor([0.0, 1.0], dtype=DOUBLE)
    y1 = library.odeint(lambda t, y: y * (1 - y), y0, t, method=method, options=options)[-1]
    (first,) = torch.autograd.grad(y1, y0, create_graph=True)
    (second,) = torch.autograd.grad(first, y0)
    grown = math.e
    # y1 = y0 grown / (1 + y0 (grown - 1)) and its derivatives
    divisor = 1 + 0.3 * (grown - 1)
    assert first.item() == pytest.approx(grown / divisor**2, rel=1e-6)
    assert second.item() == pytest.approx(-2 * grown * (grown - 1) / divisor**3, rel=1e-5)


def test_a_field_that_takes_gradients_itself_is_differentiated(library: ModuleType) -> None:
    # Fields of normalizing flows switch requires_grad on in what they are given.
    scale = torch.tensor(0.5, dtype=DOUBLE, requires_grad=True)

    def field(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            z = state[0].requires_grad_(True)
            slope = torch.tanh(scale * z)
            (trace,) = torch.autograd.grad(slope.sum(), z, create_graph=True)
        return slope, -trace

    t = torch.tensor([0.0, 1.0], dtype=DOUBLE)
    y0 = (torch.tensor([0.3, -1.0], dtype=DOUBLE), torch.zeros(2, dtype=DOUBLE))
    z, density = library.odeint(field, y0, t, rtol=1e-8, atol=1e-8)
    (z[-1].sum() + density[-1].sum()).backward()
    step = 1e-5
    values = []
    for sign in (1, -1):
        with torch.no_grad():
            scale += sign * step
            z, density = drop_in.odeint(field, y0, t, rtol=1e-10, atol=1e-10)
            scale -= sign * step
        values.append(float(z[-1].sum() + density[-1].sum()))
    assert float(scale.grad) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)


def test_no_graph_is_kept_under_no_grad(library: ModuleType) -> None:
    with torch.no_grad():
        ys = library.odeint(Cubic(), start(), times())
    assert not ys.requires_grad
