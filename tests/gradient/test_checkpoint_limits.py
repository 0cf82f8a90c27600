"""Checkpointed within limits of memory: the same gradient, and what it repeats for it."""

import functools
from collections.abc import Sequence

import pytest
import torch
from cases import (
    CASES,
    EXPLICIT,
    assert_all_gradients_equal,
    assert_equal_gradients,
    drawn,
    gradients_of_all,
    leaf_args,
    module,
)
from problems import DOUBLE
from torch import Tensor

from odevision import Event, GridController, PIDController, odesolve
from odevision.gradient import Checkpointed
from odevision.ode.runge_kutta import ExplicitRungeKutta
from odevision.ode.solvers import SOLVERS

LIMITS = (
    Checkpointed(max_states=1),
    Checkpointed(max_states=3),
    Checkpointed(max_states="sqrt"),
    Checkpointed(max_bytes=500),
    Checkpointed(graph="stage"),
    Checkpointed(max_states=2, graph="stage"),
)
ROOT = Event(lambda t, y: t - 0.7 + 0.05 * torch.sin(y.sum()), terminal=False)


def _short(gradient: Checkpointed) -> str:
    return f"{gradient.max_states}-{gradient.max_bytes}-{gradient.graph}"


each_limit = pytest.mark.parametrize("gradient", LIMITS, ids=_short)


def suits(solver: str, gradient: Checkpointed) -> bool:
    return gradient.graph == "step" or isinstance(SOLVERS[solver], ExplicitRungeKutta)


def pairs(solvers: Sequence[str], gradients: Sequence[Checkpointed]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "solver, gradient",
        [(solver, g) for solver in solvers for g in gradients if suits(solver, g)],
        ids=lambda x: _short(x) if isinstance(x, Checkpointed) else x,
    )


@functools.cache
def exact(solver: str, num_steps: int) -> list[Tensor]:
    return gradients_of_all("direct", solver=solver, num_steps=num_steps)


@pytest.mark.parametrize(
    "solver, num_steps, gradient",
    [
        (solver, num_steps, LIMITS[i])
        for solver in EXPLICIT
        for num_steps, i in ((3, 0), (3, 4), (10, 1), (10, 2), (10, 3), (10, 4))
        if suits(solver, LIMITS[i])
    ],
    ids=lambda x: _short(x) if isinstance(x, Checkpointed) else x,
)
def test_limited_equals_direct_for_every_explicit_method(solver: str, gradient, num_steps) -> None:
    ours = gradients_of_all(gradient, solver=solver, num_steps=num_steps)
    for a, b in zip(ours, exact(solver, num_steps), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    "solver, gradient",
    [
        ("rk4", Checkpointed(graph="stage")),
        ("bosh3", Checkpointed(max_states="sqrt")),
        ("leapfrog", Checkpointed(max_states=3)),
        ("adams-moulton3", Checkpointed(max_states="sqrt")),
    ],
    ids=str,
)
def test_limited_equals_direct_over_a_hundred_steps(solver: str, gradient) -> None:
    assert_all_gradients_equal(gradient, solver=solver, num_steps=100)


def test_stages_are_those_of_explicit_runge_kutta_methods() -> None:
    with pytest.raises(ValueError, match="`graph` must be 'step' where the solver is no explicit"):
        odesolve(
            lambda t, y: -y, drawn(2), 0, 1, solver="leapfrog", num_steps=2, gradient=LIMITS[4]
        )


@pytest.mark.parametrize("solver", ["kencarp4", "gauss-legendre6"])
def test_limited_equals_direct_for_implicit_methods(solver: str) -> None:
    assert_equal_gradients(module, Checkpointed(max_states=2), solver=solver, num_steps=3)


@pytest.mark.parametrize("gradient", [LIMITS[0], LIMITS[5]], ids=_short)
@pytest.mark.parametrize("make", CASES, ids=[case.__name__ for case in CASES])
def test_limited_reaches_every_tensor_once(make, gradient) -> None:
    assert_equal_gradients(make, gradient, solver="bosh3", num_steps=4)


@pytest.mark.parametrize("gradient", [LIMITS[0], LIMITS[2], LIMITS[5]], ids=_short)
@pytest.mark.parametrize("solver", ["bosh3", "tsit5", "dopri8"])
def test_limited_equals_direct_in_all_that_adaptive_steps_hand_out(solver: str, gradient) -> None:
    assert_all_gradients_equal(
        gradient,
        solver=solver,
        controller=PIDController(rtol=1e-5, atol=1e-6, dt0=0.9),
        save_at=[0.2, 0.31, 0.5, 0.52, 1.1],
        dense=True,
        event=ROOT,
    )


@pairs(["rk4", "leapfrog", "reversible-heun", "adams-bashforth3"], LIMITS[::2])
def test_limited_equals_direct_in_all_that_fixed_steps_hand_out(solver: str, gradient) -> None:
    assert_all_gradients_equal(
        gradient,
        solver=solver,
        num_steps=7,
        save_at=[0.2, 0.31, 0.5, 0.52, 1.1],
        dense=True,
        event=ROOT,
    )


@pairs(["euler", "rk4", "dopri5", "dopri8", "leapfrog"], LIMITS)
def test_limited_equals_direct_in_states_saved_at_the_ends_of_steps(solver: str, gradient) -> None:
    assert_equal_gradients(
        leaf_args, gradient, solver=solver, num_steps=4, save_at=[0.0, 0.25, 0.5, 1.0]
    )
    assert_equal_gradients(leaf_args, gradient, solver=solver, num_steps=4, save_at="steps")


