"""odeint_adjoint: the continuous adjoint, its norms and its limits."""

from types import ModuleType
from typing import Any

import pytest
import torch
from problems import DOUBLE, error
from torch import Tensor, nn

from odevision.compat import torchdiffeq as drop_in


class Cubic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[-0.3, 1.0], [-1.0, -0.3]], dtype=DOUBLE))
        self.unused = nn.Parameter(torch.ones(3, dtype=DOUBLE))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return (y**3) @ self.matrix * torch.cos(t)


class Pair(nn.Module):
    """A tuple state of two shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(0.8, dtype=DOUBLE))

    def forward(self, t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return self.rate * state[1].sum() * torch.cos(t), -self.rate * state[1]


def start() -> Tensor:
    return torch.tensor([[1.0, 0.4]], dtype=DOUBLE, requires_grad=True)


def pair() -> tuple[Tensor, Tensor]:
    return torch.tensor(1.0, dtype=DOUBLE), torch.tensor([[0.5, 0.2], [0.1, -0.3]], dtype=DOUBLE)


def times(reverse: bool = False) -> Tensor:
    t = torch.tensor([0.1, 0.5, 0.8, 1.6], dtype=DOUBLE)
    return (t.flip(0) if reverse else t).requires_grad_()


def weighted(ys: Tensor) -> Tensor:
    return (torch.linspace(-1, 2, ys.numel(), dtype=DOUBLE).reshape(ys.shape) * ys).sum()


def gradients(solve: Any, *, reverse: bool = False, **settings: Any) -> list[Tensor]:
    field, y0, t = Cubic(), start(), times(reverse)
    weighted(solve(field, y0, t, **settings)).backward()
    return [y0.grad, field.matrix.grad, t.grad]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("method", ["dopri5", "bosh3"])
def test_the_adjoint_converges_to_the_exact_gradient(
    library: ModuleType, method: str, reverse: bool
) -> None:
    rtol = 1e-8 if method == "dopri5" else 1e-6
    got = gradients(
        library.odeint_adjoint, reverse=reverse, rtol=rtol, atol=rtol / 10, method=method
    )
    expected = gradients(drop_in.odeint, reverse=reverse, rtol=1e-11, atol=1e-12)
    for one, other in zip(got, expected, strict=True):
        assert error(one, other) < (1e-6 if method == "dopri5" else 1e-3)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("method", ["euler", "midpoint", "rk4"])
def test_the_adjoint_of_fixed_steps_is_torchdiffeqs_to_rounding(
    torchdiffeq: ModuleType, method: str, reverse: bool
) -> None:
    settings = {"reverse": reverse, "method": method, "options": {"step_size": 0.05}}
    ours = gradients(drop_in.odeint_adjoint, **settings)
    for one, other in zip(ours, gradients(torchdiffeq.odeint_adjoint, **settings), strict=True):
        assert error(one, other) < 1e-11


def test_parameters_that_the_field_ignores_get_zeros(library: ModuleType) -> None:
    field = Cubic()
    library.odeint_adjoint(field, start(), times(), rtol=1e-4).sum().backward()
    assert torch.equal(field.unused.grad, torch.zeros(3, dtype=DOUBLE))


def test_adjoint_params_receive_gradients_of_a_plain_function(library: ModuleType) -> None:
    rate = torch.tensor(0.7, dtype=DOUBLE, requires_grad=True)
    t = torch.tensor([0.0, 2.0], dtype=DOUBLE)
    y1 = library.odeint_adjoint(
        lambda t, y: -rate * y, torch.ones((), dtype=DOUBLE), t, adjoint_params=(rate,)
    )[-1]
    y1.backward()
    assert float(rate.grad) == pytest.approx(-2 * torch.e**-1.4, rel=1e-5)


def test_adjoint_params_may_be_computed_tensors(library: ModuleType) -> None:
    root = torch.tensor(0.5, dtype=DOUBLE, requires_grad=True)
    rate = root**2
    t = torch.tensor([0.0, 2.0], dtype=DOUBLE)
    y1 = library.odeint_adjoint(
        lambda t, y: -rate * y, torch.ones((), dtype=DOUBLE), t, adjoint_params=(rate,)
    )[-1]
    y1.backward()
    assert float(root.grad) == pytest.approx(-2 * torch.e**-0.5, rel=1e-5)


def test_a_plain_function_needs_adjoint_params(library: ModuleType) -> None:
    with pytest.raises(ValueError, match="adjoint_params"):
        library.odeint_adjoint(lambda t, y: -y, start(), times())


def test_no_parameters_at_all_are_allowed(library: ModuleType) -> None:
    y0 = start()
    library.odeint_adjoint(
        lambda t, y: -y, y0, times().detach(), adjoint_params=()
    ).sum().backward()
    assert y0.grad is not None


@pytest.mark.parametrize("method", ["dopri5", "rk4"])
def test_the_backward_solve_has_settings_of_its_own(library: ModuleType, method: str) -> None:
    settings = {
        "adjoint_rtol": 1e-9,
        "adjoint_atol": 1e-10,
        "adjoint_method": method,
        "adjoint_options": {"step_size": 0.02} if method == "rk4" else {"first_step": 0.01},
    }
    got = gradients(library.odeint_adjoint, rtol=1e-9, atol=1e-10, method="dopri8", **settings)
    expected = gradients(drop_in.odeint, rtol=1e-11, atol=1e-12)
    for one, other in zip(got, expected, strict=True):
        assert error(one, other) < 1e-5


def test_another_adjoint_method_needs_its_own_options(library: ModuleType) -> None:
    with pytest.raises(ValueError, match="adjoint_options"):
        library.odeint_adjoint(
            Cubic(),
            start(),
            times(),
            method="rk4",
            options={"step_size": 0.1},
            adjoint_method="dopri5",
        )


def test_seminorm_takes_fewer_backward_evaluations_for_the_same_gradient() -> None:
    class Wide(nn.Module):
        """Many parameters, whose part of the adjoint varies faster than y and lam."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 2), nn.Tanh())

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return self.net(y) * torch.sin(20 * t)

    field = Wide().to(DOUBLE)
    counts, found = [], []
    for options in ({}, {"norm": "seminorm"}):
        field.zero_grad()
        ys = drop_in.odeint_adjoint(
            field, start(), times().detach(), rtol=1e-6, atol=1e-8, adjoint_options=options
        )
        ys.sum().backward()
        counts.append(drop_in.last_stats().nfe_backward)
        found.append(field.net[0].weight.grad.clone())
    assert counts[1] < 0.9 * counts[0]
    assert error(found[0], found[1]) < 1e-4


