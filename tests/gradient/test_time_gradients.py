"""Gradients to the ends of the interval and to saved times."""

import pytest
import torch
from cases import FAMILIES, drawn
from problems import DOUBLE
from torch import Tensor

from odevision import GridController, PIDController, odesolve
from odevision.ode.solvers import SOLVERS

ADAPTIVE = [name for name, solver in SOLVERS.items() if solver.adaptive]
each_solver = pytest.mark.parametrize("solver", FAMILIES)
each_gradient = pytest.mark.parametrize("gradient", ["direct", "checkpointed"])


def field(t: Tensor, y: Tensor, w: Tensor) -> Tensor:
    return torch.sin(w * y) * (1 + t * t)


def time(value: float) -> Tensor:
    return torch.tensor(value, dtype=DOUBLE, requires_grad=True)


def solve(t0, t1, y0, w, *, solver="tsit5", gradient="direct", **options):
    return odesolve(field, y0, t0, t1, args=(w,), solver=solver, gradient=gradient, **options)


@each_solver
@each_gradient
def test_constant_steps_pass_gradcheck_in_both_ends(solver: str, gradient) -> None:
    def end(t0, t1, y0, w):
        return solve(t0, t1, y0, w, solver=solver, num_steps=3, gradient=gradient).y1

    inputs = (time(0.2), time(0.9), drawn(2, 2), drawn(2, seed=1))
    assert torch.autograd.gradcheck(end, inputs, atol=1e-7, rtol=1e-5)


