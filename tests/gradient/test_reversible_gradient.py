"""The reversible gradient: that of `direct` through the same solver, from the end alone."""

import math

import pytest
import torch
from cases import (
    CASES,
    assert_all_gradients_equal,
    assert_equal_gradients,
    drawn,
    gradients,
    gradients_of_all,
    leaf_args,
)
from problems import DOUBLE
from torch import Tensor

from odevision import Event, GridController, PIDController, odesolve
from odevision.gradient import Reversible
from odevision.ode.coupled import CoupledRungeKutta
from odevision.ode.reversible import AsynchronousLeapfrog
from odevision.ode.solvers import SOLVERS

SOLVES = (
    "leapfrog",
    AsynchronousLeapfrog(damping=0.98),
    "reversible-heun",
    "rk4",
    "dopri5",
    "tsit5",
)
each_solver = pytest.mark.parametrize(
    "solver", SOLVES, ids=lambda s: s if isinstance(s, str) else "damped"
)
ROOT = Event(lambda t, y: t - 0.7 + 0.05 * torch.sin(y.sum()), terminal=False)
SAVED = [0.2, 0.31, 0.5, 0.52, 1.1]


@each_solver
def test_reversible_equals_direct_over_a_hundred_steps(solver) -> None:
    assert_all_gradients_equal("reversible", solver=solver, num_steps=100, rtol=1e-10)


@pytest.mark.parametrize("solver", ["leapfrog", "reversible-heun", "rk4"])
def test_reversible_equals_direct_over_a_hundred_steps_in_float32(solver: str) -> None:
    options = {"num_steps": 100, "dtype": torch.float32}
    assert_all_gradients_equal("reversible", solver=solver, rtol=5e-6, **options)


@pytest.mark.parametrize(
    "solver", ["euler", "midpoint", "heun", "bosh3", "dopri8", "leapfrog", "reversible-heun"]
)
@pytest.mark.parametrize("num_steps", [1, 2, 3, 10])
def test_reversible_equals_direct_over_few_steps(solver: str, num_steps: int) -> None:
    assert_all_gradients_equal("reversible", solver=solver, num_steps=num_steps, rtol=1e-11)


@pytest.mark.parametrize("solver", ["leapfrog", "reversible-heun", "heun"])
@pytest.mark.parametrize("make", CASES, ids=[case.__name__ for case in CASES])
def test_reversible_reaches_every_tensor_once(make, solver: str) -> None:
    assert_equal_gradients(make, "reversible", solver=solver, num_steps=4)


@pytest.mark.parametrize("solver", ["heun", "bosh3", "dopri5", "tsit5"])
def test_reversible_equals_direct_across_rejected_steps(solver: str) -> None:
    controller, case = PIDController(dt0=1.0, rtol=1e-5, atol=1e-6), leaf_args()
    options = {"solver": solver, "controller": controller, "gradient": "reversible"}
    stats = odesolve(case.vector_field, case.y0, 0, 1, args=case.args, **options).stats
    assert stats.num_rejected_steps > 0
    assert_equal_gradients(leaf_args, "reversible", solver=solver, controller=controller)


@each_solver
@pytest.mark.parametrize("every", [None, 2])
def test_reversible_equals_direct_in_all_that_fixed_steps_hand_out(solver, every) -> None:
    assert_all_gradients_equal(
        Reversible(anchor_every=every),
        solver=solver, num_steps=7, save_at=SAVED, dense=True, event=ROOT, rtol=1e-10,
    )  # fmt: skip


@each_solver
def test_reversible_equals_direct_in_states_saved_at_the_ends_of_steps(solver) -> None:
    for times in ([0.0, 0.25, 0.5, 1.0], "steps"):
        assert_equal_gradients(
            leaf_args, "reversible", solver=solver, num_steps=4, save_at=times, rtol=1e-10
        )


