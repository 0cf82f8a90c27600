"""The accept/reject loop: where it lands, what it keeps, what it counts, how it fails."""

import pytest
import torch
from problems import DOUBLE, PROBLEMS, Problem, error

from odevision import SolveError, odesolve
from odevision.ode.controller import ConstantController, Controller, PIDController
from odevision.ode.implicit import IMPLICIT_METHODS
from odevision.ode.loop import AcceptedStep, integrate
from odevision.ode.solution import Result, Stats
from odevision.ode.solver import Memory
from odevision.ode.solvers import SOLVERS
from odevision.ode.term import ODETerm

each_solver = pytest.mark.parametrize("solver", list(SOLVERS))
INTERPOLATING = [name for name, solver in SOLVERS.items() if not solver.lands_on_saves]
LANDING = [name for name, solver in SOLVERS.items() if solver.lands_on_saves]
Y0 = torch.ones(4, 3, dtype=DOUBLE)


def follow(
    problem: Problem, solver: str, controller: Controller
) -> tuple[list[AcceptedStep], list[torch.Tensor], Stats]:
    steps, states, stats = [], [], Stats()

    def on_accept(step, y, memory):
        steps.append(step)
        states.append(y)

    term = ODETerm(problem.vector_field, stats)
    path = integrate(
        term,
        SOLVERS[solver],
        controller,
        problem.y0,
        problem.t0,
        problem.t1,
        max_steps=10_000,
        on_accept=on_accept,
    )
    assert path.error is None and path.steps == steps
    return steps, [*states, path.y1], stats


@each_solver
@pytest.mark.parametrize("num_steps", [1, 3, 7, 49])
def test_constant_steps_join_and_land_exactly_on_t1(solver: str, num_steps: int) -> None:
    problem = PROBLEMS[1]
    steps, _, _ = follow(problem, solver, ConstantController(num_steps=num_steps))
    assert len(steps) == num_steps
    assert steps[0].t0 == problem.t0 and steps[-1].t1 == problem.t1
    assert all(a.t1 == b.t0 for a, b in zip(steps, steps[1:], strict=False))
    lengths = [step.t1 - step.t0 for step in steps]
    assert max(lengths) - min(lengths) < 1e-14


@pytest.mark.parametrize("problem", PROBLEMS, ids=[p.name for p in PROBLEMS])
def test_adaptive_steps_join_and_land_exactly_on_t1(problem: Problem) -> None:
    steps, _, _ = follow(problem, "dopri5", PIDController())
    assert steps[0].t0 == problem.t0 and steps[-1].t1 == problem.t1
    assert all(a.t1 == b.t0 for a, b in zip(steps, steps[1:], strict=False))


def test_a_rejected_step_keeps_the_state() -> None:
    problem = PROBLEMS[2]
    steps, states, stats = follow(problem, "dopri5", PIDController(dt0=1.5, rtol=1e-6, atol=1e-7))
    assert stats.num_rejected_steps > 0
    solver = SOLVERS["dopri5"]
    term, y = ODETerm(problem.vector_field, Stats()), problem.y0
    for step, state in zip(steps, states, strict=False):
        torch.testing.assert_close(state, y, rtol=1e-14, atol=0)
        y = solver.step(term, step.t0, step.t1, y, None, Memory(), all_stages=False).y1
    torch.testing.assert_close(states[-1], y, rtol=1e-14, atol=0)


def test_the_callers_state_is_left_as_it_was() -> None:
    y0 = PROBLEMS[0].y0.clone()
    odesolve(PROBLEMS[0].vector_field, y0, 0, 2)
    assert torch.equal(y0, PROBLEMS[0].y0)


def test_attempted_steps_are_accepted_or_rejected() -> None:
    _, _, stats = follow(PROBLEMS[2], "tsit5", PIDController(dt0=1.5, rtol=1e-6, atol=1e-7))
    assert stats.num_rejected_steps > 0
    assert stats.num_steps == stats.num_accepted_steps + stats.num_rejected_steps


