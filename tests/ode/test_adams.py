"""Adams methods keep their order from the first step on, on any grid, in both directions."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Literal

import pytest
import torch
from problems import DOUBLE, PROBLEMS, Problem, error
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from odevision.ode.adams import ADAMS_METHODS, Adams, adams_weights, extrapolated_midpoint
from odevision.ode.solver import AbstractSolver, Memory
from odevision.solve import odesolve

each_method = pytest.mark.parametrize("name", ADAMS_METHODS)
each_family = pytest.mark.parametrize("implicit", [False, True], ids=["bashforth", "moulton"])
PHASES = torch.tensor([0.0, 1.0], dtype=DOUBLE)


def oscillation() -> Problem:
    """y follows cos(6 t + phase). The slow decay keeps order 12 stable at measurable errors."""
    return Problem(
        "oscillation",
        lambda t, y: -6 * torch.sin(6 * t + PHASES) - 0.05 * (y - torch.cos(6 * t + PHASES)),
        torch.cos(PHASES),
        0.0,
        2.0,
        lambda t: torch.cos(6 * t + PHASES),
    )


def backward(problem: Problem) -> Problem:
    y1 = problem.exact(problem.t1)
    return Problem(problem.name, problem.vector_field, y1, problem.t1, problem.t0, problem.exact)


def equal_grid(problem: Problem, num_steps: int) -> list[float]:
    t0, t1 = problem.t0, problem.t1
    return [t0 + (t1 - t0) * (i / num_steps) for i in range(num_steps)] + [t1]


def uneven_grid(problem: Problem, num_steps: int) -> list[float]:
    """Steps that repeat the pattern 1, 0.8, 1.3, 0.9."""
    lengths = [(1.0, 0.8, 1.3, 0.9)[i % 4] for i in range(num_steps)]
    t0, t1, total = problem.t0, problem.t1, sum(lengths)
    return [t0 + (t1 - t0) * (sum(lengths[:i]) / total) for i in range(num_steps)] + [t1]


class Walk:
    """Steps a solver along a grid, and counts the evaluations."""

    def __init__(self, solver: AbstractSolver, problem: Problem, grid: list[float]) -> None:
        self.problem, self.nfe = problem, 0
        self.y, self.memory = problem.y0, solver.start(self.f, grid[0], problem.y0)
        for t0, t1 in zip(grid, grid[1:], strict=False):
            step = solver.step(self.f, t0, t1, self.y, None, self.memory, all_stages=False)
            self.y, self.memory = step.y1, step.memory
        self.error = error(self.y, problem.exact(grid[-1]))

    def f(self, t: float | Tensor, y: Tensor) -> Tensor:
        self.nfe += 1
        return self.problem.vector_field(torch.as_tensor(t, dtype=DOUBLE), y)


def slope(
    solver: AbstractSolver,
    problem: Problem,
    grid: Callable[[Problem, int], list[float]],
    counts: tuple[int, int],
) -> float:
    """Measured order between two numbers of steps."""
    errors = [Walk(solver, problem, grid(problem, count)).error for count in counts]
    return math.log(errors[0] / errors[1]) / math.log(counts[1] / counts[0])


def start_up_nfe(order: int) -> int:
    return (order - 1) * (((order + 1) // 2) ** 2 + 1)


@pytest.mark.parametrize(
    "nodes, expected",
    [
        ([0.0], "1"),
        ([0.0, -1.0], "3/2 -1/2"),
        ([0.0, -1.0, -2.0, -3.0], "55/24 -59/24 37/24 -9/24"),
        ([1.0, 0.0], "1/2 1/2"),
        ([1.0, 0.0, -1.0, -2.0], "9/24 19/24 -5/24 1/24"),
        (
            [1.0, 0.0, -1.0, -2.0, -3.0, -4.0],
            "475/1440 1427/1440 -798/1440 482/1440 -173/1440 27/1440",
        ),
    ],
)
def test_weights_on_equal_steps_are_those_of_the_literature(
    nodes: list[float], expected: str
) -> None:
    exact = [float(Fraction(word)) for word in expected.split()]
    assert adams_weights(nodes) == pytest.approx(exact, abs=1e-14)


@pytest.mark.parametrize("first", [0.0, 1.0])
@pytest.mark.parametrize("count", range(1, 13))
def test_weights_integrate_all_polynomials_that_the_slopes_determine(
    count: int, first: float
) -> None:
    gaps = [1.0, 0.3, 2.0, 0.7, 1.1, 0.45, 1.6, 0.9, 0.35, 1.2, 0.8]
    nodes = [first - sum(gaps[:i]) for i in range(count)]
    weights = adams_weights(nodes)
    for degree in range(count):
        terms = [w * x**degree for w, x in zip(weights, nodes, strict=True)]
        assert abs(math.fsum(terms) - 1 / (degree + 1)) < 1e-13 * max(map(abs, [1.0, *terms]))


@pytest.mark.parametrize("direction", ["forward", "backward"])
@each_method
def test_the_global_error_falls_with_the_order(name: str, direction: str) -> None:
    problem = oscillation() if direction == "forward" else backward(oscillation())
    solver = ADAMS_METHODS[name]
    assert -0.1 < slope(solver, problem, equal_grid, (80, 96)) - solver.order < 0.6


@pytest.mark.parametrize("problem", [PROBLEMS[1], PROBLEMS[4]], ids=lambda p: p.name)
@pytest.mark.parametrize("name", [name for name, s in ADAMS_METHODS.items() if s.order <= 6])
def test_the_order_holds_where_the_slope_is_made_of_the_state(name: str, problem: Problem) -> None:
    solver = ADAMS_METHODS[name]
    assert -0.35 < slope(solver, problem, equal_grid, (128, 160)) - solver.order < 0.6


@each_method
def test_the_order_holds_on_uneven_steps(name: str) -> None:
    solver = ADAMS_METHODS[name]
    assert -0.25 < slope(solver, oscillation(), uneven_grid, (80, 96)) - solver.order < 1.0


@each_method
def test_uneven_steps_cost_no_more_evaluations_than_equal_ones(name: str) -> None:
    solver, problem = ADAMS_METHODS[name], oscillation()
    equal = Walk(solver, problem, equal_grid(problem, 40))
    assert Walk(solver, problem, uneven_grid(problem, 40)).nfe == equal.nfe


@pytest.mark.parametrize("columns", range(1, 7))
def test_the_starter_has_twice_as_many_orders_as_columns(columns: int) -> None:
    problem = PROBLEMS[4]
    f = lambda t, y: problem.vector_field(torch.as_tensor(t, dtype=DOUBLE), y)
    errors = []
    for dt in (0.5, 0.4):
        f0 = f(0.4, problem.exact(0.4))
        y1 = extrapolated_midpoint(f, 0.4, 0.4 + dt, problem.exact(0.4), f0, columns=columns)
        errors.append(error(y1, problem.exact(0.4 + dt)))
    measured = math.log(errors[0] / errors[1]) / math.log(0.5 / 0.4)
    assert -0.4 < measured - (2 * columns + 1) < 1.0


@each_family
@pytest.mark.parametrize("order", range(1, 13))
def test_a_step_after_the_start_costs_one_evaluation_or_two(order: int, implicit: bool) -> None:
    problem = oscillation()
    walk = Walk(Adams(order=order, implicit=implicit), problem, equal_grid(problem, 30))
    assert walk.nfe == start_up_nfe(order) + (31 - order) * (2 if implicit else 1)


@each_family
@pytest.mark.parametrize("order", [2, 5, 12])
def test_the_memory_holds_the_newest_slopes_and_one_to_spare(order: int, implicit: bool) -> None:
    problem = oscillation()
    grid = equal_grid(problem, 20)
    walk = Walk(Adams(order=order, implicit=implicit), problem, grid)
    assert list(walk.memory.times) == grid[-2 : -order - 2 : -1]
    assert len(walk.memory.states) == order


@each_family
def test_a_shortened_last_step_needs_no_restart(implicit: bool) -> None:
    problem, solver = oscillation(), Adams(order=8, implicit=implicit)
    grid = equal_grid(problem, 80)
    walk = Walk(solver, problem, [*grid[:-1], 1.99])
    assert walk.nfe == start_up_nfe(8) + (80 - 7) * (2 if implicit else 1)
    assert walk.error < 1.5 * Walk(solver, problem, grid).error


@each_family
@pytest.mark.parametrize("gap", [1e-3, 1e-8, 1e-15])
def test_a_tiny_step_on_the_way_costs_no_start_up_step_and_no_accuracy(
    implicit: bool, gap: float
) -> None:
    problem, solver = oscillation(), Adams(order=8, implicit=implicit)
    grid = equal_grid(problem, 80)
    plain = Walk(solver, problem, grid)
    walk = Walk(solver, problem, sorted([*grid, grid[40] + gap]))
    assert walk.error < 1.5 * plain.error
    assert walk.nfe == plain.nfe + (2 if implicit else 1)


@each_family
def test_a_step_much_longer_than_those_before_does_not_blow_up(implicit: bool) -> None:
    problem, solver = PROBLEMS[4], Adams(order=8, implicit=implicit)
    grid = [i * 0.005 for i in range(41)] + [0.4 + i * 0.1 for i in range(17)]
    assert Walk(solver, problem, grid).error < 1e-5


@each_family
def test_a_step_too_short_to_divide_by_is_still_made(implicit: bool) -> None:
    problem, solver = oscillation(), Adams(order=12, implicit=implicit)
    walk = Walk(solver, problem, [-0.05 * (13 - i) for i in range(14)])
    step = solver.step(walk.f, 0.0, 1e-60, walk.y, None, walk.memory, all_stages=False)
    assert torch.equal(step.y1, walk.y)


def test_a_single_correction_is_predict_evaluate_correct_evaluate() -> None:
    problem, dt = oscillation(), 0.1
    walk = Walk(Adams(order=2, implicit=True), problem, [0.0, dt])
    t, y0, f0 = dt, walk.y, walk.f(dt, walk.y)
    predicted = y0 + dt * (1.5 * f0 - 0.5 * walk.memory.states[0])
    expected = y0 + dt / 2 * (f0 + walk.f(t + dt, predicted))
    solver = Adams(order=2, implicit=True)
    step = solver.step(walk.f, t, t + dt, y0, None, walk.memory, all_stages=False)
    torch.testing.assert_close(step.y1, expected, rtol=1e-14, atol=0)


def test_corrections_to_a_tolerance_solve_the_implicit_equation() -> None:
    solver = Adams(order=2, implicit=True, max_iters=50, rtol=1e-14)
    f = lambda t, y: -2 * y
    y0 = torch.tensor([1.0, -3.0], dtype=DOUBLE)
    step = solver.step(f, 0.0, 0.1, y0, None, Memory((f(0.0, y0),), (-0.1,)), all_stages=False)
    torch.testing.assert_close(step.y1, y0 * (1 - 0.1) / (1 + 0.1), rtol=1e-13, atol=0)
    assert 5 < len(step.k) < 30


def test_corrections_that_do_not_settle_are_reported() -> None:
    solver = Adams(order=2, implicit=True, max_iters=3, rtol=1e-14)
    f = lambda t, y: -2 * y
    y0 = torch.tensor([1.0], dtype=DOUBLE)
    with pytest.warns(UserWarning, match="did not converge in 3 corrections"):
        solver.step(f, 0.0, 0.1, y0, None, Memory((f(0.0, y0),), (-0.1,)), all_stages=False)


class NoHostReads(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # noqa: ANN001
        assert "_local_scalar_dense" not in str(func), "a tensor was read on the host"
        return func(*args, **(kwargs or {}))


@each_method
def test_no_step_reads_a_tensor_on_the_host(name: str) -> None:
    with NoHostReads():
        y, memory = torch.ones(3), Memory()
        for i in range(14):
            f = lambda t, y: -y
            step = ADAMS_METHODS[name].step(f, float(i), i + 1.0, y, None, memory, all_stages=True)
            y, memory = step.y1, step.memory


@each_method
def test_a_step_changes_nothing_that_it_was_given(name: str) -> None:
    problem = PROBLEMS[4]
    walk = Walk(ADAMS_METHODS[name], problem, [0.02 * i for i in range(14)])
    versions = [x._version for x in (walk.y, *walk.memory.states)]
    ADAMS_METHODS[name].step(walk.f, 0.26, 0.28, walk.y, None, walk.memory, all_stages=False)
    assert [x._version for x in (walk.y, *walk.memory.states)] == versions


@each_method
def test_steps_run_under_vmap(name: str) -> None:
    def end(y: Tensor) -> Tensor:
        memory = Memory()
        for i in range(14):
            f = lambda t, y: torch.cos(y)
            t0, t1 = 0.01 * i, 0.01 * (i + 1)
            step = ADAMS_METHODS[name].step(f, t0, t1, y, None, memory, all_stages=False)
            y, memory = step.y1, step.memory
        return y

    y0 = torch.linspace(-1, 1, 6, dtype=DOUBLE).view(3, 2)
    torch.testing.assert_close(torch.func.vmap(end)(y0), end(y0), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"order": 0}, "`order` must be"),
        ({"order": 13}, "`order` must be"),
        ({"order": 4, "implicit": True, "max_iters": 0}, "`max_iters` must be"),
        ({"order": 4, "max_iters": 3}, "left out where `implicit` is False"),
        ({"order": 4, "rtol": 1e-3}, "left out where `implicit` is False"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Adams(**settings)


def test_every_order_has_its_two_names() -> None:
    for order in range(1, 13):
        assert ADAMS_METHODS[f"adams-bashforth{order}"] == Adams(order=order)
        assert ADAMS_METHODS[f"adams-moulton{order}"] == Adams(order=order, implicit=True)
    assert len(ADAMS_METHODS) == 24


@pytest.mark.parametrize("name", ["adams-bashforth3", "adams-moulton6", "adams-moulton9"])
def test_saved_times_inside_steps_are_as_accurate_as_steps(name: str) -> None:
    problem, solver, times = oscillation(), ADAMS_METHODS[name], [0.4321, 1.2345, 1.777]
    exact = torch.stack([problem.exact(t) for t in times])
    errors = []
    for count in (64, 96):
        solution = odesolve(
            problem.vector_field,
            problem.y0,
            problem.t0,
            problem.t1,
            solver=solver,
            num_steps=count,
            save_at=times,
        )
        errors.append(error(solution.ys, exact))
    assert math.log(errors[0] / errors[1]) / math.log(96 / 64) > solver.order - 0.5


@pytest.mark.parametrize("num_steps", [3, 10, 25])
@pytest.mark.parametrize(
    "name",
    [f"adams-{family}{order}" for family in ("bashforth", "moulton") for order in (1, 2, 4, 7, 12)],
)
def test_the_recomputed_gradient_is_the_recorded_one(name: str, num_steps: int) -> None:
    direct, checkpointed = (
        gradients_of_a_solve(ADAMS_METHODS[name], gradient, num_steps)
        for gradient in ("direct", "checkpointed")
    )
    torch.testing.assert_close(checkpointed, direct, rtol=1e-8, atol=1e-10)


def gradients_of_a_solve(
    solver: AbstractSolver, gradient: Literal["direct", "checkpointed"], num_steps: int
) -> tuple[Tensor, ...]:
    """Gradients to y0 and a matrix in f, of a loss on states saved within steps and on the end."""
    y0 = torch.linspace(-1, 1, 6, dtype=DOUBLE).view(3, 2).requires_grad_()
    matrix = torch.tensor([[0.3, -1.2], [0.9, 0.1]], dtype=DOUBLE, requires_grad=True)
    solution = odesolve(
        lambda t, y: torch.tanh(y @ matrix) + torch.sin(3 * t) * y,
        y0,
        0.0,
        2.0,
        solver=solver,
        num_steps=num_steps,
        save_at=[0.3, 1.97, 2.0],
        gradient=gradient,
    )
    return torch.autograd.grad((solution.ys**2).sum(), [y0, matrix])
