"""Step size control: accuracy for the tolerance, cost, bounds, and failure."""

import math

import pytest
import torch
from problems import DOUBLE, PROBLEMS, Problem, in_tolerance_units

from odevision import odesolve
from odevision.ode.controller import ConstantController, PIDController

ADAPTIVE = ("heun", "bosh3", "dopri5", "tsit5")
# Evaluations that the hardest of the problems may take at each tolerance.
NFE_BOUND = {
    "heun": {1e-3: 250, 1e-5: 2500},
    "bosh3": {1e-3: 80, 1e-6: 550},
    "dopri5": {1e-3: 70, 1e-6: 150},
    "tsit5": {1e-3: 70, 1e-6: 130},
}
each_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=[p.name for p in PROBLEMS])


@pytest.mark.parametrize("solver", ADAPTIVE)
@each_problem
def test_the_error_stays_below_five_tolerances_at_a_bounded_cost(
    solver: str, problem: Problem
) -> None:
    for rtol, bound in NFE_BOUND[solver].items():
        solution = odesolve(
            problem.vector_field,
            problem.y0,
            problem.t0,
            problem.t1,
            solver=solver,
            rtol=rtol,
            atol=0.1 * rtol,
        )
        assert in_tolerance_units(solution.y1, problem.y1, rtol, 0.1 * rtol) < 5
        assert solution.stats.nfe_forward <= bound


@pytest.mark.parametrize("gains", [(0.0, 1.0, 0.0), (0.4, 0.3, 0.0), (0.2, 0.4, 0.1)])
def test_every_choice_of_gains_keeps_the_tolerance(gains: tuple[float, float, float]) -> None:
    p, i, d = gains
    controller = PIDController(rtol=1e-5, atol=1e-6, proportional=p, integral=i, derivative=d)
    for problem in PROBLEMS:
        solution = odesolve(
            problem.vector_field, problem.y0, problem.t0, problem.t1, controller=controller
        )
        assert in_tolerance_units(solution.y1, problem.y1, 1e-5, 1e-6) < 5
        assert solution.stats.nfe_forward < 150


def test_an_error_in_equilibrium_with_the_tolerance_keeps_the_step_but_for_safety() -> None:
    controller = PIDController(proportional=0.4, integral=0.3, derivative=0.1, safety=0.9)
    assert controller._factor(1.0, (1.0, 1.0), 5) == pytest.approx(0.9)


def test_the_integral_controller_follows_the_law_of_the_order() -> None:
    assert PIDController()._factor(32.0, (0.5, 0.5), 5) == pytest.approx(0.9 / 2)


def test_the_proportional_part_shortens_steps_while_the_error_grows() -> None:
    controller = PIDController(proportional=0.4, integral=0.3)
    assert controller._factor(0.5, (0.1,), 5) < controller._factor(0.5, (0.5,), 5)


@pytest.mark.parametrize("solver", ADAPTIVE)
@each_problem
def test_the_field_is_never_evaluated_outside_of_the_interval(
    solver: str, problem: Problem
) -> None:
    times = []

    def f(t, y):
        times.append(float(t))
        return problem.vector_field(t, y)

    odesolve(f, problem.y0, problem.t0, problem.t1, solver=solver)
    assert problem.t0 == min(times) and max(times) <= problem.t1


@pytest.mark.parametrize("length", [1e-9, 1e-3, 0.1, 0.2, 0.7])
def test_the_first_step_estimate_stays_inside_of_short_intervals(length: float) -> None:
    times = []

    def f(t, y):
        times.append(float(t))
        return torch.zeros_like(y) + 1e-9

    t0, t1 = 0.1, 0.1 + length
    odesolve(f, torch.ones(2, 2, dtype=DOUBLE), t0, t1)
    odesolve(f, torch.ones(2, 2, dtype=DOUBLE), t1, t0)
    assert t0 == min(times) and max(times) == t1


