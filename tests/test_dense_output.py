"""dense=True: the solution as a function of time."""

import math

import pytest
import torch
from problems import DOUBLE, PROBLEMS, error
from torch import Tensor

from odevision import Event, GridController, odesolve
from odevision.ode.interpolation import Interpolant
from odevision.ode.solvers import SOLVERS

LOGISTIC = PROBLEMS[0]
each_gradient = pytest.mark.parametrize("gradient", ["direct", "checkpointed"])


def dense(solver: str = "tsit5", problem=LOGISTIC, **options):
    return odesolve(
        problem.vector_field,
        problem.y0,
        problem.t0,
        problem.t1,
        solver=solver,
        dense=True,
        **options,
    )


def between(problem) -> list[float]:
    return [problem.t0 + (problem.t1 - problem.t0) * i / 37 for i in range(38)]


# The order of the interpolant's error: cubic 4 and quartic 5, but not above that of the steps.
@pytest.mark.parametrize(
    "solver, order",
    [("midpoint", 2), ("bosh3", 3), ("rk4", 4), ("tsit5", 5), ("dopri5", 5)],
)
def test_the_interpolant_converges_with_its_order(solver: str, order: int) -> None:
    worst = []
    for num_steps in (8, 16, 32):
        inside = dense(solver, num_steps=num_steps).interpolant
        worst.append(max(error(inside(t), LOGISTIC.exact(t)) for t in between(LOGISTIC)))
    slope = math.log2(worst[1] / worst[2])
    assert order - 0.3 < slope < order + 0.9


@pytest.mark.parametrize("problem", PROBLEMS, ids=[p.name for p in PROBLEMS])
def test_the_interpolant_is_as_accurate_as_the_tolerance(problem) -> None:
    inside = dense("dopri5", problem, rtol=1e-7, atol=1e-8).interpolant
    assert max(error(inside(t), problem.exact(t)) for t in between(problem)) < 2e-6


@pytest.mark.parametrize("solver", list(SOLVERS))
def test_it_meets_the_ends_of_every_step(solver: str) -> None:
    solution = dense(solver, num_steps=4, save_at="steps")
    for t, y in zip(solution.ts.tolist(), solution.ys, strict=True):
        torch.testing.assert_close(solution.interpolant(t), y, rtol=1e-14, atol=0)


def test_it_agrees_with_saved_times() -> None:
    times = between(LOGISTIC)
    solution = dense("dopri5", save_at=times)
    for t, y in zip(times, solution.ys, strict=True):
        torch.testing.assert_close(solution.interpolant(t), y, rtol=1e-13, atol=0)


def test_it_costs_no_step_and_for_a_method_with_its_slopes_no_evaluation() -> None:
    plain = odesolve(LOGISTIC.vector_field, LOGISTIC.y0, 0, 2, solver="dopri5")
    solution = dense("dopri5")
    assert solution.stats == plain.stats
    assert torch.equal(solution.y1, plain.y1)


def test_a_vector_of_times_gives_a_stack_of_states() -> None:
    inside = dense(rtol=1e-8, atol=1e-9).interpolant
    times = torch.tensor([0.0, 1.3, 0.2, 2.0], dtype=DOUBLE)
    ys = inside(times)
    assert ys.shape == (4, *LOGISTIC.y0.shape)
    for t, y in zip(times, ys, strict=True):
        assert torch.equal(inside(t), y)
        assert torch.equal(inside(float(t)), y)


def test_a_nested_state_comes_back_nested() -> None:
    y0 = {"x": torch.ones(2, dtype=DOUBLE), "v": torch.zeros(2, dtype=DOUBLE)}
    swing = lambda t, y: {"x": y["v"], "v": -y["x"]}
    inside = odesolve(swing, y0, 0, 2, rtol=1e-9, atol=1e-9, dense=True).interpolant
    states = inside(torch.tensor([0.5, 1.0]))
    assert states["x"].shape == (2, 2)
    torch.testing.assert_close(states["x"][1], y0["x"] * math.cos(1), rtol=1e-7, atol=0)


@pytest.mark.parametrize("t", [-0.01, 2.01, math.nan, math.inf])
def test_times_outside_of_the_solve_are_refused(t: float) -> None:
    inside = dense().interpolant
    with pytest.raises(ValueError, match="`t` must lie between 0.0 and 2.0"):
        inside(t)
    with pytest.raises(ValueError, match="`t` must lie between"):
        inside(torch.tensor([1.0, t]))


def test_it_ends_where_a_terminal_event_ended_the_solve() -> None:
    solution = odesolve(
        lambda t, y: torch.ones_like(y),
        torch.zeros(1, dtype=DOUBLE),
        0,
        10,
        event=Event(lambda t, y: y[0] - 3.2),
        dense=True,
    )
    torch.testing.assert_close(solution.interpolant(3.2), solution.y1)
    with pytest.raises(ValueError, match="`t` must lie between"):
        solution.interpolant(3.3)


def test_it_covers_what_a_failed_solve_reached() -> None:
    solution = odesolve(
        lambda t, y: y * y, torch.ones(1, dtype=DOUBLE), 0, 2, dense=True, throw=False
    )
    assert solution.error is not None
    torch.testing.assert_close(
        solution.interpolant(0.5), torch.full((1,), 2.0, dtype=DOUBLE), rtol=1e-2, atol=0
    )
    with pytest.raises(ValueError, match="`t` must lie between"):
        solution.interpolant(1.5)


def test_backward_in_time() -> None:
    solution = odesolve(LOGISTIC.vector_field, LOGISTIC.y1, 2, 0, rtol=1e-8, atol=1e-9, dense=True)
    for t in between(LOGISTIC):
        assert error(solution.interpolant(t), LOGISTIC.exact(t)) < 1e-6


