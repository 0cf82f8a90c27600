"""Gradients under batch="independent": those of every sample alone, by both methods."""

import cases
import pytest
import torch
from problems import DOUBLE
from torch import Tensor, nn

from odevision import Event, PIDController, Solution, odesolve
from odevision.ode.implicit import IMPLICIT_METHODS
from odevision.ode.per_sample import PerSample

BATCH = 5
each_gradient = pytest.mark.parametrize("gradient", ["direct", "checkpointed"])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))


def leaves() -> list[Tensor]:
    """States, starts, ends, one rate a sample, and weights for all of them."""
    torch.manual_seed(0)
    given = (
        drawn(BATCH, 3),
        torch.linspace(-1, 1, BATCH, dtype=DOUBLE),
        torch.linspace(2, -2, BATCH, dtype=DOUBLE) - 0.3,
        torch.logspace(-1, 0.7, BATCH, dtype=DOUBLE)[:, None],
        drawn(3, 3, seed=1),
    )
    return [x.clone().requires_grad_() for x in given]


SHARE = torch.tensor([0.0, 0.2, 0.7, 1.0], dtype=DOUBLE)


def times_of(start: Tensor, end: Tensor) -> Tensor:
    return start[..., None] + SHARE * (end - start)[..., None]


def solve(x: list[Tensor], gradient: str, rows: slice = slice(None), **options) -> Solution:
    """All samples, or some of them."""
    y0, t0, t1, rate, weight = x
    bound = torch.tanh(weight)  # closed over, with a history
    f = lambda t, y, rate: torch.cos(rate * t) * torch.tanh(y @ bound) - 0.1 * rate * y
    return odesolve(
        f, y0[rows], t0[rows], t1[rows], args=PerSample((rate[rows],)), batch="independent",
        gradient=gradient, **{"rtol": 1e-4, "atol": 1e-6, **options},
    )  # fmt: skip


def loss_of(solution: Solution) -> Tensor:
    return solution.y1.square().sum() + (solution.ys.nan_to_num() ** 3).sum()


def alone(x: list[Tensor], save: bool, **options) -> list[Tensor]:
    """Gradients of the samples solved one by one, with a common clock."""
    y0, t0, t1, rate, weight = x
    total = torch.zeros((), dtype=DOUBLE)
    for i in range(BATCH):
        bound, r = torch.tanh(weight), rate[i : i + 1]
        f = lambda t, y, b=bound, r=r: torch.cos(r * t) * torch.tanh(y @ b) - 0.1 * r * y
        times = times_of(t0[i], t1[i]) if save else None
        solution = odesolve(
            f, y0[i : i + 1], t0[i], t1[i], gradient="direct", save_at=times,
            **{"rtol": 1e-4, "atol": 1e-6, **options},
        )  # fmt: skip
        total = total + loss_of(solution)
    return list(torch.autograd.grad(total, x))


def assert_close(actual, expected, rtol: float = 1e-8) -> None:
    for a, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, e, rtol=rtol, atol=rtol * float(e.abs().max()))


@each_gradient
@pytest.mark.parametrize("save", [False, True])
@pytest.mark.parametrize("solver", ["tsit5", "bosh3", "dopri8"])
def test_gradients_are_those_of_each_sample_alone(solver: str, save: bool, gradient: str) -> None:
    """Of y0, t0, t1, an argument for each sample, a tensor closed over, and saved times."""
    x = leaves()
    times = times_of(x[1], x[2]) if save else None
    solution = solve(x, gradient, solver=solver, save_at=times)
    assert solver == "dopri8" or int(solution.stats.num_rejected_steps.sum()) > 0
    actual = torch.autograd.grad(loss_of(solution), x)
    # Step sizes agree to rounding only, and an 8th-order estimate of 1e-12 is all rounding.
    rtol = 1e-5 if solver == "dopri8" else 1e-7
    assert_close(actual, alone(leaves_like(x), save, solver=solver), rtol)


def leaves_like(x: list[Tensor]) -> list[Tensor]:
    return [part.detach().clone().requires_grad_() for part in x]


@pytest.mark.parametrize("save", [False, True])
@pytest.mark.parametrize("solver", ["tsit5", "heun", "dopri8", "rk4", "kencarp4"])
def test_both_methods_give_one_gradient(solver: str, save: bool) -> None:
    options = {"num_steps": 6} if solver == "rk4" else {"rtol": 1e-2, "atol": 1e-3}
    method = IMPLICIT_METHODS.get(solver, solver)
    found = []
    for gradient in ("direct", "checkpointed"):
        x = leaves()
        times = times_of(x[1], x[2]) if save else None
        solution = solve(x, gradient, solver=method, save_at=times, **options)
        found.append(torch.autograd.grad(loss_of(solution), x))
    assert_close(*found)


