"""odesolve: what it accepts, refuses and returns."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from problems import DOUBLE, PROBLEMS, error
from torch import nn

import odevision
from odevision import list_solvers, odesolve
from odevision.ode.controller import ConstantController, PIDController
from odevision.ode.solution import Result
from odevision.ode.solvers import SOLVERS

LOGISTIC = PROBLEMS[0]
Y0 = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=DOUBLE)
decay = lambda t, y: -y
both_gradients = pytest.mark.parametrize("gradient", ["direct", "checkpointed"])


def test_the_solvers_are_listed_by_name() -> None:
    assert list_solvers() == list(SOLVERS)
    assert {"euler", "midpoint", "heun", "rk4", "bosh3", "dopri5", "tsit5"} <= set(list_solvers())
    assert all(solver.name == name for name, solver in SOLVERS.items())
    assert odevision.odesolve is odesolve


@pytest.mark.parametrize("shape", [(), (5,), (3, 2), (2, 3, 4, 5)])
@both_gradients
def test_a_state_of_any_rank_keeps_its_shape(shape: tuple[int, ...], gradient) -> None:
    y0 = torch.ones(shape, dtype=DOUBLE, requires_grad=True)
    solution = odesolve(decay, y0, 0, 1, rtol=1e-7, atol=1e-9, save_at=[0.5, 1], gradient=gradient)
    assert solution.ys.shape == (2, *shape)
    torch.testing.assert_close(solution.y1, math.exp(-1) * y0, rtol=1e-6, atol=0)
    solution.y1.sum().backward()
    torch.testing.assert_close(y0.grad, torch.full_like(y0, math.exp(-1)), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_the_solution_keeps_the_dtype(dtype: torch.dtype) -> None:
    solution = odesolve(decay, torch.ones(3, dtype=dtype), 0, 1, save_at=[0.3])
    assert (solution.y1.dtype, solution.ys.dtype) == (dtype, dtype)
    assert solution.ts.dtype == dtype.to_real()


def test_a_complex_state_rotates() -> None:
    y0 = torch.tensor([[1.0 + 0j]], dtype=torch.complex128)
    solution = odesolve(lambda t, y: 1j * y, y0, 0, math.pi, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(solution.y1, -y0, rtol=0, atol=1e-7)


def test_without_saved_times_ys_holds_the_end_only() -> None:
    solution = odesolve(decay, Y0, 0, 1.5)
    assert torch.equal(solution.ys, solution.y1[None])
    assert solution.ts.tolist() == [1.5]
    assert solution.result is Result.SUCCESSFUL


@pytest.mark.parametrize("solver", ["bosh3", "dopri5", "tsit5"])
def test_saved_states_are_as_accurate_as_the_end(solver: str) -> None:
    times = [0.0, 0.21, 0.5, 1.3, 1.99, 2.0]
    problem = LOGISTIC
    solution = odesolve(
        problem.vector_field, problem.y0, 0, 2, solver=solver, rtol=1e-7, atol=1e-8, save_at=times
    )
    assert torch.equal(solution.ys[0], problem.y0)
    assert torch.equal(solution.ys[-1], solution.y1)
    for t, y in zip(times, solution.ys, strict=True):
        assert error(y, problem.exact(t)) < 2e-6


def test_saved_times_run_backward_with_the_solve() -> None:
    times = [2.0, 1.5, 0.3, 0.0]
    solution = odesolve(
        LOGISTIC.vector_field, LOGISTIC.y1, 2, 0, rtol=1e-8, atol=1e-9, save_at=times
    )
    assert solution.ts.tolist() == times
    for t, y in zip(times, solution.ys, strict=True):
        assert error(y, LOGISTIC.exact(t)) < 1e-6


def test_a_solve_may_end_after_the_last_saved_time() -> None:
    solution = odesolve(decay, Y0, 0, 2, save_at=[0.5])
    assert solution.ys.shape == (1, 2, 2)
    torch.testing.assert_close(solution.y1, Y0 * math.exp(-2), rtol=1e-2, atol=1e-3)


def test_a_time_may_be_saved_twice() -> None:
    solution = odesolve(decay, Y0, 0, 1, save_at=[0, 0, 0.5, 0.5, 1, 1])
    for first, second in ((0, 1), (2, 3), (4, 5)):
        assert torch.equal(solution.ys[first], solution.ys[second])


@pytest.mark.parametrize(
    "times",
    [
        torch.linspace(0, 0.3, 4),
        torch.linspace(0, 0.3, 4, dtype=DOUBLE),
        np.linspace(0, 0.3, 4).tolist(),
        [0.1 * i for i in range(4)],
    ],
    ids=["float32", "float64", "numpy", "sums"],
)
def test_rounded_ends_still_mean_t0_and_t1(times) -> None:
    solution = odesolve(decay, Y0, 0, 0.3, save_at=times)
    assert torch.equal(solution.ys[0], Y0) and torch.equal(solution.ys[-1], solution.y1)


def test_times_may_be_tensors() -> None:
    t0, t1 = torch.tensor(0.0), torch.tensor([1.0])
    assert torch.equal(odesolve(decay, Y0, t0, t1).y1, odesolve(decay, Y0, 0.0, 1.0).y1)


@both_gradients
def test_an_empty_interval_returns_the_initial_state_at_no_cost(gradient) -> None:
    y0 = Y0.clone().requires_grad_()
    solution = odesolve(decay, y0, 1, 1, save_at=[1, 1], gradient=gradient)
    assert torch.equal(solution.y1, y0) and solution.ys.shape == (2, 2, 2)
    assert solution.stats.nfe_forward == solution.stats.num_steps == 0
    solution.ys.sum().backward()
    assert torch.equal(y0.grad, torch.full_like(y0, 2.0))


def test_args_reach_the_field() -> None:
    scaled = lambda t, y, a, b: -a * y + b
    solution = odesolve(
        scaled, Y0, 0, 1, args=(2.0, torch.zeros(2, dtype=DOUBLE)), rtol=1e-7, atol=1e-9
    )
    torch.testing.assert_close(solution.y1, Y0 * math.exp(-2), rtol=1e-6, atol=0)


def test_a_solver_object_serves_as_its_name() -> None:
    by_object = odesolve(decay, Y0, 0, 1, solver=SOLVERS["bosh3"])
    assert torch.equal(by_object.y1, odesolve(decay, Y0, 0, 1, solver="bosh3").y1)


def test_a_controller_object_serves_as_the_short_options() -> None:
    by_object = odesolve(decay, Y0, 0, 1, controller=PIDController(rtol=1e-5, atol=1e-6))
    assert torch.equal(by_object.y1, odesolve(decay, Y0, 0, 1, rtol=1e-5, atol=1e-6).y1)
    by_object = odesolve(decay, Y0, 0, 1, controller=ConstantController(num_steps=3))
    assert torch.equal(by_object.y1, odesolve(decay, Y0, 0, 1, num_steps=3).y1)


@pytest.mark.parametrize(
    "change, words",
    [
        (
            {"y0": torch.ones(2, dtype=torch.int64)},
            "`y0` must be floating point or complex.*y0.float",
        ),
        ({"y0": torch.ones(0, 3)}, "`y0` must hold at least one entry"),
        ({"t0": math.nan}, "`t0` must be finite"),
        ({"t1": math.inf}, "`t1` must be finite"),
        ({"t1": torch.ones(2)}, "`t1` must be one number"),
        ({"solver": "dopri55"}, "`solver` must be one of .*Did you mean 'dopri5'"),
        ({"solver": "rk4"}, "`num_steps` must be given with solver 'rk4'"),
        ({"num_steps": 0}, "`num_steps` must be a whole number"),
        ({"num_steps": 20, "max_steps": 10}, "`num_steps` must be at most max_steps = 10"),
        ({"max_steps": 0}, "`max_steps` must be a whole number"),
        ({"rtol": -1e-3}, "`rtol` must be a number of at least 0"),
        ({"rtol": 0, "atol": 0}, "must not both be 0"),
        ({"save_at": []}, "`save_at` must hold times between"),
        ({"save_at": [0.5, 1.5]}, "`save_at` must hold times between t0 = 0.0 and t1 = 1.0"),
        ({"save_at": [0.5, math.nan]}, "`save_at` must hold times between"),
        ({"save_at": [0.7, 0.5]}, "`save_at` must be ordered"),
        ({"t1": -1.0, "save_at": [-0.7, -0.5]}, "`save_at` must be ordered"),
        ({"controller": PIDController(), "num_steps": 3}, "must be left out where a `controller`"),
        ({"controller": PIDController(), "rtol": 1e-5}, "must be left out where a `controller`"),
        ({"controller": PIDController(), "solver": "euler"}, "`num_steps` must be given"),
        ({"vector_field": nn.Dropout(0.1)}, "must not hold Dropout in training mode"),
        ({"vector_field": nn.BatchNorm1d(2)}, "must not hold BatchNorm1d in training mode"),
    ],
)
def test_an_argument_out_of_its_range_is_refused_with_advice(change: dict, words: str) -> None:
    call = {"vector_field": decay, "y0": Y0, "t0": 0.0, "t1": 1.0, **change}
    with pytest.raises(ValueError, match=words):
        odesolve(call.pop("vector_field"), call.pop("y0"), call.pop("t0"), call.pop("t1"), **call)


# Run apart from the tests' own type checks, which would be first to refuse these.
WRONG_KINDS = """
import torch
from odevision import odesolve

