"""Bounds on the step size, warm starts, gains and tolerances entry by entry."""

import math

import pytest
import torch
from problems import DOUBLE, PROBLEMS, error, in_tolerance_units

from odevision import PIDController, SolveError, odesolve
from odevision.ode.solution import Result

LOGISTIC = PROBLEMS[0]
ONE = torch.ones(2, 1, dtype=DOUBLE)


def lengths(solution) -> list[float]:
    return [
        abs(b - a) for a, b in zip(solution.ts.tolist(), solution.ts.tolist()[1:], strict=False)
    ]


def steep(t, y):
    """A rapid change around t = 0.5 that asks for short steps."""
    return 50 * torch.exp(-((50 * (t - 0.5)) ** 2)) * y


@pytest.mark.parametrize("t0", [0.0, 0.3, 7.1, -0.7])
@pytest.mark.parametrize("dt_min", [0.1, 0.07])
def test_a_step_of_dt_min_counts_whatever_its_error(t0: float, dt_min: float) -> None:
    f = lambda t, y: steep(t - t0, y)
    controller = PIDController(rtol=1e-8, atol=1e-8, dt_min=dt_min)
    solution = odesolve(f, ONE, t0, t0 + 1, controller=controller, save_at="steps", max_steps=100)
    assert min(lengths(solution)[:-1]) >= dt_min * (1 - 1e-9)
    assert solution.stats.num_accepted_steps <= 1 / dt_min + 1
    free = odesolve(f, ONE, t0, t0 + 1, rtol=1e-8, atol=1e-8, save_at="steps")
    assert min(lengths(free)[:-1]) < dt_min / 2


def test_dt_min_holds_backward_in_time() -> None:
    controller = PIDController(rtol=1e-8, atol=1e-8, dt_min=0.1)
    solution = odesolve(steep, ONE, 1.3, 0.3, controller=controller, save_at="steps", max_steps=99)
    assert min(lengths(solution)[:-1]) >= 0.1 * (1 - 1e-9)


def test_a_first_step_is_no_shorter_than_dt_min() -> None:
    controller = PIDController(dt_min=0.2, dt0=1e-3, rtol=1e-8, atol=1e-9)
    solution = odesolve(LOGISTIC.vector_field, ONE / 3, 0, 1, controller=controller)
    assert solution.stats.dt_first == pytest.approx(0.2)


def test_a_step_that_only_lands_may_be_shorter_than_dt_min() -> None:
    controller = PIDController(dt_min=0.4, rtol=1e-9, atol=1e-9, step_points=(0.05,))
    solution = odesolve(steep, ONE, 0, 1, controller=controller, save_at="steps")
    assert 0.05 in solution.ts.tolist() and solution.ts[-1] == 1.0


@pytest.mark.parametrize("t_bad", [0.35, 0.5])
def test_the_solve_gives_up_where_a_step_of_dt_min_is_not_finite(t_bad: float) -> None:
    f = lambda t, y: torch.where(t > t_bad, torch.nan, -y)
    controller = PIDController(dt_min=0.1)
    with pytest.raises(SolveError, match="first came from the vector field at t = ") as caught:
        odesolve(f, ONE, 0, 1, controller=controller, max_steps=100)
    assert caught.value.result is Result.NON_FINITE
    assert t_bad - 0.1001 <= caught.value.t <= t_bad


@pytest.mark.parametrize("solver", ["heun", "dopri5"])
@pytest.mark.parametrize("dt_max", [0.3, 0.05])
def test_no_step_is_longer_than_dt_max_but_for_the_landing(solver: str, dt_max: float) -> None:
    controller = PIDController(dt_max=dt_max, rtol=1e-1, atol=1e-1)
    field, y0 = LOGISTIC.vector_field, LOGISTIC.y0
    solution = odesolve(field, y0, 0, 2, solver=solver, controller=controller, save_at="steps")
    assert max(lengths(solution)) <= 1.01 * dt_max
    assert max(lengths(solution)) > 0.99 * dt_max


def test_a_warm_start_saves_the_search_for_the_first_step() -> None:
    field, y0 = LOGISTIC.vector_field, LOGISTIC.y0
    cold = odesolve(field, y0, 0, 2, solver="dopri5", rtol=1e-6, atol=1e-7).stats
    controller = PIDController(rtol=1e-6, atol=1e-7, dt0=cold.dt_first)
    warm = odesolve(field, y0, 0, 2, solver="dopri5", controller=controller).stats
    assert warm.nfe_forward == cold.nfe_forward - 1
    assert warm.dt_first == cold.dt_first


def test_the_last_proposal_carries_on_where_a_solve_ended() -> None:
    field = lambda t, y: torch.cos(10 * t) * y
    whole = odesolve(field, ONE, 0, 4, rtol=1e-6, atol=1e-7).stats
    first = odesolve(field, ONE, 0, 2, rtol=1e-6, atol=1e-7)
    controller = PIDController(rtol=1e-6, atol=1e-7, dt0=first.stats.dt_last)
    second = odesolve(field, first.y1, 2, 4, controller=controller)
    total = first.stats.nfe_forward + second.stats.nfe_forward
    assert total <= whole.nfe_forward + 15


