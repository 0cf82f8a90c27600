"""Every tableau has the order that it claims, in its solution, error estimate and dense output."""

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from problems import DOUBLE, PROBLEMS, Problem, error
from rooted_trees import worst_defect
from torch import Tensor

from odevision import odesolve
from odevision.ode.interpolation import Interpolant
from odevision.ode.methods import METHODS
from odevision.ode.runge_kutta import ExplicitRungeKutta
from odevision.ode.solver import Memory, Step
from odevision.ode.tableau import ButcherTableau

ADAPTIVE = [tableau for tableau in METHODS.values() if tableau.embedded_order is not None]
STEPS = {"euler": 256, "rk4": 24, "heun3": 128, "bosh3": 128, "dopri5": 24, "tsit5": 32}
STEPS |= {name: 64 for name in ("midpoint", "heun", "heun2", "ralston", "fehlberg2", "rk4-38")}
# There is little room between steps too coarse to show order 8 and errors at rounding level. On the
# other two problems all of it shows a higher order, as leading terms of the error cancel.
DOPRI8_STEPS = {"logistic": 6, "forced growth": 5, "complex rotation": 6}

each_method = pytest.mark.parametrize("tableau", METHODS.values(), ids=list(METHODS))
each_pair = pytest.mark.parametrize("tableau", ADAPTIVE, ids=[t.name for t in ADAPTIVE])
each_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=[p.name for p in PROBLEMS])


def field_of(problem: Problem) -> Callable[[float | Tensor, Tensor], Tensor]:
    return lambda t, y: problem.vector_field(torch.as_tensor(t, dtype=DOUBLE), y)


@each_method
def test_solution_weights_meet_all_conditions_up_to_the_order(tableau: ButcherTableau) -> None:
    for num_nodes in range(1, tableau.order + 1):
        assert worst_defect(num_nodes, tableau.a, tableau.b) < 1e-13


@each_method
def test_solution_weights_miss_a_condition_of_the_next_order(tableau: ButcherTableau) -> None:
    assert worst_defect(tableau.order + 1, tableau.a, tableau.b) > 1e-6


@each_pair
def test_embedded_weights_meet_all_conditions_up_to_their_order(tableau: ButcherTableau) -> None:
    assert tableau.embedded_order is not None and tableau.b_embedded is not None
    for num_nodes in range(1, tableau.embedded_order + 1):
        assert worst_defect(num_nodes, tableau.a, tableau.b_embedded) < 1e-13


@each_pair
def test_embedded_weights_miss_a_condition_of_the_next_order(tableau: ButcherTableau) -> None:
    assert tableau.embedded_order is not None and tableau.b_embedded is not None
    order = tableau.embedded_order
    assert worst_defect(order + 1, tableau.a, tableau.b_embedded) > 1e-6


def test_the_conditions_catch_two_swapped_error_weights_of_dopri5() -> None:
    tableau = METHODS["dopri5"]
    assert tableau.b_embedded is not None
    swapped = list(tableau.b_embedded)
    swapped[3], swapped[4] = swapped[4], swapped[3]
    assert worst_defect(2, tableau.a, swapped) > 1e-6


@each_pair
def test_error_weights_are_the_difference_of_the_two_solutions(tableau: ButcherTableau) -> None:
    assert tableau.b_embedded is not None and tableau.error_row is not None
    difference = [float(b - e) for b, e in zip(tableau.b, tableau.b_embedded, strict=True)]
    assert list(tableau.error_row.all) == pytest.approx(difference, abs=1e-16)


@pytest.mark.parametrize(
    "name, stages, last_is_first",
    [
        ("euler", 1, False),
        ("midpoint", 2, False),
        ("heun", 2, False),
        ("heun2", 2, False),
        ("heun3", 3, False),
        ("ralston", 2, False),
        ("rk4", 4, False),
        ("rk4-38", 4, False),
        ("bosh3", 4, True),
        ("fehlberg2", 3, False),
        ("tsit5", 7, True),
        ("dopri5", 7, True),
        ("dopri8", 13, False),
    ],
)
def test_stages_and_fsal_are_those_of_the_literature(
    name: str, stages: int, last_is_first: bool
) -> None:
    assert (METHODS[name].num_stages, METHODS[name].fsal) == (stages, last_is_first)


def test_methods_stand_in_the_list_by_their_own_names_simplest_first() -> None:
    assert list(METHODS) == [
        *("euler", "midpoint", "heun", "heun2", "heun3", "ralston", "rk4", "rk4-38"),
        *("bosh3", "fehlberg2", "tsit5", "dopri5", "dopri8"),
    ]
    assert all(tableau.name == name for name, tableau in METHODS.items())


