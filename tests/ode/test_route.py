"""Where steps end: grids, kinks and jumps of f, saved times, and every accepted step."""

import math

import pytest
import torch
from problems import DOUBLE, PROBLEMS, error
from torch import Tensor

from odevision import GridController, PIDController, odesolve
from odevision.ode.solvers import SOLVERS

LOGISTIC = PROBLEMS[0]
ADAPTIVE = [name for name, solver in SOLVERS.items() if solver.adaptive]
each_adaptive = pytest.mark.parametrize("solver", ADAPTIVE)
TURN = 0.3


def steps_of(solution) -> list[float]:
    return solution.ts.tolist()


def logistic(**options):
    return odesolve(LOGISTIC.vector_field, LOGISTIC.y0, 0, 2, save_at="steps", **options)


class Switch:
    """y' = -y before TURN and 20 (cos t - y) after it, watched for where it is evaluated."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        self.times.append(float(t))
        assert t != t.new_tensor(TURN)
        return -y if t < TURN else 20 * (torch.cos(t) - y)

    @staticmethod
    def exact(t: float) -> float:
        if t <= TURN:
            return math.exp(-t)
        swing = lambda s: (400 * math.cos(s) + 20 * math.sin(s)) / 401
        return swing(t) + (math.exp(-TURN) - swing(TURN)) * math.exp(-20 * (t - TURN))


ONE = torch.ones(2, 1, dtype=DOUBLE)


def test_steps_saves_the_start_and_the_end_of_every_accepted_step() -> None:
    solution = logistic(solver="dopri5", rtol=1e-6, atol=1e-7)
    ts = steps_of(solution)
    assert solution.ys.shape == (solution.stats.num_accepted_steps + 1, *LOGISTIC.y0.shape)
    assert (ts[0], ts[-1]) == (0.0, 2.0) and ts == sorted(set(ts))
    assert torch.equal(solution.ys[0], LOGISTIC.y0)
    assert torch.equal(solution.ys[-1], solution.y1)
    for t, y in zip(ts, solution.ys, strict=True):
        assert error(y, LOGISTIC.exact(t)) < 1e-5


@pytest.mark.parametrize("solver", list(SOLVERS))
def test_steps_costs_nothing(solver: str) -> None:
    saved = logistic(solver=solver, num_steps=4)
    plain = odesolve(LOGISTIC.vector_field, LOGISTIC.y0, 0, 2, solver=solver, num_steps=4)
    assert saved.stats == plain.stats
    assert torch.equal(saved.y1, plain.y1)
    assert steps_of(saved) == pytest.approx([0, 0.5, 1.0, 1.5, 2.0], abs=1e-15)


@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_gradients_reach_the_states_of_all_steps(gradient) -> None:
    y0 = ONE.clone().requires_grad_()
    ys = odesolve(
        lambda t, y: -y, y0, 0, 1, save_at="steps", rtol=1e-9, atol=1e-9, gradient=gradient
    )
    (slope,) = torch.autograd.grad(ys.ys.sum(), y0)
    torch.testing.assert_close(slope, torch.exp(-ys.ts).sum().expand_as(y0), rtol=1e-8, atol=0)


def test_steps_of_a_solve_backward_in_time_run_backward() -> None:
    solution = odesolve(LOGISTIC.vector_field, LOGISTIC.y1, 2, 0, save_at="steps")
    ts = steps_of(solution)
    assert (ts[0], ts[-1]) == (2.0, 0.0) and ts == sorted(ts, reverse=True)


@pytest.mark.parametrize("solver", list(SOLVERS))
def test_a_grid_is_walked_step_by_step(solver: str) -> None:
    grid = GridController(times=(0.0, 0.1, 0.4, 1.1, 2.0))
    assert steps_of(logistic(solver=solver, controller=grid)) == [0.0, 0.1, 0.4, 1.1, 2.0]


def test_a_grid_gets_the_ends_and_loses_what_lies_outside() -> None:
    grid = GridController(times=(-1.0, 0.1, 0.4, 3.0))
    assert steps_of(logistic(solver="rk4", controller=grid)) == [0.0, 0.1, 0.4, 2.0]
    back = odesolve(
        LOGISTIC.vector_field,
        LOGISTIC.y1,
        2,
        0,
        solver="rk4",
        controller=GridController(times=(0.4, 0.1)),
        save_at="steps",
    )
    assert steps_of(back) == [2.0, 0.4, 0.1, 0.0]


def test_an_equal_grid_makes_the_steps_of_num_steps() -> None:
    grid = GridController(times=torch.linspace(0, 2, 9, dtype=DOUBLE))
    by_grid = logistic(solver="dopri5", controller=grid)
    assert torch.equal(by_grid.y1, logistic(solver="dopri5", num_steps=8).y1)


def test_saved_times_between_grid_points_do_not_change_the_grid() -> None:
    grid = GridController(times=(0.5, 1.0))
    plain = logistic(solver="dopri5", controller=grid)
    saved = odesolve(
        LOGISTIC.vector_field, LOGISTIC.y0, 0, 2, solver="dopri5", controller=grid, save_at=[0.2, 1]
    )
    assert torch.equal(saved.y1, plain.y1)
    assert torch.equal(saved.ys[1], plain.ys[2])


@pytest.mark.parametrize(
    "times, words",
    [
        ((0.0, 0.3, 0.2), "`times` must be ordered"),
        ((0.0, math.nan), "`times` must be finite"),
        ((0.0, math.inf), "`times` must be finite"),
    ],
)
def test_a_grid_out_of_order_is_refused(times, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        GridController(times=times)


def test_a_grid_longer_than_max_steps_gives_up_there() -> None:
    grid = GridController(times=[0.1 * i for i in range(20)])
    solution = logistic(solver="rk4", controller=grid, max_steps=5, throw=False)
    assert solution.error is not None and float(solution.t1) == pytest.approx(0.5)


@each_adaptive
def test_step_points_are_landed_on(solver: str) -> None:
    points = (0.31, 1.7, 5.0, -1.0)
    solution = logistic(solver=solver, controller=PIDController(step_points=points))
    assert {0.31, 1.7} <= set(steps_of(solution)) and steps_of(solution)[-1] == 2.0


def test_landing_on_many_points_does_not_keep_the_steps_short() -> None:
    few = logistic(solver="dopri5").stats.num_accepted_steps
    close = PIDController(step_points=(0.5, 0.5 + 1e-6))
    assert logistic(solver="dopri5", controller=close).stats.num_accepted_steps <= few + 3


def test_a_kink_that_is_stepped_on_costs_less() -> None:
    def kinked(t, y):
        return torch.where(t < TURN, 1.0, 1 + 50 * (t - TURN)) * y

    exact = math.exp(2 + 25 * (2 - TURN) ** 2)
    stats = []
    for points in ((), (TURN,)):
        controller = PIDController(rtol=1e-8, atol=1e-8, step_points=points)
        solution = odesolve(kinked, ONE, 0, 2, solver="dopri5", controller=controller)
        assert error(solution.y1 / exact, ONE) < 1e-5
        stats.append(solution.stats)
    assert stats[1].num_rejected_steps < stats[0].num_rejected_steps
    assert stats[1].nfe_forward < stats[0].nfe_forward


@each_adaptive
def test_a_declared_jump_costs_little_and_is_solved_accurately(solver: str) -> None:
    controller = PIDController(rtol=1e-6, atol=1e-8)
    blind = odesolve(lambda t, y: Switch()(t, y), ONE, 0, 1, solver=solver, controller=controller)
    told = odesolve(
        Switch(),
        ONE,
        0,
        1,
        solver=solver,
        controller=PIDController(rtol=1e-6, atol=1e-8, jump_points=(TURN,)),
    )
    far = Switch.exact(1.0) * ONE
    assert error(told.y1, far) < 5e-5
    assert told.stats.nfe_forward < blind.stats.nfe_forward
    assert told.stats.num_rejected_steps <= blind.stats.num_rejected_steps


def test_a_declared_jump_keeps_the_order_of_the_method() -> None:
    """A step across the jump would leave an error of its length; none reaches over it."""
    errors = []
    for rtol in (1e-4, 1e-8):
        controller = PIDController(rtol=rtol, atol=rtol, jump_points=(TURN,))
        y1 = odesolve(Switch(), ONE, 0, 1, controller=controller).y1
        errors.append(error(y1, Switch.exact(1.0) * ONE))
    assert errors[1] < 1e-7 and errors[1] < 1e-2 * errors[0]


@pytest.mark.parametrize("ends", [(0.0, 1.0), (1.0, 0.0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@each_adaptive
def test_no_step_evaluates_the_field_at_the_jump_or_beyond_it(solver: str, dtype, ends) -> None:
    field, limit = Switch(), torch.tensor(TURN, dtype=dtype).item()
    spans: list[tuple[float, float, int]] = []

    def observer(what, t, y, dt):
        if what == "attempt":
            spans.append((t, t + dt, len(field.times)))

    odesolve(
        field,
        ONE.to(dtype),
        *ends,
        solver=solver,
        controller=PIDController(jump_points=(TURN,), rtol=1e-3, atol=1e-4),
        observer=observer,
    )
    spans.append((0, 0, len(field.times)))
    for (start, end, first), (_, _, last) in zip(spans, spans[1:], strict=False):
        before = min(start, end) < TURN  # which side the step is on
        seen = [t for t in field.times[first:last] if t not in field.times[:first]]
        # The slope after the jump is taken once the step before it is accepted.
        if end == TURN:
            beyond = [t for t in seen if (t > limit) == before]
            assert len(set(beyond)) <= 1 and all(abs(t - limit) < 1e-6 for t in beyond)
        else:
            assert all((t < limit) == before for t in seen)


def test_no_slope_is_carried_across_a_jump() -> None:
    field = Switch()
    solution = odesolve(
        field,
        ONE,
        0,
        1,
        solver="dopri5",
        controller=PIDController(jump_points=(TURN,)),
    )
    stats = solution.stats
    # The slope at t0, the probe of the first step, six a step, and one right after the jump.
    assert stats.nfe_forward == 2 + 6 * stats.num_steps + 1
    assert sum(0 < abs(t - TURN) < 1e-15 for t in set(field.times)) == 2


def test_the_probe_of_the_first_step_stays_before_the_first_jump() -> None:
    field, turn = [], 1e-9

    def f(t, y):
        field.append(float(t))
        return -y

    odesolve(f, ONE, 0, 1, controller=PIDController(jump_points=(turn,)), max_steps=1, throw=False)
    assert max(field[:2]) < turn


@pytest.mark.parametrize("at", [0.0, 1.0])
def test_a_jump_at_an_end_of_the_interval_is_never_evaluated(at: float) -> None:
    times = []

    def f(t, y):
        times.append(float(t))
        return -y

    for dtype in (torch.float32, torch.float64):
        y1 = odesolve(
            f, ONE.to(dtype), 0, 1, controller=PIDController(jump_points=(at,), rtol=1e-6)
        ).y1
        torch.testing.assert_close(y1, ONE.to(dtype) * math.exp(-1), rtol=1e-4, atol=0)
    assert at not in times


@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_gradients_across_a_jump_are_exact(gradient) -> None:
    y0 = ONE.clone().requires_grad_()
    controller = PIDController(rtol=1e-10, atol=1e-12, jump_points=(TURN,))
    y1 = odesolve(Switch(), y0, 0, 1, controller=controller, gradient=gradient).y1
    (slope,) = torch.autograd.grad(y1.sum(), y0)
    expected = math.exp(-TURN - 20 * (1 - TURN))
    torch.testing.assert_close(slope, torch.full_like(ONE, expected), rtol=1e-7, atol=0)


@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_states_saved_around_a_jump(gradient) -> None:
    times = [0.0, 0.29, TURN, 0.31, 0.9, 1.0]
    controller = PIDController(rtol=1e-8, atol=1e-9, jump_points=(TURN,))
    solution = odesolve(
        Switch(), ONE, 0, 1, controller=controller, save_at=times, gradient=gradient
    )
    assert solution.ts.tolist() == times
    for t, y in zip(times, solution.ys, strict=True):
        assert error(y, Switch.exact(t) * ONE) < 1e-6
    steps = odesolve(Switch(), ONE, 0, 1, controller=controller, save_at="steps")
    assert TURN in steps.ts.tolist() and steps.ts[-1] == 1.0


def test_several_jumps_and_kinks_in_any_order() -> None:
    controller = PIDController(jump_points=torch.tensor([0.8, 0.2]), step_points=[0.5, 0.8])
    solution = odesolve(
        lambda t, y: torch.floor(5 * t) - y, ONE, 0, 1, controller=controller, save_at="steps"
    )
    landed = steps_of(solution)
    assert all(any(abs(t - x) < 1e-7 for t in landed) for x in (0.2, 0.5, 0.8))


@pytest.mark.parametrize("name", ["step_points", "jump_points"])
def test_points_that_are_not_finite_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` must be finite"):
        PIDController(**{name: (0.1, math.nan)})
