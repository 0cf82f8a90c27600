"""Solves that cannot reach t1: what is raised, what is returned under throw=False, what it says."""

import copy
import math
import pickle

import pytest
import torch
from problems import DOUBLE
from torch import Tensor

from odevision import Event, PIDController, Solution, SolveError, odesolve
from odevision.ode.solution import Result, Stats
from odevision.ode.solver import AbstractSolver, Step

Y0 = torch.ones(4, 3, dtype=DOUBLE)
each_gradient = pytest.mark.parametrize("gradient", ["direct", "checkpointed"])


class Stubborn(AbstractSolver):
    """An implicit Euler method whose iteration never converges for steps that end after 0.5."""

    name, kind, order = "stubborn", "test", 1

    def __init__(self, embedded_order: int | None = None) -> None:
        self.embedded_order = embedded_order

    def step(self, f, t0, t1, y0, f0, memory, *, all_stages):
        k = f(t0, y0) if f0 is None else f0
        return Step(t0, t1, y0, y0 + (t1 - t0) * k, [k], k, None, memory, converged=t1 <= 0.5)

    def error(self, step):
        return torch.zeros_like(step.y0)


def decay(t: Tensor, y: Tensor) -> Tensor:
    return -y


def nan_after_half(t: Tensor, y: Tensor) -> Tensor:
    worse = torch.tensor([[1.0], [1.0], [torch.nan], [1.0]], dtype=DOUBLE)
    return torch.where(t > 0.5, worse, 1.0) * -y


# For each failure: the solve, its result, where it stands, and words of its message.
FAILURES = {
    "state": (
        {"y0": torch.full((4, 3), math.inf, dtype=DOUBLE)},
        Result.NON_FINITE,
        0.0,
        "The state is NaN or infinite",
    ),
    "field at once": (
        {"vector_field": lambda t, y: y * math.nan},
        Result.NON_FINITE,
        0.0,
        "The vector field gave NaN or infinity at t = 0",
    ),
    "field later": (
        {"vector_field": nan_after_half},
        Result.NON_FINITE,
        0.5,
        "NaN or infinity first came from the vector field at t = 0.5",
    ),
    "overflow": (
        {
            "vector_field": lambda t, y: torch.full_like(y, 1e307),
            "controller": PIDController(dt_min=1.0, rtol=1e3, dt0=1.0),
            "y0": torch.full((4, 3), 1.7976e308, dtype=DOUBLE),
        },
        Result.NON_FINITE,
        1.0,
        "The state is NaN or infinite",
    ),
    "blow-up": (
        {"vector_field": lambda t, y: y * y, "t1": 3.0},
        Result.DT_UNDERFLOW,
        1.0,
        "The step size vanished: the error stays",
    ),
    "max_steps": (
        {"vector_field": lambda t, y: -1e4 * y, "max_steps": 7},
        Result.MAX_STEPS,
        None,
        "The solve took max_steps = 7 steps and t1 = 1 is still ahead",
    ),
    "Newton, fixed steps": (
        {"solver": Stubborn(), "num_steps": 5},
        Result.NOT_CONVERGED,
        0.4,
        "Newton's iteration did not find the stages",
    ),
    "Newton, adaptive steps": (
        {"solver": Stubborn(0), "controller": PIDController(dt_max=0.1, dt0=0.1)},
        Result.NOT_CONVERGED,
        0.5,
        "Newton's iteration did not find the stages",
    ),
}
each_failure = pytest.mark.parametrize("name", list(FAILURES))


def fail(name: str, **more) -> Solution:
    call = {"vector_field": decay, "y0": Y0, "t0": 0.0, "t1": 1.0, **FAILURES[name][0], **more}
    first = [call.pop(key) for key in ("vector_field", "y0", "t0", "t1")]
    return odesolve(*first, **call)


@each_failure
@each_gradient
def test_a_failure_is_raised_with_its_place_cause_and_remedy(name: str, gradient) -> None:
    _, result, t, words = FAILURES[name]
    with pytest.raises(SolveError) as caught:
        fail(name, gradient=gradient)
    error = caught.value
    assert error.result is result and error.cause.startswith(words.split("=")[0])
    assert words in str(error) and result.value in str(error) and "at t = " in str(error)
    assert t is None or error.t == pytest.approx(t, abs=1e-3)
    assert f"with dt = {error.dt:.3g}" in str(error)


@each_failure
@each_gradient
def test_without_throw_the_reached_part_is_returned(name: str, gradient) -> None:
    _, result, t, _ = FAILURES[name]
    solution = fail(name, gradient=gradient, throw=False, save_at="steps", dense=True)
    assert solution.result is result and solution.error.result is result
    assert float(solution.t1) == solution.error.t == solution.ts[-1]
    assert solution.y1.shape == (4, 3) and torch.equal(solution.ys[-1], solution.y1)
    assert len(solution.ts) == solution.stats.num_accepted_steps + 1
    if name not in ("state", "overflow"):
        assert bool(torch.isfinite(solution.ys).all())
    plain = fail(name, gradient=gradient, throw=False)
    assert torch.equal(plain.y1, solution.y1) and torch.equal(plain.ys, plain.y1[None])


