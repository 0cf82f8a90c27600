"""vmap, grad, jvp and their compositions of torch.func over solves."""

import pytest
import torch
from problems import DOUBLE
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap

from odevision import Event, ODEBlock, odesolve

pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:FutureWarning"  # torch itself, in forward mode
)
SOLVERS = ("euler", "rk4", "bosh3", "dopri5", "leapfrog", "adams-bashforth3", "adams-moulton3")
each_solver = pytest.mark.parametrize("solver", SOLVERS)
each_gradient = pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=DOUBLE, generator=generator)


Y0, W, DIRECTION = drawn(5, 3), drawn(3, seed=1), drawn(5, 3, seed=2)


def field(t: Tensor, y: Tensor, w: Tensor) -> Tensor:
    return torch.sin(w * y) * (1 + t)


def end(y0: Tensor, w: Tensor = W, **options) -> Tensor:
    return odesolve(field, y0, 0, 1, args=(w,), **{"num_steps": 4, **options}).y1


def autograd(y0: Tensor, w: Tensor, **options) -> tuple[Tensor, Tensor]:
    y0, w = y0.clone().requires_grad_(), w.clone().requires_grad_()
    loss = end(y0, w, gradient="direct", **options).square().sum()
    return torch.autograd.grad(loss, (y0, w))


@each_solver
@each_gradient
def test_vmap_solves_each_sample(solver: str, gradient) -> None:
    options = {"solver": solver, "gradient": gradient}
    mapped = vmap(lambda y: end(y, **options))(Y0)
    torch.testing.assert_close(mapped, torch.stack([end(y, **options) for y in Y0]), **CLOSE)


@each_gradient
def test_vmap_over_arguments_alone(gradient) -> None:
    ws = drawn(4, 3, seed=3)
    mapped = vmap(lambda w: end(Y0, w, solver="dopri5", gradient=gradient))(ws)
    torch.testing.assert_close(
        mapped, torch.stack([end(Y0, w, solver="dopri5") for w in ws]), **CLOSE
    )


@each_gradient
def test_vmap_maps_saved_nested_and_dense_states(gradient) -> None:
    def solve(y):
        return odesolve(
            lambda t, s: {"x": s["v"], "v": -s["x"]},
            {"x": y, "v": 2 * y},
            0,
            1,
            solver="rk4",
            num_steps=4,
            save_at=[0, 0.3, 1],
            dense=True,
            gradient=gradient,
        )

    mapped = vmap(lambda y: (solve(y).ys, solve(y).interpolant(0.4)))(Y0)
    for i, y in enumerate(Y0):
        single = solve(y)
        for name in ("x", "v"):
            torch.testing.assert_close(mapped[0][name][i], single.ys[name], **CLOSE)
            torch.testing.assert_close(mapped[1][name][i], single.interpolant(0.4)[name], **CLOSE)