@pytest.mark.parametrize(
    "tableau, problem, num_steps",
    [
        pytest.param(tableau, problem, steps, id=f"{tableau.name}-{problem.name}")
        for tableau in METHODS.values()
        for problem in PROBLEMS
        if (steps := STEPS.get(tableau.name) or DOPRI8_STEPS.get(problem.name))
    ],
)
def test_the_global_error_falls_with_the_order(
    tableau: ButcherTableau, problem: Problem, num_steps: int
) -> None:
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
    # Algebraic decay has a zero of the eighth derivative near 0.2.
    t = problem.t0 + (0.4 if problem.name == "algebraic decay" else 0.2)
    longest = 0.16 if tableau.order == 8 else 0.02
    solver, errors = ExplicitRungeKutta(tableau), []
    for dt in (longest, longest / 2):
        y0 = problem.exact(t)
        step = solver.step(field_of(problem), t, t + dt, y0, None, Memory(), all_stages=True)
        errors.append(float(solver.error(step).abs().max()))
    assert tableau.embedded_order is not None
    assert -0.1 < math.log2(errors[0] / errors[1]) - (tableau.embedded_order + 1) < 0.6


@pytest.mark.parametrize("name", ["fehlberg2", "heun"])
def test_a_pair_without_fsal_evaluates_f_at_the_start_of_each_step(name: str) -> None:
    problem = PROBLEMS[0]
    solver = ExplicitRungeKutta(METHODS[name])
    step = solver.step(field_of(problem), 0.0, 0.5, problem.y0, None, Memory(), all_stages=True)
    assert step.f1 is None
    assert error(step.k[-1], field_of(problem)(0.5, step.y1)) > 1e-4


def dense_weights(tableau: ButcherTableau, theta: Fraction) -> tuple[list, list[float]]:
    """Rows of a, f(t1, y1) added as a stage where the method lacks it, and the b at theta."""
    a, b = list(tableau.a), tableau.b
    if not tableau.fsal:
        a.append(b)
    k = list(torch.eye(len(a), dtype=DOUBLE))
    zero = torch.zeros(len(a), dtype=DOUBLE)
    y1 = sum((float(x) * k_i for x, k_i in zip(b, k, strict=False)), zero)
    step = Step(0.0, 1.0, zero, y1, k[: tableau.num_stages], k[0], k[-1])
    bump = ExplicitRungeKutta(tableau).bump(step)
    inside = Interpolant(0.0, 1.0, zero, y1, k[0], k[-1], bump)
    return a, inside(float(theta)).tolist()


@each_method
@pytest.mark.parametrize("theta", [Fraction(1, 8), Fraction(3, 8), Fraction(7, 8)])
def test_dense_output_meets_all_conditions_up_to_its_order(
    tableau: ButcherTableau, theta: Fraction
) -> None:
    a, b = dense_weights(tableau, theta)
    order = 4 if tableau.b_dense is not None else min(3, tableau.order)
    for num_nodes in range(1, order + 1):
        assert worst_defect(num_nodes, a, b, theta) < 1e-13
    assert worst_defect(order + 1, a, b, theta) > 1e-6


def test_dense_output_of_dopri8_has_order_5_in_the_middle_of_the_step() -> None:
    a, b = dense_weights(METHODS["dopri8"], Fraction(1, 2))
    assert worst_defect(5, a, b, Fraction(1, 2)) < 1e-13
    assert worst_defect(6, a, b, Fraction(1, 2)) > 1e-6


def error_inside(tableau: ButcherTableau, problem: Problem, dt: float, theta: float) -> float:
    """Error of the dense output of one step from the exact state."""
    solver, f, t = ExplicitRungeKutta(tableau), field_of(problem), problem.t0 + 0.2
    step = solver.step(f, t, t + dt, problem.exact(t), None, Memory(), all_stages=True)
    f1 = f(t + dt, step.y1)
    inside = Interpolant(t, t + dt, step.y0, step.y1, step.k[0], f1, solver.bump(step))
    return error(inside(t + theta * dt), problem.exact(t + theta * dt))


@pytest.mark.parametrize("name", ["tsit5", "dopri5", "dopri8"])
@each_problem
def test_the_error_inside_a_step_falls_with_order_4(name: str, problem: Problem) -> None:
    errors = [error_inside(METHODS[name], problem, dt, 0.25) for dt in (0.04, 0.02)]
    assert -0.1 < math.log2(errors[0] / errors[1]) - 5 < 0.6


@each_method
def test_dense_output_meets_the_step_at_both_ends(tableau: ButcherTableau) -> None:
    problem = PROBLEMS[0]
    solver, f = ExplicitRungeKutta(tableau), field_of(problem)
    step = solver.step(f, 0.0, 0.5, problem.y0, None, Memory(), all_stages=True)
    bump = solver.bump(step)
    inside = Interpolant(0.0, 0.5, step.y0, step.y1, step.k[0], f(0.5, step.y1), bump)
    torch.testing.assert_close(inside(0.5 * (1 - 1e-9)), step.y1, rtol=0, atol=1e-8)
    assert inside(0.5) is step.y1
    assert inside(0.0) is step.y0


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