@each_gradient
def test_fixed_save_times_do_not_move_with_the_ends(gradient: str) -> None:
    """d y(0.5) / d t1 is that of a perfect solve, 0, up to the tolerance."""
    y0, t1 = drawn(3, 2), torch.tensor([1.0, 2.0, 3.0], dtype=DOUBLE, requires_grad=True)
    f = lambda t, y: torch.cos(3 * t) * y
    saved = odesolve(
        f, y0, 0.0, t1, save_at=[0.5], gradient=gradient, batch="independent", rtol=1e-8, atol=1e-8
    ).ys
    (moved,) = torch.autograd.grad(saved.square().sum(), t1)
    assert float(moved.abs().max()) < 1e-5


@each_gradient
def test_one_end_for_all_samples_receives_the_sum(gradient: str) -> None:
    y0 = drawn(4, 2)
    t0 = torch.tensor(0.2, dtype=DOUBLE, requires_grad=True)
    t1 = torch.tensor(1.4, dtype=DOUBLE, requires_grad=True)
    f = lambda t, y: torch.cos(3 * t) * y
    solution = odesolve(f, y0, t0, t1, gradient=gradient, batch="independent", rtol=1e-9, atol=1e-9)
    found = torch.autograd.grad(solution.y1.sum(), (t0, t1))
    with torch.no_grad():
        expected = (
            -(torch.cos(3 * t0) * solution.y1).sum(),
            (torch.cos(3 * t1) * solution.y1).sum(),
        )
    assert_close(found, expected, rtol=1e-5)


@each_gradient
@pytest.mark.parametrize("solver", ["rk4", "tsit5", "adams-bashforth3", "leapfrog"])
def test_equal_steps_have_the_gradients_of_each_sample_alone(solver: str, gradient: str) -> None:
    x = leaves()
    solution = solve(x, gradient, solver=solver, num_steps=6)
    actual = torch.autograd.grad(loss_of(solution), x)
    assert_close(actual, alone(leaves_like(x), False, solver=solver, num_steps=6))


@pytest.mark.parametrize("make", cases.CASES, ids=lambda make: make.__name__)
def test_gradients_reach_every_tensor_that_the_field_uses(make) -> None:
    if make is cases.method_that_uses_its_tensors_late:
        pytest.skip("branches on one time for all samples")
    options = {"num_steps": 5, "batch": "independent"}
    joint = cases.gradients(make, "direct", num_steps=5)
    for gradient in ("direct", "checkpointed"):
        assert_close(cases.gradients(make, gradient, **options), joint)


PER_SAMPLE_SHAPES = (
    cases.method_that_uses_its_tensors_late,
    cases.y0_as_an_argument,
    cases.computed_y0_as_an_argument,
    cases.closed_over_computed_y0,
    cases.sum_of_two_equal_shapes,
    cases.complex_state,
)


@pytest.mark.parametrize(
    "make", [m for m in cases.CASES if m not in PER_SAMPLE_SHAPES], ids=lambda make: make.__name__
)
def test_adaptive_steps_reach_every_tensor_that_the_field_uses(make) -> None:
    options = {"rtol": 1e-5, "batch": "independent", "save_at": [0.0, 0.4, 1.0]}
    direct = cases.gradients(make, "direct", **options)
    assert any(float(g.abs().max()) > 0 for g in direct)
    assert_close(cases.gradients(make, "checkpointed", **options), direct)


@each_gradient
def test_a_rejected_step_with_infinite_derivatives_leaves_no_trace(gradient: str) -> None:
    """Its first attempt overshoots to where exp overflows: a finite value, and a derivative NaN."""
    weight = torch.tensor(1.0, dtype=DOUBLE, requires_grad=True)
    y0 = torch.tensor([[1.0], [0.5]], dtype=DOUBLE, requires_grad=True)
    overflowed = []

    def f(t, y, rate):
        e = torch.exp(300 * weight * y.abs())
        overflowed.append(bool(e.isinf().any()))
        return -rate * weight * y * (1 + 1 / (1 + e))

    rates = torch.tensor([[40.0], [1.0]], dtype=DOUBLE)
    solution = odesolve(
        f, y0, 0.0, 1.0, args=(PerSample(rates),), batch="independent", gradient=gradient,
        controller=PIDController(rtol=1e-3, dt0=0.5),
    )  # fmt: skip
    assert any(overflowed) and int(solution.stats.num_rejected_steps[0]) > 0
    for x in torch.autograd.grad(solution.y1.sum(), (weight, y0)):
        assert bool(torch.isfinite(x).all())