@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
@pytest.mark.parametrize(
    "options",
    [
        {"num_steps": 5},
        {"rtol": 1e-6},
        {"num_steps": 5, "save_at": [0.0, 0.3, 1.0, 1.7, 2.0]},
        {"rtol": 1e-4, "save_at": [0.1, 0.2, 1.7]},
    ],
)
@pytest.mark.parametrize("solver", ["heun", "bosh3", "tsit5"])
def test_every_evaluation_is_counted_once_and_by_its_direction(
    solver: str, options: dict, gradient
) -> None:
    calls = 0
    weight = torch.tensor(2.0, dtype=DOUBLE, requires_grad=True)

    def f(t, y):
        nonlocal calls
        calls += 1
        return weight * y * (1 - y)

    solution = odesolve(f, PROBLEMS[0].y0, 0, 2, solver=solver, gradient=gradient, **options)
    assert solution.stats.nfe_forward == calls
    assert solution.stats.nfe_backward == 0
    calls = 0
    (solution.y1.sum() + solution.ys.sum()).backward()
    assert solution.stats.nfe_backward == calls
    assert (calls > 0) == (gradient == "checkpointed")


@pytest.mark.parametrize(
    "solver, stages",
    [
        ("euler", 1),
        ("midpoint", 2),
        ("heun", 2),
        ("rk4", 4),
        ("bosh3", 3),
        ("dopri5", 6),
        ("tsit5", 6),
    ],
)
def test_a_constant_step_costs_the_stages_that_its_solution_needs(solver: str, stages: int) -> None:
    y0 = Y0.clone().requires_grad_()
    solution = odesolve(lambda t, y: -y, y0, 0, 1, solver=solver, num_steps=5)
    solution.y1.sum().backward()
    assert solution.stats == Stats(
        nfe_forward=5 * stages,
        nfe_backward=5 * stages,
        num_steps=5,
        num_accepted_steps=5,
        dt_first=pytest.approx(0.2),
        dt_last=pytest.approx(0.2),
    )


def test_the_last_stage_serves_as_the_next_steps_first() -> None:
    stats = odesolve(PROBLEMS[0].vector_field, PROBLEMS[0].y0, 0, 2, solver="dopri5").stats
    assert stats.num_rejected_steps > 0
    assert stats.nfe_forward == 2 + 6 * stats.num_steps


def test_heun_reuses_no_stage_but_that_of_a_rejected_step() -> None:
    stats = odesolve(PROBLEMS[2].vector_field, PROBLEMS[2].y0, 0, 1.5, solver="heun").stats
    assert stats.num_rejected_steps > 0
    # The first f0, the probe of the first step, one second stage a step, one f0 a later step.
    assert stats.nfe_forward == 2 + stats.num_steps + (stats.num_accepted_steps - 1)


def test_saving_at_the_ends_costs_no_evaluation() -> None:
    field, y0 = PROBLEMS[0].vector_field, PROBLEMS[0].y0
    for solver in SOLVERS:
        plain = odesolve(field, y0, 0, 2, solver=solver, num_steps=8).stats
        saved = odesolve(field, y0, 0, 2, solver=solver, num_steps=8, save_at=[0.0, 2.0]).stats
        assert saved == plain


@pytest.mark.parametrize("solver", INTERPOLATING)
def test_saved_times_do_not_change_the_steps(solver: str) -> None:
    options = {"num_steps": 6}
    field, y0 = PROBLEMS[0].vector_field, PROBLEMS[0].y0
    plain = odesolve(field, y0, 0, 2, solver=solver, **options)
    saved = odesolve(field, y0, 0, 2, solver=solver, save_at=[0.1, 0.7, 2.0], **options)
    # A slope that is known from a saved time starts Newton's iteration elsewhere.
    rtol = 1e-11 if solver in IMPLICIT_METHODS else 1e-15
    torch.testing.assert_close(saved.y1, plain.y1, rtol=rtol, atol=0)
    assert saved.stats.num_steps == plain.stats.num_steps


@pytest.mark.parametrize("solver", LANDING)
def test_a_method_without_an_accurate_interpolant_lands_on_saved_times(solver: str) -> None:
    field, y0, times, ends = PROBLEMS[0].vector_field, PROBLEMS[0].y0, [0.1, 0.7, 2.0], []
    watch = lambda what, t, y, dt: ends.append(t + dt)
    saved = odesolve(field, y0, 0, 2, solver=solver, save_at=times, num_steps=6, observer=watch)
    assert saved.stats.num_steps == 8
    assert all(any(abs(t - end) < 1e-12 for end in ends) for t in times)
    assert torch.equal(saved.ys[-1], saved.y1)
    assert error(saved.ys[0], PROBLEMS[0].exact(0.1)) < 1e-4


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_bad_initial_state_is_named_with_its_sample(bad: float) -> None:
    y0 = Y0.clone()
    y0[2, 1] = bad
    with pytest.raises(SolveError, match="The state is NaN or infinite .*sample 2") as caught:
        odesolve(lambda t, y: -y, y0, 0.5, 1)
    assert caught.value.result is Result.NON_FINITE
    assert (caught.value.t, caught.value.sample) == (0.5, 2)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_field_that_is_bad_at_the_start_is_named_with_its_sample(bad: float) -> None:
    factor = torch.tensor([[1.0], [1.0], [1.0], [bad]], dtype=DOUBLE)
    with pytest.raises(
        SolveError, match="The vector field gave NaN or infinity at t = 0 .*sample 3"
    ):
        odesolve(lambda t, y: factor * y, Y0, 0, 1)