@each_limit
def test_limited_equals_direct_across_a_jump_and_on_a_grid(gradient) -> None:
    jumps = PIDController(rtol=1e-5, atol=1e-6, jump_points=(0.5, 0.8))
    for controller in (jumps, GridController(times=(0.3, 0.35, 0.8))):
        assert_all_gradients_equal(gradient, solver="dopri5", controller=controller)


def test_a_field_that_jumps_is_walked_through_from_either_side() -> None:
    def solve(gradient):
        y0, w = drawn(3), drawn(3, seed=1)
        f = lambda t, y, w: torch.where(t < 0.5, -w * y, w * torch.cos(y))
        controller = PIDController(rtol=1e-6, atol=1e-7, jump_points=(0.5,))
        y1 = odesolve(f, y0, 0, 1, args=(w,), controller=controller, gradient=gradient).y1
        return torch.autograd.grad(y1.square().sum(), (y0, w))

    for ours, theirs in zip(solve(Checkpointed(max_states=1)), solve("direct"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)


def test_states_rounded_to_bfloat16_give_a_rounded_gradient() -> None:
    ours = gradients_of_all(Checkpointed(dtype=torch.bfloat16), solver="rk4", num_steps=20)
    for a, b in zip(ours, exact("rk4", 20), strict=True):
        error = float((a - b).abs().max() / b.abs().max())
        assert 1e-8 < error < 1e-2


def nfe_backward(gradient, solver: str, num_steps: int) -> int:
    case = leaf_args()
    options = {"solver": solver, "num_steps": num_steps, "gradient": gradient}
    solution = odesolve(case.vector_field, case.y0, 0, 1, args=case.args, **options)
    solution.y1.sum().backward()
    return solution.stats.nfe_backward


RUNGE_KUTTA = [name for name in EXPLICIT if isinstance(SOLVERS[name], ExplicitRungeKutta)]


@pytest.mark.parametrize("solver", RUNGE_KUTTA)
def test_each_accepted_step_is_made_again_once(solver: str) -> None:
    stages = SOLVERS[solver].tableau.num_solution_stages  # pyright: ignore[reportAttributeAccessIssue]
    assert nfe_backward("checkpointed", solver, 5) == 5 * stages
    assert nfe_backward(Checkpointed(graph="stage"), solver, 5) == 2 * 5 * stages


def test_rejected_steps_are_not_made_again() -> None:
    case, controller = leaf_args(), PIDController(dt0=1.0, rtol=1e-5, atol=1e-6)
    options = {"solver": "dopri5", "controller": controller}
    solution = odesolve(case.vector_field, case.y0, 0, 1, args=case.args, **options)
    solution.y1.sum().backward()
    assert solution.stats.num_rejected_steps > 0
    assert solution.stats.nfe_backward == 6 * solution.stats.num_accepted_steps


def held(gradient, solver: str, num_steps: int, *, dtype=DOUBLE) -> tuple[int, int, int]:
    """Most bytes held after the forward and after the backward pass, and those of one state."""
    y0 = drawn(4, 3, leaf=False).to(dtype).requires_grad_()
    options = {"solver": solver, "num_steps": num_steps, "gradient": gradient}
    solution = odesolve(lambda t, y: torch.sin(y), y0, 0, 1, **options)
    forward = solution.stats.bytes_held
    solution.y1.sum().backward()
    return forward, solution.stats.bytes_held, y0.nbytes


@pytest.mark.parametrize("num_steps", [1, 7, 64])
@pytest.mark.parametrize("states", [1, 2, 3, 8])
def test_no_more_states_are_held_than_allowed(states: int, num_steps: int) -> None:
    forward, most, one = held(Checkpointed(max_states=states), "euler", num_steps)
    assert forward <= most <= states * one


@pytest.mark.parametrize("num_bytes", [2000, 20000])
@pytest.mark.parametrize("solver", ["rk4", "leapfrog", "adams-bashforth3", "adams-moulton12"])
def test_no_more_bytes_are_held_than_allowed(solver: str, num_bytes: int) -> None:
    # The memory of Adams's methods grows in the first steps; one state with it fits into each.
    forward, most, one = held(Checkpointed(max_bytes=num_bytes), solver, 40)
    assert one <= forward <= most <= num_bytes


def test_the_room_is_used_up() -> None:
    _, most, one = held(Checkpointed(max_states=8), "euler", 64)
    assert most == 8 * one


def test_half_precision_halves_what_is_held() -> None:
    full, _, one = held(Checkpointed(), "rk4", 20, dtype=torch.float32)
    half, _, _ = held(Checkpointed(dtype=torch.bfloat16), "rk4", 20, dtype=torch.float32)
    # y0 is autograd's and stays as it is.
    assert full == 20 * one and half == one + 19 * one // 2


@pytest.mark.parametrize(
    "options, match",
    [
        ({"max_states": 0}, "`max_states` must be a whole number of at least 1"),
        ({"max_bytes": 0}, "`max_bytes` must be a whole number of at least 1"),
        ({"dtype": torch.int8}, "`dtype` must be a floating point type"),
    ],
)
def test_limits_that_keep_nothing_are_refused(options, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Checkpointed(**options)