@each_gradient
def test_repeated_evaluations_count_for_the_samples_that_need_them(gradient: str) -> None:
    seen = torch.zeros(BATCH, dtype=torch.int64)

    def f(t, y, rate, sample):
        if torch.is_grad_enabled():
            seen[sample] += 1
        return torch.cos(rate * t) * y

    y0, t0, t1, rate, _ = leaves()
    solution = odesolve(
        f, y0, t0.detach(), t1.detach(), args=(PerSample(rate), PerSample(torch.arange(BATCH))),
        batch="independent", gradient=gradient, rtol=1e-5,
    )  # fmt: skip
    solution.y1.sum().backward()
    assert torch.equal(solution.stats.nfe_backward, seen) and int(seen.min()) > 0
    assert torch.equal(seen, 6 * solution.stats.num_accepted_steps)


def test_a_solve_that_needs_no_gradient_is_made_once() -> None:
    solution = odesolve(lambda t, y: -y, drawn(4, 2), 0, 1, gradient="direct", batch="independent")
    assert not solution.y1.requires_grad
    assert solution.stats.nfe_backward.tolist() == [0] * 4


@each_gradient
def test_event_times_and_states_have_the_gradients_of_the_closed_form(gradient: str) -> None:
    """A ball dropped from h reaches the floor at sqrt(2 (h - floor) / g)."""
    heights = torch.tensor([5.0, 1.0, 20.0], dtype=DOUBLE, requires_grad=True)
    gravity = torch.tensor([[10.0], [8.0], [9.0]], dtype=DOUBLE, requires_grad=True)
    floor = torch.tensor([0.3, 0.1, -0.2], dtype=DOUBLE, requires_grad=True)
    f = lambda t, y, g: torch.cat([y[:, 1:], -g], 1)
    y0 = torch.stack([heights, torch.zeros_like(heights)], 1)
    solution = odesolve(
        f, y0, 0.0, 9.0, args=(PerSample(gravity),), batch="independent", gradient=gradient,
        event=Event(lambda t, y, floor: y[:, 0] - floor, args=PerSample((floor,))), rtol=1e-8,
    )  # fmt: skip
    exact = torch.sqrt(2 * (heights - floor) / gravity[:, 0])
    weights = drawn(3, seed=2)
    x = (heights, gravity, floor)
    for ours, theirs in (
        (solution.t1, exact),
        (solution.event_ts[0][0], exact),
        (solution.y1[:, 1], -gravity[:, 0] * exact),
        (solution.event_ys[0][0, :, 1], -gravity[:, 0] * exact),
    ):
        found = torch.autograd.grad((weights * ours).sum(), x, retain_graph=True)
        expected = torch.autograd.grad((weights * theirs).sum(), x, retain_graph=True)
        assert_close(found, expected, rtol=1e-8)


def test_direct_gradients_can_be_differentiated_again() -> None:
    y0 = torch.tensor([[0.3], [0.8]], dtype=DOUBLE, requires_grad=True)
    y1 = odesolve(
        lambda t, y: -y * y, y0, 0.0, torch.tensor([1.0, 2.0]), gradient="direct",
        batch="independent", rtol=1e-9, atol=1e-9,
    ).y1  # fmt: skip
    (first,) = torch.autograd.grad(y1.sum(), y0, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), y0)
    t = torch.tensor([[1.0], [2.0]], dtype=DOUBLE)
    torch.testing.assert_close(second, -2 * t / (1 + y0.detach() * t) ** 3, rtol=1e-6, atol=0)


def test_checkpointed_gradients_refuse_to_be_differentiated_again() -> None:
    y0 = drawn(2, 1).requires_grad_()
    y1 = odesolve(lambda t, y: -y * y, y0, 0.0, 1.0, batch="independent").y1
    with pytest.raises(ValueError, match="`gradient` must be 'direct'"):
        torch.autograd.grad(y1.sum(), y0, create_graph=True)