@pytest.mark.parametrize("solver", ADAPTIVE)
@each_problem
def test_reversed_time_mirrors_forward_time(solver: str, problem: Problem) -> None:
    forward = odesolve(problem.vector_field, problem.y0, problem.t0, problem.t1, solver=solver)
    mirrored = odesolve(
        lambda t, y: -problem.vector_field(-t, y),
        problem.y0,
        -problem.t0,
        -problem.t1,
        solver=solver,
    )
    assert torch.equal(mirrored.y1, forward.y1)
    assert mirrored.stats == forward.stats


@pytest.mark.parametrize("solver", ["bosh3", "dopri5", "tsit5"])
@each_problem
def test_going_back_returns_to_the_start(solver: str, problem: Problem) -> None:
    back = odesolve(
        problem.vector_field,
        problem.y1,
        problem.t1,
        problem.t0,
        solver=solver,
        rtol=1e-6,
        atol=1e-7,
    )
    torch.testing.assert_close(back.y1, problem.y0, rtol=1e-4, atol=1e-5)


def test_a_step_is_never_longer_than_dt_max_but_for_the_landing() -> None:
    problem = PROBLEMS[0]
    controller = PIDController(dt_max=0.3, dt0=1.0)
    solution = odesolve(problem.vector_field, problem.y0, 0, 2, controller=controller)
    assert solution.stats.num_accepted_steps == math.ceil(2 / 0.3)


def test_a_given_first_step_saves_the_estimate() -> None:
    problem = PROBLEMS[0]
    controller = PIDController(dt0=0.05, rtol=1e-3, atol=1e-4)
    stats = odesolve(problem.vector_field, problem.y0, 0, 2, controller=controller).stats
    assert stats.nfe_forward == 1 + 6 * stats.num_steps


def test_a_state_at_rest_at_zero_is_no_obstacle_without_atol() -> None:
    y0 = torch.tensor([[1.0, 0.0], [2.0, 0.0]], dtype=DOUBLE)
    solution = odesolve(lambda t, y: -y, y0, 0, 1, rtol=1e-6, atol=0.0)
    torch.testing.assert_close(solution.y1, y0 * math.exp(-1), rtol=1e-5, atol=0)


def test_a_field_that_is_zero_is_crossed_in_few_steps() -> None:
    solution = odesolve(lambda t, y: torch.zeros_like(y), torch.ones(3, dtype=DOUBLE), 0, 1e3)
    assert solution.stats.num_steps <= 12
    assert torch.equal(solution.y1, torch.ones(3, dtype=DOUBLE))


def test_a_field_that_depends_on_the_scale_of_time_only_is_solved_far_from_zero() -> None:
    y0 = torch.ones(2, dtype=DOUBLE)
    solution = odesolve(lambda t, y: -1e-3 * y, y0, 1e12, 1e12 + 1000)
    torch.testing.assert_close(solution.y1, y0 * math.exp(-1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"rtol": -1.0}, "`rtol` must be a number of at least 0"),
        ({"atol": math.nan}, "`atol` must be a number"),
        ({"rtol": 0.0, "atol": 0.0}, "must not both be 0"),
        ({"safety": 0.0}, "`safety` must lie"),
        ({"min_factor": 2.0}, "`min_factor` and `max_factor`"),
        ({"max_factor": 0.5}, "`min_factor` and `max_factor`"),
        ({"dt_max": 0.0}, "`dt_max` must be positive"),
        ({"dt0": -0.1}, "`dt0` must be positive"),
    ],
)
def test_settings_under_which_no_step_could_count_are_refused(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PIDController(**options)


@pytest.mark.parametrize("num_steps", [0, -1])
def test_the_number_of_constant_steps_must_be_whole_and_positive(num_steps) -> None:
    with pytest.raises(ValueError, match="`num_steps` must be a whole number"):
        ConstantController(num_steps=num_steps)