@pytest.mark.parametrize("solver", ["bosh3", "dopri5", "tsit5"])
def test_reversible_equals_direct_in_all_that_adaptive_steps_hand_out(solver: str) -> None:
    controller = PIDController(rtol=1e-5, atol=1e-6, dt0=0.9)
    assert_all_gradients_equal(
        "reversible",
        solver=solver, controller=controller, save_at=SAVED, dense=True, event=ROOT, rtol=1e-10,
    )  # fmt: skip


@each_solver
def test_reversible_equals_direct_where_an_event_ends_the_solve(solver) -> None:
    root = Event(lambda t, y: t - 0.7 + 0.05 * torch.sin(y.sum()))
    assert_all_gradients_equal("reversible", solver=solver, num_steps=7, event=root, rtol=1e-10)


@each_solver
def test_reversible_equals_direct_on_a_grid(solver) -> None:
    grid = GridController(times=(0.3, 0.35, 0.8))
    assert_all_gradients_equal("reversible", solver=solver, controller=grid, rtol=1e-10)


@pytest.mark.parametrize("every", [None, 1, 3])
def test_reversible_equals_direct_across_jumps_behind_which_its_memory_starts_anew(every) -> None:
    def solve(gradient):
        y0, w = drawn(3), drawn(3, seed=1)
        f = lambda t, y, w: torch.where(t < 0.5, -w * y, w * torch.cos(y))
        solver = Reversible().solver_for(SOLVERS["dopri5"])
        controller = PIDController(rtol=1e-4, atol=1e-5, jump_points=(0.5, 0.75))
        options = {"solver": solver, "controller": controller, "save_at": [0.5, 0.6, 1]}
        solution = odesolve(f, y0, 0, 1, args=(w,), gradient=gradient, **options)
        return torch.autograd.grad(solution.ys.square().sum(), (y0, w))

    for ours, theirs in zip(solve(Reversible(anchor_every=every)), solve("direct"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-13)


def test_reversible_equals_direct_backward_in_time() -> None:
    for solver in ("leapfrog", "reversible-heun", "dopri5"):
        results = []
        for gradient in ("direct", "reversible"):
            y0, w = drawn(4, 3), drawn(3, seed=1)
            method = Reversible().solver_for(SOLVERS[solver])
            options = {"solver": method, "num_steps": 10, "gradient": gradient}
            f = lambda t, y, w: torch.sin(w * y) * t
            ys = odesolve(f, y0, 1, 0, args=(w,), save_at=[0.63, 0], **options).ys
            results.append(torch.autograd.grad(ys.square().sum(), (y0, w)))
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-13)