@each_gradient
def test_saved_times_that_were_not_reached_are_left_out(gradient) -> None:
    solution = fail("field later", gradient=gradient, throw=False, save_at=[0.1, 0.3, 0.7, 1.0])
    assert solution.ts.tolist() == [0.1, 0.3]
    torch.testing.assert_close(solution.ys[1], Y0 * math.exp(-0.3), rtol=1e-3, atol=0)
    none = fail("field at once", gradient=gradient, throw=False, save_at=[0.1, 0.3])
    assert none.ts.shape == (0,) and none.ys.shape == (0, 4, 3)


@each_gradient
def test_the_reached_part_has_gradients(gradient) -> None:
    y0 = Y0.clone().requires_grad_()
    solution = fail("field later", y0=y0, gradient=gradient, throw=False, save_at=[0.0, 0.3])
    (slope,) = torch.autograd.grad(solution.y1.sum() + solution.ys.sum(), y0)
    expected = math.exp(-float(solution.t1)) + 1 + math.exp(-0.3)
    torch.testing.assert_close(slope, torch.full_like(Y0, expected), rtol=1e-3, atol=0)


@each_gradient
def test_a_solve_that_fails_at_once_returns_the_start_with_its_gradient(gradient) -> None:
    y0 = Y0.clone().requires_grad_()
    solution = fail("field at once", y0=y0, gradient=gradient, throw=False, save_at="steps")
    (slope,) = torch.autograd.grad(solution.y1.sum() + solution.ys.sum(), y0)
    assert torch.equal(slope, torch.full_like(Y0, 2.0))


def test_a_successful_solve_under_throw_false_has_no_error() -> None:
    solution = odesolve(decay, Y0, 0, 1, throw=False)
    assert solution.result is Result.SUCCESSFUL and solution.error is None


@pytest.mark.parametrize(
    "name, sample",
    [("field later", 2), ("max_steps", 0), ("Newton, fixed steps", None)],
)
def test_the_worst_sample_is_named_where_there_is_one(name: str, sample: int | None) -> None:
    error = fail(name, throw=False).error
    assert error.sample == sample
    assert (f"worst in sample {sample}" in str(error)) == (sample is not None)


def test_a_single_sample_has_no_number() -> None:
    for y0 in (torch.ones(3), torch.ones(1, 3), torch.ones(())):
        error = odesolve(lambda t, y: y * math.nan, y0, 0, 1, throw=False).error
        assert error.sample is None and "sample" not in str(error)


def test_the_largest_slope_is_told() -> None:
    error = odesolve(lambda t, y: y * y, Y0, 0, 3, throw=False).error
    assert error.slope > 1e6 and f"largest |f| = {error.slope:.3g}" in str(error)


each_batch = pytest.mark.parametrize("batch", ["joint", "independent"])


@each_batch
@pytest.mark.parametrize("starts", [[0.0, 0.0], [-5.0, 0.0]])
@pytest.mark.parametrize(
    "field",
    [
        lambda t, y: 1 + 0 * torch.sqrt(1 - y),
        lambda t, y: torch.where(y > 1, torch.nan, torch.ones_like(y)),
    ],
)
def test_a_solve_that_creeps_up_to_where_the_field_ends_says_nan(field, starts, batch) -> None:
    # In float32 a step of 1e-8 leaves a state near 1 where it is, and has no error.
    y0 = torch.tensor(starts)[:, None]
    error = odesolve(field, y0, 0, 2, throw=False, batch=batch, max_steps=300).error
    assert error.result is Result.NON_FINITE and error.t == pytest.approx(1, abs=1e-4)
    assert error.sample == starts.index(0.0) and error.slope == pytest.approx(1)
    assert "NaN or infinity first came from the vector field at t = " in error.cause


@each_batch
def test_each_sample_that_creeps_is_told_apart_from_one_that_is_stiff(batch: str) -> None:
    def field(t, y):
        return torch.stack([1 + 0 * torch.sqrt(1 - y[:, 0]), -1e6 * y[:, 1]], dim=1)

    y0 = torch.tensor([[-9.0, 1.0], [0.0, 0.0]])  # stiff, and at the end of the field at t = 1
    solution = odesolve(field, y0, 0, 2, throw=False, batch=batch, max_steps=300)
    if batch == "independent":
        assert solution.result == (Result.MAX_STEPS, Result.NON_FINITE)
    else:  # far from that end at t = 0.001
        assert solution.error.result is Result.MAX_STEPS and solution.error.sample == 0


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("solver", ["tsit5", "dopri5", "bosh3", "heun"])
def test_a_solve_that_rests_where_the_field_ends_is_no_failure(solver: str, dtype) -> None:
    # A tank that empties: once y is 1 its slope is 0, and NaN for a step that goes too far.
    for start in torch.linspace(1.5, 3.4, 12, dtype=dtype):
        field = lambda t, y: -torch.sqrt(y - 1)
        y1 = odesolve(field, start.reshape(1, 1), 0, 6, solver=solver).y1
        assert abs(float(y1) - 1) < 0.01