@each_gradient
def test_gradcheck_holds_backward_in_time_and_for_saved_states(gradient) -> None:
    def saved(t0, t1):
        times = t0 + (t1 - t0) * torch.tensor([0.0, 0.3, 0.8, 1.0], dtype=DOUBLE)
        y0, w = drawn(2, 2, leaf=False), drawn(2, seed=1, leaf=False)
        return solve(
            t0, t1, y0, w, solver="dopri5", num_steps=3, gradient=gradient, save_at=times
        ).ys

    # The interpolant's slope is f up to its own error, so that a rough one must do.
    assert torch.autograd.gradcheck(saved, (time(0.9), time(0.2)), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("which", [0, 1])
@each_gradient
def test_one_end_alone_may_require_a_gradient(which: int, gradient) -> None:
    ends = [0.2, 0.9]

    def end(t):
        times = [t if i == which else x for i, x in enumerate(ends)]
        y0, w = drawn(2, 2, leaf=False), drawn(2, seed=1, leaf=False)
        return solve(*times, y0, w, solver="rk4", num_steps=3, gradient=gradient).y1

    assert torch.autograd.gradcheck(end, (time(ends[which]),), atol=1e-7, rtol=1e-5)


def gradients(gradient: str, solver: str, **options) -> tuple[Tensor, ...]:
    wanted = [time(0.2), time(0.9), drawn(3, 2), drawn(2, seed=1)]
    saves = torch.tensor([0.2, 0.31, 0.5, 0.9], dtype=DOUBLE, requires_grad=True)
    solution = solve(*wanted, solver=solver, gradient=gradient, save_at=saves, **options)
    loss = solution.y1.square().sum() + solution.ys.pow(3).sum()
    return torch.autograd.grad(loss, [*wanted, saves])


@each_solver
def test_checkpointed_equals_direct_in_all_times(solver: str) -> None:
    exact = gradients("direct", solver, num_steps=5)
    for a, b in zip(gradients("checkpointed", solver, num_steps=5), exact, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("solver", ADAPTIVE)
def test_checkpointed_equals_direct_in_all_times_across_adaptive_steps(solver: str) -> None:
    options = {"controller": PIDController(rtol=1e-4, atol=1e-5, dt0=0.7)}
    exact = gradients("direct", solver, **options)
    for a, b in zip(gradients("checkpointed", solver, **options), exact, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


def test_checkpointed_equals_direct_in_all_times_on_a_grid_and_across_a_jump() -> None:
    grid = GridController(times=(0.3, 0.35, 0.8))
    jumps = PIDController(rtol=1e-4, atol=1e-5, jump_points=(0.5,))
    for controller in (grid, jumps):
        exact = gradients("direct", "dopri5", controller=controller)
        ours = gradients("checkpointed", "dopri5", controller=controller)
        for a, b in zip(ours, exact, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


@each_gradient
def test_the_end_moves_the_state_by_the_field(gradient) -> None:
    t0, t1, y0, w = time(0.2), time(0.9), drawn(3, 2, leaf=False), drawn(2, seed=1, leaf=False)
    tight = {"rtol": 1e-10, "atol": 1e-12, "gradient": gradient}
    y1 = solve(t0, t1, y0, w, **tight).y1
    lam = drawn(3, 2, seed=3, leaf=False)
    slow, fast = torch.autograd.grad(y1, (t0, t1), lam)
    torch.testing.assert_close(fast, (lam * field(t1, y1, w)).sum(), rtol=1e-8, atol=0)
    h = 1e-4
    by_h = solve(0.2 + h, 0.9, y0, w, **tight).y1 - solve(0.2 - h, 0.9, y0, w, **tight).y1
    torch.testing.assert_close(slow, (lam * by_h).sum() / (2 * h), rtol=1e-6, atol=0)


@each_gradient
@pytest.mark.parametrize("solver", ["dopri5", "tsit5", "dopri8", "bosh3"])
def test_saved_times_move_their_states_alone(solver: str, gradient) -> None:
    y0, w = drawn(3, 2, leaf=False), drawn(2, seed=1, leaf=False)
    tight = {"rtol": 1e-9, "atol": 1e-11, "solver": solver, "gradient": gradient}
    times = torch.tensor([0.2, 0.4, 0.77, 0.9], dtype=DOUBLE, requires_grad=True)
    ys = solve(0.2, 0.9, y0, w, save_at=times, **tight).ys
    lam = drawn(4, 3, 2, seed=3, leaf=False)
    (ours,) = torch.autograd.grad(ys, times, lam)
    h = 1e-4
    for i in (1, 2):
        by_h = []
        for sign in (1, -1):
            moved = times.detach().clone()
            moved[i] += sign * h
            by_h.append(solve(0.2, 0.9, y0, w, save_at=moved, **tight).ys)
        expected = (lam * (by_h[0] - by_h[1])).sum() / (2 * h)
        torch.testing.assert_close(ours[i], expected, rtol=1e-5, atol=1e-7)
    for i, t in ((0, 0.2), (3, 0.9)):  # at the ends only one side can be looked at
        slope = field(torch.tensor(t, dtype=DOUBLE), ys[i], w)
        torch.testing.assert_close(ours[i], (lam[i] * slope).sum(), rtol=1e-8, atol=0)


@each_gradient
@pytest.mark.parametrize("dense", [False, True])
def test_times_given_as_numbers_stay_where_they_are_while_the_ends_move(gradient, dense) -> None:
    y0, w = drawn(3, 2, leaf=False), drawn(2, seed=1, leaf=False)
    lam = drawn(2, 3, 2, seed=3, leaf=False)
    times = [0.4, 0.77]

    def read(t0, t1):
        tight = {"rtol": 1e-10, "atol": 1e-12, "gradient": gradient, "save_at": times}
        solution = solve(t0, t1, y0, w, dense=dense, **tight)
        return solution.interpolant(torch.tensor(times, dtype=DOUBLE)) if dense else solution.ys

    t0, t1, h = time(0.2), time(0.9), 1e-4
    slow, fast = torch.autograd.grad(read(t0, t1), (t0, t1), lam)
    torch.testing.assert_close(fast, torch.zeros_like(fast), rtol=0, atol=2e-6)
    by_h = (lam * (read(0.2 + h, 0.9) - read(0.2 - h, 0.9))).sum() / (2 * h)
    torch.testing.assert_close(slow, by_h, rtol=2e-6, atol=0)


@each_gradient
def test_the_ends_among_the_saved_times_move_with_the_ends(gradient) -> None:
    y0, w = drawn(3, 2, leaf=False), drawn(2, seed=1, leaf=False)
    t0, t1 = time(0.2), time(0.9)
    solution = solve(t0, t1, y0, w, save_at=[0.2, 0.9], gradient=gradient, dense=True)
    (last,) = torch.autograd.grad(solution.ys[1].sum(), t1, retain_graph=True)
    (read,) = torch.autograd.grad(solution.interpolant(0.9).sum(), t1, retain_graph=True)
    (end,) = torch.autograd.grad(solution.y1.sum(), t1)
    assert last == end == read != 0


@each_gradient
def test_one_tensor_of_times_moves_the_whole_solve(gradient) -> None:
    """The ends and the saved times all come from t, as torchdiffeq has it."""

    def saved(t, y0, w):
        tight = {"rtol": 1e-10, "atol": 1e-12, "gradient": gradient}
        return solve(t[0], t[-1], y0, w, save_at=t, **tight).ys

    t = torch.tensor([0.2, 0.4, 0.77, 0.9], dtype=DOUBLE, requires_grad=True)
    y0, w, lam = drawn(3, 2), drawn(2, seed=1), drawn(4, 3, 2, seed=3, leaf=False)
    (ours,) = torch.autograd.grad(saved(t, y0, w), t, lam)
    h = 1e-4
    for i in range(4):
        step = torch.zeros_like(t).index_fill(0, torch.tensor(i), h)
        with torch.no_grad():
            expected = (lam * (saved(t + step, y0, w) - saved(t - step, y0, w))).sum() / (2 * h)
        torch.testing.assert_close(ours[i], expected, rtol=1e-5, atol=1e-7)


@each_gradient
def test_saved_times_may_be_computed_from_a_shared_tensor(gradient) -> None:
    length, y0, w = time(0.7), drawn(3, 2), drawn(2, seed=1)
    tight = {"rtol": 1e-10, "atol": 1e-12, "gradient": gradient}

    def ys(length):
        t = 0.2 + length * torch.linspace(0, 1, 4, dtype=DOUBLE)
        return solve(t[0], t[-1], y0, w, save_at=t, **tight).ys

    (ours,) = torch.autograd.grad(ys(length).square().sum(), length)
    h = 1e-4
    with torch.no_grad():
        by_h = ys(length + h).square().sum() - ys(length - h).square().sum()
    torch.testing.assert_close(ours, by_h / (2 * h), rtol=1e-6, atol=0)


@each_gradient
def test_times_of_another_dtype_keep_their_dtype_in_the_gradient(gradient) -> None:
    t0 = torch.tensor([0.2], requires_grad=True)
    t1 = torch.tensor(0.9, dtype=DOUBLE, requires_grad=True)
    saves = torch.tensor([0.3, 0.5], requires_grad=True)
    y0 = torch.complex(drawn(3, leaf=False), drawn(3, seed=1, leaf=False))
    solution = odesolve(
        lambda t, y: 1j * t * y, y0, t0, t1, save_at=saves, num_steps=3, gradient=gradient
    )
    (solution.y1.real.sum() + solution.ys.imag.sum()).backward()
    for x in (t0, t1, saves):
        assert x.grad.dtype == x.dtype and x.grad.shape == x.shape and x.grad.abs().min() > 0


@each_gradient
def test_the_saved_times_in_the_solution_are_the_asked_ones(gradient) -> None:
    t = torch.tensor([0.2, 0.4, 0.9], dtype=DOUBLE, requires_grad=True)
    solution = solve(t[0], t[-1], drawn(3, 2), drawn(2, seed=1), save_at=t, gradient=gradient)
    assert torch.equal(solution.ts, t.detach())
    torch.testing.assert_close(solution.t1, t[-1])


def test_an_empty_interval_has_gradients_to_its_ends() -> None:
    t0, t1, y0, w = time(0.5), time(0.5), drawn(3, 2), drawn(2, seed=1)
    for gradient in ("direct", "checkpointed"):
        y1 = solve(t0, t1, y0, w, gradient=gradient).y1
        slow, fast = torch.autograd.grad(y1.sum(), (t0, t1))
        slope = field(t0, y0, w).sum()
        torch.testing.assert_close(fast, slope)
        torch.testing.assert_close(slow, -slope)


def test_second_derivatives_reach_the_ends_under_direct() -> None:
    def end(t0, t1, y0):
        return solve(t0, t1, y0, drawn(2, seed=1, leaf=False), solver="rk4", num_steps=2).y1

    assert torch.autograd.gradgradcheck(end, (time(0.2), time(0.9), drawn(2, 2)), atol=1e-6)


def test_second_derivatives_to_saved_times_are_refused() -> None:
    times = torch.tensor([0.4, 0.6], dtype=DOUBLE, requires_grad=True)
    ys = solve(0.2, 0.9, drawn(2, 2), drawn(2, seed=1), save_at=times, num_steps=2).ys
    (first,) = torch.autograd.grad(ys.square().sum(), times, create_graph=True)
    with pytest.raises(ValueError, match="`save_at` must not be part of a gradient"):
        torch.autograd.grad(first.sum(), times)


@each_gradient
@pytest.mark.parametrize("batch", ["joint", "independent"])
@pytest.mark.parametrize("ends", [(0.0, 1.1), (1.1, 0.0)])
def test_jumps_stay_where_they_are_while_the_ends_move(ends, batch, gradient) -> None:
    def switched(t: Tensor, y: Tensor) -> Tensor:
        return torch.where(t < 0.4, -y, torch.where(t < 0.6, t * y, 2.0 - y))

    controller = PIDController(rtol=1e-9, atol=1e-11, jump_points=(0.4, 0.6))
    y0 = drawn(3, 2, leaf=False)

    def end(t0, t1):
        return odesolve(
            switched, y0, t0, t1, controller=controller, batch=batch, gradient=gradient
        ).y1.sum()

    found = torch.autograd.grad(end(*(times := [time(t) for t in ends])), times)
    h = 1e-5
    for i, ours in enumerate(found):
        moved = [[t + sign * h * (i == j) for j, t in enumerate(ends)] for sign in (1, -1)]
        by_h = (end(*moved[0]) - end(*moved[1])) / (2 * h)
        torch.testing.assert_close(ours, by_h, rtol=1e-5, atol=1e-7)