@pytest.mark.parametrize("given", [None, "seminorm"])
def test_the_default_adjoint_norm_is_the_largest_part(
    library: ModuleType, given: str | None
) -> None:
    field = Cubic()
    options = {} if given is None else {"norm": given}
    ys = library.odeint_adjoint(field, start(), times(), rtol=1e-3, adjoint_options=options)
    norm = ys.grad_fn.adjoint_options["norm"]
    parts = (torch.tensor(-1.0), torch.full((1, 2), 2.0), torch.full((1, 2), 3.0))
    params = (torch.full((2, 2), 7.0), torch.zeros(3))
    assert float(norm((*parts, *params))) == (3.0 if given else 7.0)
    assert float(norm((torch.tensor(-4.0), *parts[1:], *params))) == (4.0 if given else 7.0)


def test_the_forward_solves_norm_judges_the_state_in_the_adjoint_norm(library: ModuleType) -> None:
    ys = library.odeint_adjoint(
        Cubic(), start(), times(), options={"norm": lambda y: 10 * y.abs().max()}
    )
    norm = ys.grad_fn.adjoint_options["norm"]
    zero = torch.zeros(1, 2)
    parts = (torch.tensor(0.0), zero + 2.0, zero, torch.full((2, 2), 7.0), torch.zeros(3))
    assert float(norm(parts)) == 20.0