def test_dt_first_and_dt_last_tell_the_steps() -> None:
    solution = odesolve(LOGISTIC.vector_field, LOGISTIC.y0, 2, 0, save_at="steps")
    assert solution.stats.dt_first == pytest.approx(lengths(solution)[0])
    assert 0 < solution.stats.dt_last < math.inf
    fixed = odesolve(LOGISTIC.vector_field, LOGISTIC.y0, 0, 2, num_steps=8).stats
    assert (fixed.dt_first, fixed.dt_last) == (0.25, 0.25)


@pytest.mark.parametrize(
    "gains",
    [
        {"proportional": 0.4, "integral": 0.3},
        {"proportional": 0.3, "integral": 0.3},
        {"proportional": 0.2, "integral": 0.4, "derivative": 0.1},
        {"safety": 0.8, "max_factor": 3.0, "min_factor": 0.5},
    ],
    ids=["PI", "PI weaker", "PID", "careful"],
)
def test_gains_keep_the_tolerance_at_a_bounded_cost(gains: dict) -> None:
    for problem in PROBLEMS:
        plain = odesolve(
            problem.vector_field, problem.y0, problem.t0, problem.t1, rtol=1e-6, atol=1e-7
        )
        solution = odesolve(
            problem.vector_field,
            problem.y0,
            problem.t0,
            problem.t1,
            controller=PIDController(rtol=1e-6, atol=1e-7, **gains),
        )
        assert in_tolerance_units(solution.y1, problem.y1, 1e-6, 1e-7) < 5
        assert solution.stats.nfe_forward < 1.6 * plain.stats.nfe_forward + 12


def test_a_pi_controller_rejects_less_where_stiffness_bounds_the_step() -> None:
    stiff = lambda t, y: -200 * (y - torch.cos(t))
    rejected = []
    for gains in ({}, {"proportional": 0.4, "integral": 0.3}):
        controller = PIDController(rtol=1e-4, atol=1e-5, **gains)
        solution = odesolve(stiff, ONE, 0, 2, solver="dopri5", controller=controller)
        rejected.append(solution.stats.num_rejected_steps)
    assert rejected[1] < rejected[0]


def test_tolerances_may_differ_between_entries() -> None:
    f = lambda t, y: torch.cos(torch.tensor([20.0, 1.0], dtype=DOUBLE) * t) * y
    y0 = torch.ones(3, 2, dtype=DOUBLE)
    loose = torch.tensor([1e-1, 1e-7], dtype=DOUBLE)
    options = {"solver": "dopri5"}
    tight = odesolve(f, y0, 0, 1, rtol=1e-7, atol=1e-7, **options)
    mixed = odesolve(f, y0, 0, 1, rtol=loose, atol=loose, **options)
    assert mixed.stats.nfe_forward < tight.stats.nfe_forward
    exact = torch.exp(torch.sin(torch.tensor(1.0, dtype=DOUBLE)))
    assert abs(mixed.y1[0, 1] - exact) < 1e-6


@pytest.mark.parametrize("shape", [(), (1,), (2,), (3, 1), (3, 2)])
@pytest.mark.parametrize("which", ["rtol", "atol", "both"])
def test_equal_tensor_tolerances_mean_the_number(shape: tuple, which: str) -> None:
    field, y0 = LOGISTIC.vector_field, torch.rand(3, 2, dtype=DOUBLE)
    numbers = {"rtol": 1e-5, "atol": 1e-6}
    names = ("rtol", "atol") if which == "both" else (which,)
    tensors = {name: torch.full(shape, numbers[name], dtype=DOUBLE) for name in names}
    by_number = odesolve(field, y0, 0, 2, **numbers)
    by_tensor = odesolve(field, y0, 0, 2, **{**numbers, **tensors})
    assert by_tensor.stats.num_steps == by_number.stats.num_steps
    assert by_tensor.stats.dt_last == pytest.approx(by_number.stats.dt_last)
    torch.testing.assert_close(by_tensor.y1, by_number.y1, rtol=1e-9, atol=0)


@pytest.mark.parametrize("rtol, atol", [(0.0, 1e-6), (1e-6, 0.0)])
def test_one_of_the_tolerances_may_be_zero(rtol: float, atol: float) -> None:
    problem = PROBLEMS[1]
    as_tensor = lambda x: torch.tensor(x, dtype=DOUBLE)
    y1 = []
    for convert in (float, as_tensor):
        solution = odesolve(
            problem.vector_field,
            problem.y0,
            problem.t0,
            problem.t1,
            rtol=convert(rtol),
            atol=convert(atol),
        )
        assert error(solution.y1, problem.y1) < 3e-5
        y1.append(solution.y1)
    torch.testing.assert_close(*y1, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"rtol": torch.tensor([1e-3, -1e-3])}, "`rtol` must be a number of at least 0"),
        ({"atol": torch.tensor([1e-3, math.nan])}, "`atol` must be a number of at least 0"),
        ({"dt_min": -1.0}, "`dt_min` must lie between"),
        ({"dt_min": 1.0, "dt_max": 0.5}, "`dt_min` must lie between 0 and dt_max = 0.5"),
        ({"dt_min": math.nan}, "`dt_min` must lie between"),
        ({"noise": 1.0}, "`noise` must lie in"),
        ({"noise": -0.1}, "`noise` must lie in"),
        ({"dt0": math.nan}, "`dt0` must be positive"),
    ],
)
def test_bounds_that_contradict_one_another_are_refused(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PIDController(**options)