@each_solver
@each_gradient
def test_grad_equals_autograd(solver: str, gradient) -> None:
    options = {"solver": solver, "gradient": gradient}
    loss = lambda y, w: end(y, w, **options).square().sum()
    ours = grad(loss, argnums=(0, 1))(Y0, W)
    for a, b in zip(ours, autograd(Y0, W, solver=solver), strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


@each_gradient
def test_grad_goes_through_adaptive_steps(gradient) -> None:
    options = {"num_steps": None, "rtol": 1e-6, "gradient": gradient}
    ours = grad(lambda y, w: end(y, w, **options).square().sum(), argnums=(0, 1))(Y0, W)
    for a, b in zip(ours, autograd(Y0, W, num_steps=None, rtol=1e-6), strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


@each_solver
@each_gradient
def test_vmap_of_grad_gives_each_samples_gradients(solver: str, gradient) -> None:
    options = {"solver": solver, "gradient": gradient}
    loss = lambda y, w: end(y, w, **options).square().sum()
    by_state, by_argument = vmap(grad(loss, argnums=(0, 1)), (0, None))(Y0, W)
    for i, y in enumerate(Y0):
        expected = autograd(y, W, solver=solver)
        torch.testing.assert_close(by_state[i], expected[0], **CLOSE)
        torch.testing.assert_close(by_argument[i], expected[1], **CLOSE)


@each_solver
@each_gradient
def test_jvp_is_the_adjoint_of_grad(solver: str, gradient) -> None:
    options = {"solver": solver, "gradient": gradient}
    _, moved = jvp(lambda y, w: end(y, w, **options), (Y0, W), (DIRECTION, W))
    y0, w = Y0.clone().requires_grad_(), W.clone().requires_grad_()
    lam = drawn(5, 3, seed=4)
    pulled = torch.autograd.grad(end(y0, w, solver=solver, gradient="direct"), (y0, w), lam)
    expected = (pulled[0] * DIRECTION).sum() + (pulled[1] * W).sum()
    torch.testing.assert_close((lam * moved).sum(), expected, **CLOSE)


@each_gradient
def test_vmap_of_jvp_moves_each_sample(gradient) -> None:
    move = lambda y, d: jvp(lambda y: end(y, solver="rk4", gradient=gradient), (y,), (d,))[1]
    mapped = vmap(move)(Y0, DIRECTION)
    expected = torch.stack([move(y, d) for y, d in zip(Y0, DIRECTION, strict=True)])
    torch.testing.assert_close(mapped, expected, **CLOSE)


@each_gradient
def test_dual_numbers_pass_through_a_solve(gradient) -> None:
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(Y0, DIRECTION)
        moved = torch.autograd.forward_ad.unpack_dual(end(dual, solver="rk4", gradient=gradient))
    expected = jvp(lambda y: end(y, solver="rk4"), (Y0,), (DIRECTION,))
    torch.testing.assert_close(moved.tangent, expected[1], **CLOSE)


@each_gradient
def test_jacobians_and_hessians(gradient) -> None:
    solve = lambda y: end(y, solver="rk4", num_steps=2, gradient=gradient)
    y = Y0[0]
    expected = torch.autograd.functional.jacobian(
        lambda y: end(y, solver="rk4", num_steps=2, gradient="direct"), y
    )
    torch.testing.assert_close(jacrev(solve)(y), expected, **CLOSE)
    torch.testing.assert_close(jacfwd(solve)(y), expected, **CLOSE)
    second = torch.autograd.functional.hessian(
        lambda y: end(y, solver="rk4", num_steps=2, gradient="direct").square().sum(), y
    )
    torch.testing.assert_close(hessian(lambda y: solve(y).square().sum())(y), second, **CLOSE)


@pytest.mark.parametrize("vectorize", [False, True])
@each_gradient
def test_the_jacobian_of_autograd_may_be_vectorized(gradient, vectorize: bool) -> None:
    solve = lambda y, gradient=gradient: end(y, solver="rk4", num_steps=2, gradient=gradient)
    ours = torch.autograd.functional.jacobian(solve, Y0[0], vectorize=vectorize)
    torch.testing.assert_close(ours, jacrev(solve)(Y0[0]), **CLOSE)


@each_gradient
def test_grad_and_jvp_reach_the_ends_of_the_interval(gradient) -> None:
    def solve(t0, t1):
        return odesolve(
            field, Y0, t0, t1, args=(W,), solver="rk4", num_steps=3, gradient=gradient
        ).y1.sum()

    t0, t1, one = (torch.tensor(x, dtype=DOUBLE) for x in (0.2, 1.1, 1.0))
    h = 1e-6
    slow = ((solve(t0 + h, t1) - solve(t0 - h, t1)) / (2 * h)).item()
    fast = ((solve(t0, t1 + h) - solve(t0, t1 - h)) / (2 * h)).item()
    by_grad = grad(solve, argnums=(0, 1))(t0, t1)
    assert [x.item() for x in by_grad] == pytest.approx([slow, fast], rel=1e-7)
    moved = jvp(solve, (t0, t1), (one, 2 * one))[1]
    assert moved.item() == pytest.approx(slow + 2 * fast, rel=1e-7)


@each_gradient
def test_grad_reaches_saved_times_and_event_times(gradient) -> None:
    def saved(times):
        return (
            odesolve(
                field, Y0, 0, 1, args=(W,), save_at=times, rtol=1e-9, atol=1e-9, gradient=gradient
            )
            .ys[0]
            .sum()
        )

    times, h = torch.tensor([0.3, 0.7], dtype=DOUBLE), 1e-5
    slope = grad(saved)(times)
    expected = (saved(times + h) - saved(times - h)) / (2 * h)
    torch.testing.assert_close(slope[0], expected, rtol=1e-5, atol=1e-6)
    assert slope[1] == 0

    def crossing(y0):
        level = Event(lambda t, y: y[0] - 0.5)
        return odesolve(lambda t, y: -y, y0, 0, 5, event=level, gradient=gradient).t1

    y0 = torch.tensor([2.0], dtype=DOUBLE)
    torch.testing.assert_close(grad(crossing)(y0), 1 / y0, rtol=1e-3, atol=0)


class Field(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.linear(y)) * (1 + t)


@each_gradient
def test_an_ode_block_has_gradients_of_each_sample(gradient) -> None:
    torch.manual_seed(0)
    block = ODEBlock(Field(), solver="dopri5", num_steps=3, gradient=gradient).double()
    parameters = dict(block.named_parameters())

    def loss(parameters, y):
        return functional_call(block, parameters, (y,)).square().sum()

    mapped = vmap(grad(loss), (None, 0))(parameters, Y0)
    for i, y in enumerate(Y0):
        expected = torch.autograd.grad(block(y).square().sum(), list(block.parameters()))
        for ours, theirs in zip(mapped.values(), expected, strict=True):
            torch.testing.assert_close(ours[i], theirs, **CLOSE)


@each_gradient
def test_adaptive_steps_are_refused_under_vmap(gradient) -> None:
    solve = lambda y, w: end(y, w, num_steps=None, gradient=gradient)
    for arguments in ((Y0, W.expand(5, 3)), (Y0[0].expand(5, 3), W.expand(5, 3))):
        with pytest.raises(ValueError, match="`num_steps` must be given under torch.func.vmap"):
            vmap(solve)(*arguments)
        with pytest.raises(ValueError, match="`num_steps` must be given under torch.func.vmap"):
            vmap(grad(lambda y, w: solve(y, w).sum()))(*arguments)


@pytest.mark.parametrize("solver", ["implicit-euler", "kencarp4", "gauss-legendre4"])
@each_gradient
def test_implicit_steps_are_refused_clearly_by_every_transform(solver: str, gradient) -> None:
    solve = lambda y: end(y, solver=solver, num_steps=2, gradient=gradient)
    with pytest.raises(ValueError, match="`solver` must be an explicit method under torch.func.v"):
        vmap(solve)(Y0)
    for derivative in (grad(lambda y: solve(y).sum()), jacfwd(solve)):
        with pytest.raises(ValueError, match="`solver` must be an explicit method under torch.fun"):
            derivative(Y0[0])
    with torch.no_grad(), pytest.raises(ValueError, match="and in forward mode"):
        jvp(solve, (Y0,), (DIRECTION,))


def test_an_implicit_solve_of_something_else_may_run_inside_a_transform() -> None:
    other = lambda: end(Y0[0], solver="implicit-euler", num_steps=2)
    torch.testing.assert_close(grad(lambda y: (y * other()).sum())(Y0[0]), other(), **CLOSE)


def test_events_are_refused_under_vmap() -> None:
    event = Event(lambda t, y: y[0] - 0.5)
    with pytest.raises(ValueError, match="`event` must be left out under torch.func.vmap"):
        vmap(lambda y: end(y, event=event))(Y0)


@each_gradient
def test_second_derivatives_of_an_events_time_are_refused_in_every_mode(gradient) -> None:
    def crossing(y0):
        level = Event(lambda t, y: y[0] - 0.5)
        return odesolve(lambda t, y: -y, y0, 0, 5, num_steps=20, event=level, gradient=gradient).t1

    y0 = torch.tensor([2.0], dtype=DOUBLE)
    second = (jacrev(grad(crossing)), jacfwd(grad(crossing)), jacfwd(jacfwd(crossing)))
    for derivative in second:
        with pytest.raises(ValueError, match="`event` must not be part of a gradient"):
            derivative(y0)
    torch.testing.assert_close(jacfwd(crossing)(y0), 1 / y0, rtol=1e-3, atol=0)


def test_dense_output_is_read_at_a_vector_of_times_and_not_through_vmap() -> None:
    inside = odesolve(field, Y0, 0, 1, args=(W,), dense=True).interpolant
    with pytest.raises(ValueError, match="Try the vector of all times"):
        vmap(inside)(torch.linspace(0, 1, 3))


def test_an_adaptive_solve_of_something_else_may_run_inside_vmap() -> None:
    mapped = vmap(lambda y: y + end(Y0[0], num_steps=None))(Y0)
    torch.testing.assert_close(mapped, Y0 + end(Y0[0], num_steps=None), **CLOSE)


@pytest.mark.parametrize("name", ["t0", "t1", "save_at"])
def test_times_are_not_mapped_over(name: str) -> None:
    def solve(x):
        times = {"t0": 0.0, "t1": 1.0, "save_at": None, name: x}
        t0, t1 = times.pop("t0"), times.pop("t1")
        return odesolve(field, Y0, t0, t1, args=(W,), num_steps=2, **times).ys

    with pytest.raises(ValueError, match=f"`{name}` must be the same for all samples"):
        vmap(solve)(torch.tensor([0.5, 0.75]))