calls = [
    ({"save_at": "step"}, "`save_at` must hold times, or be 'steps'"),
    ({"gradient": "adjoint"}, "`gradient` must be one of direct, checkpointed"),
    ({"batch": "each"}, "`batch` must be one of joint, independent"),
    ({"event": lambda t, y: y}, "`event` must be an Event"),
    ({"event": [lambda t, y: y]}, "`event` must be an Event"),
    ({"controller": "pid"}, "`controller` must be a step size controller"),
    ({"solver": 5}, "`solver` must be one of"),
    ({"num_steps": 2.5}, "`num_steps` must be a whole number"),
    ({"max_steps": 2.5}, "`max_steps` must be a whole number"),
    ({"rtol": "small"}, "`rtol` must be a number"),
    ({"vector_field": 3.0}, "`vector_field` must be callable"),
    ({"y0": 3.0}, "`y0` must be a tensor, or a tuple, list or dict of tensors"),
    ({"t1": "late"}, "`t1` must be a number"),
    ({"save_at": 0.5}, "`save_at` must hold times"),
]
for change, words in calls:
    call = {"vector_field": lambda t, y: -y, "y0": torch.ones(2), "t0": 0.0, "t1": 1.0, **change}
    first = [call.pop(name) for name in ("vector_field", "y0", "t0", "t1")]
    try:
        odesolve(*first, **call)
    except ValueError as refused:
        assert words in str(refused), (change, str(refused))
    else:
        raise AssertionError(f"{change} was not refused")