def test_an_adjoint_norm_receives_the_augmented_state(library: ModuleType) -> None:
    seen = set()

    def norm(parts: tuple[Tensor, ...]) -> Tensor:
        seen.add(tuple(part.shape for part in parts))
        return torch.stack([part.abs().max() for part in parts]).max()

    ys = library.odeint_adjoint(
        Cubic(), start(), times(), rtol=1e-4, atol=1e-4, adjoint_options={"norm": norm}
    )
    ys.sum().backward()
    assert seen == {((), (1, 2), (1, 2), (2, 2), (3,))}


def test_an_adjoint_norm_of_a_tuple_state_receives_its_tensors(library: ModuleType) -> None:
    seen = set()

    def norm(parts: tuple[Tensor, ...]) -> Tensor:
        seen.add(tuple(part.shape for part in parts))
        return torch.stack([part.abs().max() for part in parts]).max()

    ys = library.odeint_adjoint(
        Pair(), pair(), times(), rtol=1e-4, atol=1e-4, adjoint_options={"norm": norm}
    )
    ys[0].sum().backward()
    assert seen == {((), (), (2, 2), (), (2, 2), ())}


def test_the_adjoint_norm_may_be_exchanged_after_the_forward_pass(library: ModuleType) -> None:
    ys = library.odeint_adjoint(Cubic(), start(), times(), rtol=1e-4, atol=1e-4)
    original, calls = ys.grad_fn.adjoint_options["norm"], []

    def spy(parts: tuple[Tensor, ...]) -> Tensor:
        calls.append(parts)
        return original(parts)

    ys.grad_fn.adjoint_options["norm"] = spy
    ys.sum().backward()
    assert len(calls) > 3
    assert [part.shape for part in calls[0]] == [(), (1, 2), (1, 2), (2, 2), (3,)]


def test_the_norm_of_a_tuple_state_is_found_two_steps_up_its_graph(library: ModuleType) -> None:
    ys = library.odeint_adjoint(Pair(), pair(), times(), rtol=1e-4, atol=1e-4)
    node = ys[0].grad_fn.next_functions[0][0].next_functions[0][0]
    original, calls = node.adjoint_options["norm"], []

    def spy(parts: tuple[Tensor, ...]) -> Tensor:
        calls.append([part.shape for part in parts])
        return original(parts)

    node.adjoint_options["norm"] = spy
    ys[0].sum().backward()
    assert calls[0] == [(), (5,), (5,), ()]


def test_a_norm_is_told_of_parameters_that_it_will_not_see(library: ModuleType) -> None:
    field = Cubic()
    field.unused.requires_grad_(False)
    norm = lambda parts: parts[1].abs().max()
    with pytest.warns(UserWarning, match="requir"):
        library.odeint_adjoint(field, start(), times(), adjoint_options={"norm": norm})


@pytest.mark.parametrize("reverse", [False, True])
def test_tuple_states_have_the_gradients_of_odeint(library: ModuleType, reverse: bool) -> None:
    found = []
    for solve in (library.odeint_adjoint, drop_in.odeint):
        field, t = Pair(), times(reverse)
        y0 = tuple(y.clone().requires_grad_() for y in pair())
        ys = solve(field, y0, t, rtol=1e-9, atol=1e-10)
        (weighted(ys[0]) + weighted(ys[1])).backward()
        found.append([*(y.grad for y in y0), field.rate.grad, t.grad])
    for one, other in zip(*found, strict=True):
        assert error(one, other) < 1e-6


