"""Every tableau has the order that it claims, in its solution, error estimate and dense output."""

import dataclasses
import math
from fractions import Fraction

import pytest
import torch
from problems import DOUBLE, PROBLEMS, Problem, error
from rooted_trees import defect, trees

from odevision import odesolve
from odevision.ode.interpolation import interpolate
from odevision.ode.methods import METHODS
from odevision.ode.runge_kutta import ExplicitRungeKutta, Step
from odevision.ode.tableau import ButcherTableau

ADAPTIVE = [tableau for tableau in METHODS.values() if tableau.embedded_order is not None]
STEPS = {"euler": 256, "midpoint": 64, "heun": 64, "rk4": 24, "bosh3": 128, "dopri5": 24}

each_method = pytest.mark.parametrize("tableau", METHODS.values(), ids=list(METHODS))
each_pair = pytest.mark.parametrize("tableau", ADAPTIVE, ids=[t.name for t in ADAPTIVE])
each_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=[p.name for p in PROBLEMS])


def worst_defect(tableau: ButcherTableau, b: tuple, num_nodes: int) -> float:
    return max(defect(tree, tableau.a, b) for tree in trees(num_nodes))


@each_method
def test_solution_weights_meet_all_conditions_up_to_the_order(tableau: ButcherTableau) -> None:
    for num_nodes in range(1, tableau.order + 1):
        assert worst_defect(tableau, tableau.b, num_nodes) < 1e-13


@each_method
def test_solution_weights_miss_a_condition_of_the_next_order(tableau: ButcherTableau) -> None:
    assert worst_defect(tableau, tableau.b, tableau.order + 1) > 1e-6


@each_pair
def test_embedded_weights_meet_all_conditions_up_to_their_order(tableau: ButcherTableau) -> None:
    assert tableau.embedded_order is not None and tableau.b_embedded is not None
    for num_nodes in range(1, tableau.embedded_order + 1):
        assert worst_defect(tableau, tableau.b_embedded, num_nodes) < 1e-13


@each_pair
def test_embedded_weights_miss_a_condition_of_the_next_order(tableau: ButcherTableau) -> None:
    assert tableau.embedded_order is not None and tableau.b_embedded is not None
    assert worst_defect(tableau, tableau.b_embedded, tableau.embedded_order + 1) > 1e-6


def test_the_conditions_catch_two_swapped_error_weights_of_dopri5() -> None:
    tableau = METHODS["dopri5"]
    assert tableau.b_embedded is not None
    swapped = list(tableau.b_embedded)
    swapped[3], swapped[4] = swapped[4], swapped[3]
    assert worst_defect(tableau, tuple(swapped), 2) > 1e-6


@each_pair
def test_error_weights_are_the_difference_of_the_two_solutions(tableau: ButcherTableau) -> None:
    assert tableau.b_embedded is not None and tableau.error_weights is not None
    difference = [float(b - e) for b, e in zip(tableau.b, tableau.b_embedded, strict=True)]
    assert list(tableau.error_weights) == pytest.approx(difference, abs=1e-16)


@pytest.mark.parametrize(
    "name, stages, last_is_first",
    [
        ("euler", 1, False),
        ("midpoint", 2, False),
        ("heun", 2, False),
        ("rk4", 4, False),
        ("bosh3", 4, True),
        ("dopri5", 7, True),
        ("tsit5", 7, True),
    ],
)
def test_stages_and_fsal_are_those_of_the_literature(
    name: str, stages: int, last_is_first: bool
) -> None:
    assert (METHODS[name].num_stages, METHODS[name].fsal) == (stages, last_is_first)


@each_method
@each_problem
def test_the_global_error_falls_with_the_order(tableau: ButcherTableau, problem: Problem) -> None:
    num_steps = STEPS.get(tableau.name, 32)
    errors = []
    for n in (num_steps, 2 * num_steps):
        solution = odesolve(
            problem.vector_field,
            problem.y0,
            problem.t0,
            problem.t1,
            solver=tableau.name,
            num_steps=n,
        )
        errors.append(error(solution.y1, problem.y1))
    assert -0.1 < math.log2(errors[0] / errors[1]) - tableau.order < 0.6


@each_pair
@each_problem
def test_the_error_estimate_falls_with_the_embedded_order(
    tableau: ButcherTableau, problem: Problem
) -> None:
    def f(t: float, y: torch.Tensor) -> torch.Tensor:
        return problem.vector_field(torch.tensor(t, dtype=DOUBLE), y)

    solver, t = ExplicitRungeKutta(tableau), problem.t0 + 0.2
    errors = []
    for dt in (0.02, 0.01):
        step = solver.step(f, t, t + dt, problem.exact(t), None, all_stages=True)
        errors.append(float(solver.error(step).abs().max()))
    assert tableau.embedded_order is not None
    assert -0.1 < math.log2(errors[0] / errors[1]) - (tableau.embedded_order + 1) < 0.6


def dense_weights(tableau: ButcherTableau, theta: Fraction) -> tuple[list, list[float]]:
    """Rows of a, f(t1, y1) added as a stage where the method lacks it, and the b at theta."""
    a, b = list(tableau.a), tableau.b
    if not tableau.fsal:
        a.append(b)
    k = list(torch.eye(len(a), dtype=DOUBLE))
    zero = torch.zeros(len(a), dtype=DOUBLE)
    y1 = sum((float(x) * k_i for x, k_i in zip(b, k, strict=False)), zero)
    step = Step(0.0, 1.0, zero, y1, k[: tableau.num_stages], k[-1])
    return a, interpolate(step, k[-1], tableau, float(theta)).tolist()


@each_method
@pytest.mark.parametrize("theta", [Fraction(1, 8), Fraction(1, 2), Fraction(7, 8)])
def test_dense_output_meets_all_conditions_up_to_its_order(
    tableau: ButcherTableau, theta: Fraction
) -> None:
    a, b = dense_weights(tableau, theta)
    order = 4 if tableau.b_dense is not None else min(3, tableau.order)
    for num_nodes in range(1, order + 1):
        assert max(defect(tree, a, b, theta) for tree in trees(num_nodes)) < 1e-13
    assert max(defect(tree, a, b, theta) for tree in trees(order + 1)) > 1e-6


@each_method
def test_dense_output_meets_the_step_at_both_ends(tableau: ButcherTableau) -> None:
    problem = PROBLEMS[0]
    solver = ExplicitRungeKutta(tableau)
    f = lambda t, y: problem.vector_field(torch.tensor(t, dtype=DOUBLE), y)
    step = solver.step(f, 0.0, 0.5, problem.y0, None, all_stages=True)
    f1 = f(0.5, step.y1)
    near_end = interpolate(step, f1, tableau, 0.5 * (1 - 1e-9))
    torch.testing.assert_close(near_end, step.y1, rtol=0, atol=1e-8)
    assert interpolate(step, f1, tableau, 0.5) is step.y1
    assert interpolate(step, f1, tableau, 0.0) is step.y0


@pytest.mark.parametrize(
    "change, message",
    [
        ({"b": (Fraction(1, 2), Fraction(1, 3))}, "b must sum to 1"),
        ({"c": (0, Fraction(1, 2))}, "a row of a must sum to"),
        ({"c": (0,)}, "must have 2 times"),
        ({"embedded_order": None}, "together"),
        ({"b_embedded": (1,)}, "b_embedded must have 2 weights"),
        ({"b_dense": (1, 0)}, "b_dense must sum to 0"),
    ],
)
def test_a_tableau_refuses_coefficients_that_contradict_one_another(
    change: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(METHODS["heun"], **change)