def test_on_a_grid() -> None:
    solution = dense("rk4", controller=GridController(times=[0.1 * i for i in range(21)]))
    for t in between(LOGISTIC):
        assert error(solution.interpolant(t), LOGISTIC.exact(t)) < 1e-5


def test_an_empty_interval_is_constant() -> None:
    solution = odesolve(LOGISTIC.vector_field, LOGISTIC.y0, 1, 1, dense=True)
    assert torch.equal(solution.interpolant(1.0), LOGISTIC.y0)


def test_a_solve_that_fails_at_once_is_read_at_its_start() -> None:
    solution = odesolve(lambda t, y: y * math.nan, LOGISTIC.y0, 0, 1, dense=True, throw=False)
    assert torch.equal(solution.interpolant(0.0), LOGISTIC.y0)
    with pytest.raises(ValueError, match="`t` must lie between 0.0 and 0.0"):
        solution.interpolant(0.5)


def test_without_dense_there_is_none() -> None:
    assert odesolve(LOGISTIC.vector_field, LOGISTIC.y0, 0, 2).interpolant is None


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=DOUBLE, generator=generator).requires_grad_()


def read(gradient: str, solver: str, **options) -> tuple[Tensor, ...]:
    y0, w = drawn(3, 2), drawn(2, seed=1)
    inside = odesolve(
        lambda t, y, w: torch.sin(w * y) * (1 + t),
        y0,
        0.0,
        1.0,
        args=(w,),
        solver=solver,
        dense=True,
        gradient=gradient,
        **options,
    ).interpolant
    loss = sum(inside(t).pow(2).sum() * (i + 1) for i, t in enumerate((0.0, 0.2, 0.21, 0.8, 1.0)))
    return torch.autograd.grad(loss, (y0, w))


@pytest.mark.parametrize("solver", ["euler", "rk4", "bosh3", "tsit5", "dopri8", "leapfrog"])
def test_gradients_through_it_are_the_same_under_both_engines(solver: str) -> None:
    exact = read("direct", solver, num_steps=4)
    for a, b in zip(read("checkpointed", solver, num_steps=4), exact, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


def test_gradients_through_it_are_the_same_across_adaptive_steps() -> None:
    exact = read("direct", "dopri5", rtol=1e-6, atol=1e-7)
    for a, b in zip(read("checkpointed", "dopri5", rtol=1e-6, atol=1e-7), exact, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


@each_gradient
def test_gradients_through_it_pass_gradcheck(gradient) -> None:
    def inside(y0, w):
        solution = odesolve(
            lambda t, y, w: torch.sin(w * y),
            y0,
            0,
            1,
            args=(w,),
            num_steps=2,
            dense=True,
            gradient=gradient,
        )
        return solution.interpolant(torch.tensor([0.1, 0.5, 0.9]))

    assert torch.autograd.gradcheck(inside, (drawn(2, 2), drawn(2, seed=1)))


@each_gradient
def test_the_time_at_which_it_is_read_has_a_gradient(gradient) -> None:
    y0 = drawn(3)
    inside = odesolve(
        lambda t, y: torch.sin(y), y0, 0, 1, rtol=1e-9, atol=1e-10, dense=True, gradient=gradient
    ).interpolant
    for t in (torch.tensor(0.3, dtype=DOUBLE), torch.tensor([0.3, 0.9], dtype=DOUBLE)):
        t.requires_grad_()
        (slope,) = torch.autograd.grad(inside(t).sum(), t, retain_graph=True)
        expected = torch.sin(inside(t)).sum(-1)
        torch.testing.assert_close(slope, expected, rtol=1e-5, atol=1e-6)


def test_a_polynomial_of_its_degree_is_read_exactly() -> None:
    y = lambda t: torch.tensor([1 + t - 2 * t**2 + 3 * t**3], dtype=DOUBLE)
    f = lambda t: torch.tensor([1 - 4 * t + 9 * t**2], dtype=DOUBLE)
    piece = Interpolant(0.5, 2.0, y(0.5), y(2.0), f(0.5), f(2.0))
    for t in (0.5, 0.7, 1.1, 1.9, 2.0):
        torch.testing.assert_close(piece(t), y(t), rtol=1e-13, atol=1e-13)


def test_far_from_zero_a_time_is_as_exact_whether_it_has_a_gradient_or_not() -> None:
    start = 1e6
    inside = odesolve(
        lambda t, y: -y, torch.ones(1), start, start + 1, rtol=1e-6, atol=1e-6, dense=True
    ).interpolant
    t = torch.tensor(start + 0.3333, dtype=DOUBLE, requires_grad=True)
    assert torch.equal(inside(t), inside(t.detach()))
    (slope,) = torch.autograd.grad(inside(t), t)
    torch.testing.assert_close(slope, -inside(t.detach())[0].double(), rtol=1e-4, atol=0)


def test_what_is_handed_out_may_be_changed_in_place() -> None:
    y0 = torch.ones(2, dtype=DOUBLE)
    solution = odesolve(lambda t, y: -y, y0, 0.0, 1.0, dense=True)
    end = solution.y1.clone()
    for state in (solution.interpolant(0.0), solution.interpolant(1.0), solution.y1):
        state.mul_(5)
    assert torch.equal(y0, torch.ones(2, dtype=DOUBLE))
    assert torch.equal(solution.interpolant(0.0), y0) and torch.equal(
        solution.interpolant(1.0), end
    )
    still = odesolve(lambda t, y: -y, y0, 1.0, 1.0, dense=True)
    still.interpolant(1.0).mul_(5)
    assert torch.equal(still.interpolant(1.0), y0)