def test_complex_states_with_real_parameters_get_real_gradients() -> None:
    rate = torch.tensor(0.7, dtype=DOUBLE, requires_grad=True)
    y0 = torch.tensor([1.0 + 0.5j], dtype=torch.complex128, requires_grad=True)
    t = torch.tensor([0.0, 1.2], dtype=DOUBLE, requires_grad=True)
    field = lambda t, y: (1j * rate - 0.1 * t) * y
    found = []
    for solve in (drop_in.odeint, drop_in.odeint_adjoint):
        more = {"adjoint_params": (rate,)} if solve is drop_in.odeint_adjoint else {}
        y1 = solve(field, y0, t, rtol=1e-9, atol=1e-10, **more)[-1]
        loss = (y1.real * 2 - y1.imag).sum()
        found.append(torch.autograd.grad(loss, (y0, rate, t)))
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype and error(one, other) < 1e-7


def test_single_precision_states_keep_theirs(library: ModuleType) -> None:
    field = Cubic().float()
    y0 = start().detach().float().requires_grad_()
    ys = library.odeint_adjoint(field, y0, times(), rtol=1e-4, atol=1e-4)
    ys.sum().backward()
    assert ys.dtype == y0.grad.dtype == field.matrix.grad.dtype == torch.float32


def test_tolerances_for_each_tensor_of_the_state_serve_the_adjoint_too() -> None:
    field = Pair()
    ys = drop_in.odeint_adjoint(field, pair(), times(), rtol=[1e-6, 1e-8], atol=[1e-7, 1e-8])
    weighted(ys[1]).backward()
    assert torch.isfinite(field.rate.grad)


def test_a_tolerance_for_each_part_of_the_augmented_state(library: ModuleType) -> None:
    field = Pair()
    parts = [1e-6, 1e-6, 1e-6, 1e-6]  # t, y, lam and the one parameter
    ys = library.odeint_adjoint(field, pair(), times(), adjoint_rtol=parts, adjoint_atol=parts)
    weighted(ys[1]).backward()
    assert torch.isfinite(field.rate.grad)


def test_no_graph_of_the_steps_is_kept() -> None:
    alive = []

    class Field(nn.Module):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            alive.append(torch.is_grad_enabled())
            return -y

    drop_in.odeint_adjoint(Field(), start(), times())
    assert not any(alive)


@pytest.mark.parametrize("by", ["y0", "parameters", "times"])
def test_a_second_derivative_is_refused_and_not_lost(by: str) -> None:
    field, y0, t = Cubic(), start(), times()
    ys = drop_in.odeint_adjoint(field, y0, t)
    (first,) = torch.autograd.grad(ys.sum(), y0, create_graph=True)
    target = {"y0": y0, "parameters": field.matrix, "times": t}[by]
    with pytest.raises(ValueError, match="odeint_adjoint"):
        torch.autograd.grad(first.sum() + (target**2).sum(), target)


def test_create_graph_without_a_second_derivative_is_allowed(library: ModuleType) -> None:
    y0 = start()
    ys = library.odeint_adjoint(Cubic(), y0, times())
    (first,) = torch.autograd.grad(ys.sum(), y0, create_graph=True)
    (exact,) = torch.autograd.grad(drop_in.odeint(Cubic(), y0, times()).sum(), y0)
    assert error(first.detach(), exact) < 1e-5


def test_statistics_count_both_solves() -> None:
    calls = []

    class Field(Cubic):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            calls.append(t)
            return super().forward(t, y)

    ys = drop_in.odeint_adjoint(Field(), start(), times())
    stats = drop_in.last_stats()
    assert stats.nfe_forward == len(calls) and stats.nfe_backward == 0
    assert ys.grad_fn.stats is stats
    calls.clear()
    ys.sum().backward()
    assert drop_in.last_stats() is stats
    assert stats.nfe_backward == len(calls) > 0


def test_autocast_of_the_forward_pass_holds_in_the_backward_pass() -> None:
    dtypes = []

    class Field(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            slope = self.linear(y)
            dtypes.append(slope.dtype)
            return slope.float()

    with torch.autocast("cpu", torch.bfloat16):
        t = torch.tensor([0.0, 1.0])
        ys = drop_in.odeint_adjoint(Field(), torch.ones(1, 2), t, rtol=1e-2, atol=1e-2)
    ys.sum().backward()
    assert set(dtypes) == {torch.bfloat16}