def test_checkpointed_gradients_can_be_taken_twice() -> None:
    x = leaves()
    loss = loss_of(solve(x, "checkpointed"))
    first = torch.autograd.grad(loss, x, retain_graph=True)
    assert_close(torch.autograd.grad(loss, x), first, rtol=0.0)


@each_gradient
def test_samples_that_failed_do_not_spoil_the_gradients_of_others(gradient: str) -> None:
    y0 = torch.tensor([[0.1], [1.0], [torch.nan], [0.2]], dtype=DOUBLE, requires_grad=True)
    weight = torch.tensor(1.0, dtype=DOUBLE, requires_grad=True)
    solution = odesolve(
        lambda t, y: weight * y * y, y0, 0.0, 2.0, batch="independent", throw=False,
        gradient=gradient, rtol=1e-8, atol=1e-8,
    )  # fmt: skip
    by_y0, by_weight = torch.autograd.grad(solution.y1[[0, 3]].sum(), (y0, weight))
    good = y0.detach()[[0, 3]]
    torch.testing.assert_close(by_y0[[0, 3]], 1 / (1 - 2 * good) ** 2, rtol=1e-5, atol=0)
    exact = (2 * good**2 / (1 - 2 * good) ** 2).sum()
    torch.testing.assert_close(by_weight, exact, rtol=1e-5, atol=0)


@each_gradient
def test_nested_states_have_gradients(gradient: str) -> None:
    x = leaves()
    expected = torch.autograd.grad(solve(x, gradient).y1.square().sum(), x[0])[0]
    y0, t0, t1, rate, weight = x

    def f(t, y, rate):
        both = torch.cat([y["a"], y["b"]], 1)
        k = torch.cos(rate * t) * torch.tanh(both @ torch.tanh(weight)) - 0.1 * rate * both
        return {"a": k[:, :1], "b": k[:, 1:]}

    start = {"a": y0[:, :1], "b": y0[:, 1:]}
    y1 = odesolve(
        f, start, t0, t1, args=PerSample((rate,)), batch="independent", gradient=gradient,
        rtol=1e-4, atol=1e-6,
    ).y1  # fmt: skip
    loss = y1["a"].square().sum() + y1["b"].square().sum()
    assert_close([torch.autograd.grad(loss, y0)[0]], [expected])


def test_both_methods_agree_under_autocast() -> None:
    class Field(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, t, y):
            return torch.tanh(self.linear(y)).float() * torch.cos(t)

    torch.manual_seed(0)
    field, found = Field(), []
    for gradient in ("direct", "checkpointed"):
        y0 = torch.randn(4, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
        ends = torch.linspace(0.5, 2, 4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y1 = odesolve(field, y0, 0.0, ends, batch="independent", gradient=gradient).y1
        found.append(torch.autograd.grad(y1.square().sum(), [y0, *field.parameters()]))
    # Autocast keeps its copy of the weight in bfloat16, and direct sums all steps' gradients in it.
    assert_close(*found, rtol=3e-2)


@each_gradient
def test_repeated_steps_run_under_the_autocast_of_the_solve(gradient: str) -> None:
    seen = []
    linear = nn.Linear(3, 3)

    def f(t, y):
        seen.append(linear(y).dtype)
        return torch.tanh(linear(y)).float()

    y0 = torch.ones(2, 3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y1 = odesolve(f, y0, 0.0, 1.0, batch="independent", gradient=gradient).y1
    forward = len(seen)
    y1.sum().backward()
    assert set(seen) == {torch.bfloat16} and (len(seen) > forward) == (gradient == "checkpointed")


def test_transforms_of_torch_func_differentiate_equal_steps() -> None:
    y0, ends = drawn(3, 2), torch.tensor([1.0, 0.5, -1.0], dtype=DOUBLE)
    f = lambda t, y: -torch.sin(y) * torch.cos(t)
    end = lambda y0: odesolve(f, y0, 0.0, ends, num_steps=5, solver="rk4", batch="independent").y1
    leaf = y0.clone().requires_grad_()
    expected = torch.autograd.grad(end(leaf).sum(), leaf)[0]
    assert_close([torch.func.grad(lambda y: end(y).sum())(y0)], [expected])
    _, tangent = torch.func.jvp(end, (y0,), (torch.ones_like(y0),))
    assert_close([tangent.sum()], [expected.sum()])
    many = torch.stack([y0, 2 * y0])
    assert_close(torch.func.vmap(end)(many), torch.stack([end(x) for x in many]), rtol=1e-12)
