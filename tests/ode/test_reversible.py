"""Reversible methods: order 2 at one evaluation a step, and steps that can be undone."""

import math
from typing import Literal

import pytest
import torch
from problems import DOUBLE, PROBLEMS, Problem, error
from torch import Tensor

from odevision.ode.reversible import (
    REVERSIBLE_METHODS,
    AsynchronousLeapfrog,
    ReversibleHeun,
    ReversibleSolver,
)
from odevision.solve import odesolve

SOLVERS = (AsynchronousLeapfrog(), ReversibleHeun())
each_solver = pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.name)
each_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)


def backward(problem: Problem) -> Problem:
    y1 = problem.exact(problem.t1)
    return Problem(problem.name, problem.vector_field, y1, problem.t1, problem.t0, problem.exact)


class Walk:
    """Steps a solver to t1, keeps every state, and counts the evaluations."""

    def __init__(self, solver: ReversibleSolver, problem: Problem, num_steps: int) -> None:
        self.solver, self.problem, self.nfe = solver, problem, 0
        t0, t1, y = problem.t0, problem.t1, problem.y0
        self.grid = [t0 + (t1 - t0) * (i / num_steps) for i in range(num_steps)] + [t1]
        memory = solver.start(self.f, t0, y)
        self.pairs = [(y, memory)]
        for t0, t1 in zip(self.grid, self.grid[1:], strict=False):
            step = solver.step(self.f, t0, t1, y, None, memory, all_stages=False)
            y, memory = step.y1, step.memory
            self.pairs.append((y, memory))

    def f(self, t: float | Tensor, y: Tensor) -> Tensor:
        self.nfe += 1
        return self.problem.vector_field(torch.as_tensor(t, dtype=y.dtype.to_real()), y)

    @property
    def error(self) -> float:
        return error(self.pairs[-1][0], self.problem.exact(self.problem.t1))

    def undo(self) -> float:
        """Walk back to t0; the largest difference from any state or memory on the way."""
        worst, (y, memory) = 0.0, self.pairs[-1]
        for i in reversed(range(len(self.grid) - 1)):
            t0, t1 = self.grid[i], self.grid[i + 1]
            y, memory = self.solver.inverse_step(self.f, t0, t1, y, memory)
            met, expected = (y, *memory.states), (self.pairs[i][0], *self.pairs[i][1].states)
            worst = max(worst, *(error(a, b) for a, b in zip(met, expected, strict=True)))
        return worst


@pytest.mark.parametrize("direction", ["forward", "backward"])
@each_solver
@each_problem
def test_the_global_error_falls_with_order_two(
    problem: Problem, solver: ReversibleSolver, direction: str
) -> None:
    problem = problem if direction == "forward" else backward(problem)
    errors = [Walk(solver, problem, n).error for n in (200, 400)]
    assert -0.1 < math.log2(errors[0] / errors[1]) - solver.order < 0.6


@each_solver
def test_a_step_costs_one_evaluation(solver: ReversibleSolver) -> None:
    assert Walk(solver, PROBLEMS[3], 20).nfe == 1 + 20


@each_solver
def test_undoing_a_step_costs_one_evaluation(solver: ReversibleSolver) -> None:
    walk = Walk(solver, PROBLEMS[3], 20)
    walk.nfe = 0
    walk.undo()
    assert walk.nfe == 20


@each_solver
@each_problem
def test_a_hundred_steps_are_undone_up_to_rounding(
    problem: Problem, solver: ReversibleSolver
) -> None:
    assert Walk(solver, problem, 100).undo() < 1e-12


@each_solver
@pytest.mark.parametrize("index", [0, 3])
def test_a_hundred_steps_in_single_precision_are_undone_up_to_rounding(
    index: int, solver: ReversibleSolver
) -> None:
    p = PROBLEMS[index]
    f = p.vector_field
    if index == 3:
        f = lambda t, y: (p.vector_field(t, y.double())).float()
    single = Problem(p.name, f, p.y0.float(), p.t0, p.t1, p.exact)
    assert Walk(solver, single, 100).undo() < 1e-5


def test_damped_steps_are_undone_with_more_rounding() -> None:
    assert Walk(AsynchronousLeapfrog(damping=0.95), PROBLEMS[3], 100).undo() < 1e-9


def test_damping_lowers_leapfrog_to_order_one() -> None:
    solver = AsynchronousLeapfrog(damping=0.8)
    errors = [Walk(solver, PROBLEMS[3], n).error for n in (800, 1600)]
    assert solver.order == 1
    assert -0.1 < math.log2(errors[0] / errors[1]) - 1 < 0.1