print("all refused")
"""


def test_arguments_of_a_wrong_kind_are_refused_with_advice() -> None:
    run = subprocess.run([sys.executable, "-c", WRONG_KINDS], capture_output=True, text=True)
    assert run.stdout == "all refused\n", run.stderr


def test_refused_arguments_cost_no_evaluation() -> None:
    def never(t, y):
        raise AssertionError

    with pytest.raises(ValueError, match="save_at"):
        odesolve(never, Y0, 0, 1, save_at=[3.0])


def test_a_constant_step_solve_hands_a_nan_through() -> None:
    assert odesolve(lambda t, y: y * math.nan, Y0, 0, 1, num_steps=2).y1.isnan().all()


def test_a_float32_state_is_solved_to_its_own_precision() -> None:
    y1 = odesolve(decay, Y0.float(), 0, 1, rtol=1e-6, atol=1e-7).y1
    torch.testing.assert_close(y1, Y0.float() * math.exp(-1), rtol=1e-5, atol=1e-6)


def test_gradients_reach_saved_times_in_a_list() -> None:
    time = torch.tensor(0.5, dtype=DOUBLE, requires_grad=True)
    solution = odesolve(lambda t, y: -y, Y0, 0, 1, rtol=1e-9, atol=1e-9, save_at=[0.25, time])
    (slope,) = torch.autograd.grad(solution.ys[1].sum(), time)
    torch.testing.assert_close(slope, -solution.ys[1].sum().detach(), rtol=1e-7, atol=0)


def test_the_names_of_the_package_are_shown_and_can_be_imported() -> None:
    assert set(odevision.__all__) <= set(dir(odevision))
    assert all(getattr(odevision, name) is not None for name in odevision.__all__)
    assert odevision.Result is Result