@each_batch
def test_a_solve_out_of_steps_tells_the_slope_and_the_sample(batch: str) -> None:
    # The first takes all the steps, the second has the larger slope.
    field = lambda t, y: torch.stack([10 * torch.sin(1e4 * t + y[0]), 0 * y[1] + 1000])
    if batch == "independent":
        field = lambda t, y: 10 * torch.sin(1e4 * t + y)
    error = odesolve(field, torch.zeros(2, 1), 0, 1, max_steps=50, throw=False, batch=batch).error
    assert error.result is Result.MAX_STEPS and error.sample == 0
    assert error.slope == pytest.approx(1000) if batch == "joint" else 0 < error.slope <= 10


def test_the_stage_that_turned_bad_is_told_apart_from_the_steps_start() -> None:
    times = []

    def f(t, y):
        times.append(float(t))
        return -y if t <= 0.3 else y * math.nan

    for solver in ("bosh3", "dopri5", "tsit5", "heun"):
        error = odesolve(f, Y0, 0, 1, solver=solver, throw=False).error
        at = float(error.cause.rsplit("= ", 1)[1])
        assert error.t <= 0.3 <= at and any(abs(at - t) < 1e-8 for t in times)


def test_a_failure_backward_in_time_is_told_with_a_negative_dt() -> None:
    error = odesolve(lambda t, y: -y * y, Y0, 0, -2, throw=False).error
    assert error.t == pytest.approx(-1, abs=1e-3) and error.dt < 0


def test_a_nested_state_fails_like_another() -> None:
    y0 = {"x": Y0, "v": torch.ones(4, 1, dtype=DOUBLE)}

    def f(t, y):
        bad = torch.tensor([[1.0], [1.0], [1.0], [math.nan]], dtype=DOUBLE)
        return {"x": -y["x"], "v": bad * y["v"]}

    error = odesolve(f, y0, 0, 1, throw=False).error
    assert (error.result, error.sample) == (Result.NON_FINITE, 3)


@each_failure
@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy])
def test_an_error_survives_the_way_to_another_process(name: str, copied) -> None:
    error = fail(name, throw=False).error
    again = copied(error)
    assert type(again) is SolveError and str(again) == str(error)
    for part in ("result", "cause", "t", "dt", "sample", "slope"):
        assert repr(getattr(again, part)) == repr(getattr(error, part))


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_a_solution_can_be_pickled(dense: bool, nested: bool) -> None:
    field = swap if nested else decay
    solution = odesolve(
        field,
        {"x": Y0, "v": Y0} if nested else Y0,
        0,
        1,
        save_at=[0.2, 1.0],
        dense=dense,
        event=Event(never),
    )
    again = pickle.loads(pickle.dumps(solution))
    assert again.stats == solution.stats and again.result is Result.SUCCESSFUL
    for ours, theirs in (
        (again.ts, solution.ts),
        (again.ys["x"] if nested else again.ys, solution.ys["x"] if nested else solution.ys),
    ):
        assert torch.equal(ours, theirs)
    if dense:
        ours, theirs = again.interpolant(0.5), solution.interpolant(0.5)
        assert torch.equal(ours["x"] if nested else ours, theirs["x"] if nested else theirs)
    failed = fail("blow-up", throw=False)
    assert str(pickle.loads(pickle.dumps(failed)).error) == str(failed.error)


def swap(t, y):
    return {"x": y["v"], "v": -y["x"]}


def never(t, y):
    return torch.ones(())


def test_stats_of_a_failed_solve_count_what_was_done() -> None:
    calls = 0

    def f(t, y):
        nonlocal calls
        calls += 1
        return y * y

    stats = odesolve(f, Y0, 0, 3, throw=False).stats
    assert stats.nfe_forward == calls
    assert stats.num_steps == stats.num_accepted_steps + stats.num_rejected_steps


def test_no_step_is_counted_where_the_field_refuses_its_shape() -> None:
    with pytest.raises(ValueError, match="`vector_field` must return dy/dt"):
        odesolve(lambda t, y: y[:2], Y0, 0, 1, throw=False)


@each_gradient
@pytest.mark.parametrize("options", [{}, {"num_steps": 3}, {"throw": False}, {"dense": True}])
def test_the_fields_own_exception_is_never_caught(gradient, options: dict) -> None:
    own = SolveError(Result.MAX_STEPS, "mine", t=0.0, dt=None, sample=None)

    def f(t, y):
        if t > 0.2:
            raise own
        return -y

    with pytest.raises(SolveError) as caught:
        odesolve(f, Y0.clone().requires_grad_(), 0, 1, gradient=gradient, **options)
    assert caught.value is own


def test_statistics_are_equal_by_their_values() -> None:
    assert Stats(nfe_forward=3) == Stats(nfe_forward=3) != Stats(nfe_forward=4)