def growth(solver: ReversibleSolver, lam: complex, num_steps: int = 400) -> float:
    """Size of y after steps of length 1 on dy/dt = lam y, relative to its start."""
    y0 = torch.tensor([1.0 + 0.0j], dtype=torch.complex128)
    problem = Problem("linear", lambda t, y: lam * y, y0, 0.0, float(num_steps), lambda t: y0)
    return float(Walk(solver, problem, num_steps).pairs[-1][0].abs())


@each_solver
def test_undamped_methods_are_stable_on_a_piece_of_the_imaginary_axis(
    solver: ReversibleSolver,
) -> None:
    assert growth(solver, 0.98j) < 20
    assert growth(solver, 1.02j) > 1e6
    assert growth(solver, -0.1) > 1e6


@pytest.mark.parametrize("damping", [0.3, 0.6, 0.75, 0.9])
def test_damping_opens_an_interval_of_the_real_axis(damping: float) -> None:
    solver, end = AsynchronousLeapfrog(damping=damping), -2 * (1 - damping) / damping
    assert growth(solver, 0.97 * end) < 0.1
    assert growth(solver, 1.1 * end, 2000) > 1e3


@pytest.mark.parametrize("damping", [0.0, 0.5, 1.5, math.nan])
def test_a_damping_without_an_inverse_is_refused(damping: float) -> None:
    with pytest.raises(ValueError, match="`damping` must lie in"):
        AsynchronousLeapfrog(damping=damping)


@each_solver
def test_a_step_changes_nothing_that_it_was_given(solver: ReversibleSolver) -> None:
    walk = Walk(solver, PROBLEMS[4], 3)
    y, memory = walk.pairs[-1]
    versions = [x._version for x in (y, *memory.states)]
    solver.step(walk.f, 2.0, 2.1, y, None, memory, all_stages=False)
    solver.inverse_step(walk.f, 1.9, 2.0, y, memory)
    assert [x._version for x in (y, *memory.states)] == versions


def test_the_first_steps_are_those_of_the_published_formulas() -> None:
    f = lambda t, y: torch.sin(torch.as_tensor(t, dtype=DOUBLE) + y)
    y0, dt = torch.tensor([0.3, -1.0], dtype=DOUBLE), 0.2
    leapfrog, heun = SOLVERS
    step = leapfrog.step(f, 0.0, dt, y0, None, leapfrog.start(f, 0.0, y0), all_stages=False)
    v = 2 * f(0.1, y0 + 0.1 * f(0.0, y0)) - f(0.0, y0)
    torch.testing.assert_close(step.y1, y0 + 0.1 * (f(0.0, y0) + v), rtol=1e-14, atol=0)
    step = heun.step(f, 0.0, dt, y0, None, heun.start(f, 0.0, y0), all_stages=False)
    z = y0 + dt * f(0.0, y0)
    torch.testing.assert_close(step.y1, y0 + 0.1 * (f(0.0, y0) + f(dt, z)), rtol=1e-14, atol=0)


def test_both_methods_have_their_names() -> None:
    assert list(REVERSIBLE_METHODS) == ["leapfrog", "reversible-heun"]


@pytest.mark.parametrize("num_steps", [3, 10, 25])
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize(
    "solver", [*SOLVERS, AsynchronousLeapfrog(damping=0.9)], ids=["leapfrog", "heun", "damped"]
)
def test_the_recomputed_gradient_is_the_recorded_one(
    solver: ReversibleSolver, backward: bool, num_steps: int
) -> None:
    direct, checkpointed = (
        gradients_of_a_solve(solver, gradient, backward, num_steps)
        for gradient in ("direct", "checkpointed")
    )
    torch.testing.assert_close(checkpointed, direct, rtol=1e-8, atol=1e-10)


def gradients_of_a_solve(
    solver: ReversibleSolver,
    gradient: Literal["direct", "checkpointed"],
    backward: bool,
    num_steps: int,
) -> tuple[Tensor, ...]:
    """Gradients to y0 and a matrix in f, of a loss on states saved within steps and on the end."""
    y0 = torch.linspace(-1, 1, 6, dtype=DOUBLE).view(3, 2).requires_grad_()
    matrix = torch.tensor([[0.3, -1.2], [0.9, 0.1]], dtype=DOUBLE, requires_grad=True)
    times = [0.0, 0.3, 1.97, 2.0]
    if backward:
        times.reverse()
    solution = odesolve(
        lambda t, y: torch.tanh(y @ matrix) + torch.sin(3 * t) * y,
        y0,
        times[0],
        times[-1],
        solver=solver,
        num_steps=num_steps,
        save_at=times[1:],
        gradient=gradient,
    )
    return torch.autograd.grad((solution.ys**2).sum(), [y0, matrix])