def test_the_time_is_never_nan_in_a_failing_solve() -> None:
    times = []

    def f(t, y):
        times.append(float(t))
        return y * torch.nan

    with pytest.raises(SolveError):
        odesolve(f, Y0, 0, 1)
    assert all(0 <= t <= 1 for t in times)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_field_that_turns_bad_later_is_located_in_time_and_sample(bad: float) -> None:
    def f(t, y):
        k = -y
        if t > 0.5:
            k = k.clone()
            k[1] = bad
        return k

    with pytest.raises(
        SolveError, match="first came from the vector field at t = 0.5 .*sample 1"
    ) as caught:
        odesolve(f, Y0, 0, 1)
    assert caught.value.result is Result.NON_FINITE
    assert caught.value.t == pytest.approx(0.5, abs=1e-12)


def test_a_solution_that_blows_up_ends_in_a_vanished_step() -> None:
    y0 = torch.tensor([[0.1], [1.0], [0.2]], dtype=DOUBLE)
    with pytest.raises(SolveError, match="The step size vanished.*sample 1.*Loosen") as caught:
        odesolve(lambda t, y: y * y, y0, 0, 2)
    assert caught.value.result is Result.DT_UNDERFLOW
    assert caught.value.t == pytest.approx(1.0, abs=1e-3)
    assert caught.value.dt is not None and 0 < caught.value.dt < 1e-13


def test_the_worst_sample_is_found_in_units_of_the_tolerance() -> None:
    y0 = torch.tensor([[1e9], [1.0]], dtype=DOUBLE)

    def f(t, y):
        jump = torch.sin(1e20 * y.detach()) * 1e5  # noise: no step is short enough
        return torch.cat([-y[:1], jump[1:]])

    with pytest.raises(SolveError) as caught:
        odesolve(f, y0, 0, 1, rtol=1e-12, atol=1e-14, max_steps=100_000)
    assert caught.value.sample == 1


def test_a_solve_gives_up_after_max_steps_and_says_where() -> None:
    with pytest.raises(SolveError, match=r"max_steps = 7 .*Raise `max_steps`") as caught:
        odesolve(lambda t, y: -1e4 * y, Y0, 0, 1, max_steps=7)
    error = caught.value
    assert error.result is Result.MAX_STEPS
    assert 0 < error.t < 1 and error.dt is not None and error.dt > 0


def test_a_solve_may_use_all_of_max_steps() -> None:
    stats = odesolve(lambda t, y: -y, Y0, 0, 1).stats
    assert odesolve(lambda t, y: -y, Y0, 0, 1, max_steps=stats.num_steps).stats == stats


def test_a_failure_in_reversed_time_has_a_negative_dt() -> None:
    with pytest.raises(SolveError) as caught:
        odesolve(lambda t, y: -y * y, Y0, 0, -2)
    assert caught.value.t == pytest.approx(-1.0, abs=1e-3)
    assert caught.value.dt is not None and caught.value.dt < 0


@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
@pytest.mark.parametrize("after", [0, 3])
def test_the_fields_own_exception_passes_through_untouched(gradient, after: int) -> None:
    class OwnError(Exception):
        pass

    own, calls = OwnError("mine"), 0

    def f(t, y):
        nonlocal calls
        calls += 1
        if calls > after:
            raise own
        return -y

    with pytest.raises(OwnError) as caught:
        odesolve(f, Y0.clone().requires_grad_(), 0, 1, gradient=gradient)
    assert caught.value is own


def test_a_wrong_shape_is_found_at_the_first_evaluation() -> None:
    calls = 0

    def f(t, y):
        nonlocal calls
        calls += 1
        return y[:, :2]

    with pytest.raises(ValueError, match="tensor of the state's shape"):
        odesolve(f, Y0, 0, 1)
    assert calls == 1


def test_an_interval_of_one_unit_in_the_last_place_is_one_step() -> None:
    t1 = 1.0 + 2.0**-52
    solution = odesolve(lambda t, y: y, Y0, 1.0, t1)
    assert solution.stats.num_accepted_steps == 1
    torch.testing.assert_close(solution.y1, Y0)