@each_solver
def test_reversible_equals_direct_on_nested_states(solver) -> None:
    results, method = [], solver if not isinstance(solver, str) else SOLVERS[solver]
    for gradient in ("direct", "reversible"):
        y0 = {"a": drawn(4, 3), "b": (drawn(4, 2, seed=1), drawn(4, seed=2))}
        w = drawn(3, seed=3)

        def f(t, y, w=w):
            b, c = y["b"]
            return {"a": torch.sin(w * y["a"]), "b": (b * c[:, None], torch.cos(c) + b.sum(1))}

        solution = odesolve(
            f, y0, 0, 1, solver=Reversible().solver_for(method), num_steps=10,
            gradient=gradient, save_at=[0.33, 1],
        )  # fmt: skip
        loss = solution.ys["a"].square().sum() + solution.y1["b"][0].sin().sum()
        results.append(torch.autograd.grad(loss, (y0["a"], *y0["b"], w)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-13)


def drift(gradient: Reversible, solver, num_steps: int = 100) -> float:
    """Largest relative difference from `direct` where the solution decays."""
    method = gradient.solver_for(solver)
    results = []
    for chosen in ("direct", gradient):
        y0, w = drawn(4, 3), torch.full((3,), -3.0, dtype=DOUBLE, requires_grad=True)
        f = lambda t, y, w: w * y + torch.sin(y)
        options = {"solver": method, "num_steps": num_steps, "gradient": chosen}
        y1 = odesolve(f, y0, 0, 1, args=(w,), **options).y1
        results.append(torch.autograd.grad(y1.square().sum(), (y0, w)))
    pairs = zip(*results, strict=True)
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


@pytest.mark.parametrize(
    "solver, coupling",
    [(AsynchronousLeapfrog(damping=0.8), 1.0), (SOLVERS["rk4"], 0.6)],
    ids=["damped", "coupled"],
)
def test_anchors_bound_the_drift_of_a_solution_that_decays(solver, coupling) -> None:
    drifts = [
        drift(Reversible(anchor_every=every, coupling=coupling), solver)
        for every in (None, 25, 5, 1)
    ]
    assert drifts[0] > 0.1 and drifts[1] < 1e-11 and drifts[2] < 1e-13 and drifts[3] < 1e-14


def test_more_anchors_than_steps_change_nothing() -> None:
    for every in (4, 5, 10**6):
        gradient = Reversible(anchor_every=every)
        for a, b in zip(
            gradients(leaf_args, gradient, solver="leapfrog", num_steps=4),
            gradients(leaf_args, "reversible", solver="leapfrog", num_steps=4),
            strict=True,
        ):
            assert torch.equal(a, b)


@pytest.mark.parametrize(
    "solver, per_step, extra",
    [("leapfrog", 1, 1), ("reversible-heun", 1, 2), ("rk4", 8, 0), ("dopri5", 12, 0)],
)
def test_a_step_back_costs_no_more_evaluations_than_a_step(solver, per_step, extra) -> None:
    for num_steps in (5, 20):
        case = leaf_args()
        solution = odesolve(
            case.vector_field, case.y0, 0, 1, args=case.args, solver=solver, num_steps=num_steps,
            gradient="reversible",
        )  # fmt: skip
        solution.y1.sum().backward()
        stats = solution.stats
        # Beside the steps: f(t0, y0) starts the memory, and reversible Heun's last slope.
        assert stats.nfe_backward == per_step * num_steps + extra
        assert stats.nfe_backward <= stats.nfe_forward + 1


def test_reversible_couples_a_runge_kutta_method_and_keeps_its_order() -> None:
    method = Reversible(coupling=0.99).solver_for(SOLVERS["rk4"])
    assert isinstance(method, CoupledRungeKutta) and method.coupling == 0.99
    errors = []
    for num_steps in (40, 80):
        y0 = torch.ones(1, dtype=DOUBLE, requires_grad=True)
        options = {"solver": "rk4", "num_steps": num_steps, "gradient": "reversible"}
        y1 = odesolve(lambda t, y: y * torch.cos(t), y0, 0, 1, **options).y1
        (slope,) = torch.autograd.grad(y1, y0)
        errors.append(abs(float(slope) - math.exp(math.sin(1))))
    assert 3.9 < math.log2(errors[0] / errors[1]) < 4.6


def test_a_reversible_solver_is_taken_as_it_is() -> None:
    for name in ("leapfrog", "reversible-heun"):
        assert Reversible().solver_for(SOLVERS[name]) is SOLVERS[name]


@pytest.mark.parametrize("solver", ["adams-bashforth3", "gauss-legendre4", "kencarp4"])
def test_solvers_that_cannot_be_undone_are_refused(solver: str) -> None:
    with pytest.raises(ValueError, match="`solver` must be reversible or an explicit Runge-Kutta"):
        odesolve(torch_sin, drawn(3), 0, 1, solver=solver, num_steps=3, gradient="reversible")


def test_anchors_at_no_distance_are_refused() -> None:
    with pytest.raises(ValueError, match="`anchor_every` must be a whole number of at least 1"):
        Reversible(anchor_every=0)


def torch_sin(t: Tensor, y: Tensor) -> Tensor:
    return torch.sin(y)


def test_float32_stays_within_its_rounding_of_the_gradient_in_float64() -> None:
    method = Reversible().solver_for(SOLVERS["rk4"])
    options = {"solver": method, "num_steps": 100}
    exact = gradients_of_all("direct", **options)
    ours = gradients_of_all("reversible", torch.float32, **options)
    for a, b in zip(ours, exact, strict=True):
        assert float((a - b).abs().max()) < 2e-5 * float(b.abs().max())
