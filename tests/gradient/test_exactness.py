"""Both gradients are those of the numbers that the forward pass computed."""

import pytest
import torch
from cases import (
    CASES,
    FAMILIES,
    Case,
    assert_equal_gradients,
    drawn,
    gradients,
    leaf_args,
    module,
)
from problems import DOUBLE
from torch import nn

from odevision import odesolve
from odevision.ode.controller import PIDController
from odevision.ode.loop import integrate
from odevision.ode.solution import Stats
from odevision.ode.solver import Memory
from odevision.ode.solvers import SOLVERS
from odevision.ode.term import ODETerm

ADAPTIVE = ["heun", "bosh3", "dopri5", "tsit5"]
SAVED = [0.0, 0.2, 0.35, 0.4, 1.0]
each_case = pytest.mark.parametrize("make", CASES, ids=[case.__name__ for case in CASES])


@pytest.mark.parametrize("num_steps", [3, 10, 30])
@pytest.mark.parametrize("solver", FAMILIES)
def test_checkpointed_equals_direct_for_every_method(solver: str, num_steps: int) -> None:
    assert_equal_gradients(module, solver=solver, num_steps=num_steps)


@each_case
def test_checkpointed_reaches_every_tensor_once(make) -> None:
    assert_equal_gradients(make, solver="bosh3", num_steps=3)


@each_case
def test_checkpointed_reaches_every_tensor_once_in_unit_steps(make) -> None:
    assert_equal_gradients(make, solver="euler", num_steps=1)
    assert_equal_gradients(make, solver="euler", num_steps=2)


@each_case
def test_checkpointed_reaches_every_tensor_through_adaptive_steps_and_saved_states(make) -> None:
    assert_equal_gradients(make, solver="dopri5", save_at=SAVED)


@pytest.mark.parametrize("save_at", [None, SAVED])
@pytest.mark.parametrize("solver", ADAPTIVE)
def test_checkpointed_equals_direct_across_rejected_steps(solver: str, save_at) -> None:
    controller = PIDController(dt0=1.0, rtol=1e-5, atol=1e-6)
    case = leaf_args()
    stats = odesolve(
        case.vector_field, case.y0, 0, 1, args=case.args, solver=solver, controller=controller
    ).stats
    assert stats.num_rejected_steps > 0
    assert_equal_gradients(leaf_args, solver=solver, controller=controller, save_at=save_at)


@pytest.mark.parametrize("solver", FAMILIES)
def test_checkpointed_equals_direct_in_saved_states(solver: str) -> None:
    assert_equal_gradients(module, solver=solver, num_steps=4, save_at=SAVED)


def test_checkpointed_equals_direct_backward_in_time() -> None:
    make = leaf_args
    results = []
    for gradient in ("direct", "checkpointed"):
        case = make()
        solution = odesolve(
            case.vector_field, case.y0, 1, 0, args=case.args, gradient=gradient, save_at=[0.6, 0.1]
        )
        results.append(torch.autograd.grad(solution.ys.square().sum(), case.wanted))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
@pytest.mark.parametrize("solver", ADAPTIVE)
def test_the_step_sizes_stay_out_of_the_graph(solver: str, gradient: str) -> None:
    case, controller = leaf_args(), PIDController(rtol=1e-4, atol=1e-5)
    solution = odesolve(
        case.vector_field,
        case.y0,
        0.0,
        1.0,
        args=case.args,
        solver=solver,
        controller=controller,
        gradient=gradient,  # pyright: ignore[reportArgumentType]
    )
    ours = torch.autograd.grad(solution.y1.square().sum(), case.wanted)
    steps, method = [], SOLVERS[solver]
    term = ODETerm(lambda t, y: case.vector_field(t, y, *case.args), Stats())
    with torch.no_grad():
        integrate(
            term,
            method,
            controller,
            case.y0,
            0.0,
            1.0,
            max_steps=100,
            on_accept=lambda step, y, memory: steps.append(step),
        )
    y = case.y0
    for step in steps:  # the same grid, its times plain numbers
        y = method.step(term, step.t0, step.t1, y, None, Memory(), all_stages=False).y1
    theirs = torch.autograd.grad(y.square().sum(), case.wanted)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
@pytest.mark.parametrize("solver", FAMILIES)
def test_constant_steps_pass_gradcheck_in_state_and_arguments(solver: str, gradient) -> None:
    def solve(y0, a):
        f = lambda t, y, a: torch.sin(a * y) + t * a
        return odesolve(
            f, y0, 0, 1, args=(a,), solver=solver, num_steps=2, gradient=gradient, save_at=[0.3, 1]
        ).ys

    assert torch.autograd.gradcheck(solve, (drawn(2, 2), drawn(2, seed=1)))


def test_adaptive_gradients_converge_with_the_tolerance() -> None:
    exact = gradients(leaf_args, "direct", solver="tsit5", rtol=1e-11, atol=1e-12)
    errors = []
    for rtol in (1e-4, 1e-6):
        ours = gradients(leaf_args, "checkpointed", solver="tsit5", rtol=rtol, atol=0.1 * rtol)
        errors.append(max(float((a - b).abs().max()) for a, b in zip(ours, exact, strict=True)))
    assert errors[0] > 10 * errors[1]


def test_a_parameter_shared_by_two_solves_accumulates_both_gradients() -> None:
    results = []
    for gradient in ("direct", "checkpointed"):
        torch.manual_seed(0)
        net = nn.Linear(3, 3).double()

        def field(t, y, net=net):
            return torch.tanh(net(y))

        y = drawn(4, 3)
        for _ in range(2):
            y = odesolve(field, y, 0, 1, num_steps=3, gradient=gradient).y1
        (net(y).square().sum()).backward()
        (net.weight.sum()).backward()
        results.append([p.grad for p in net.parameters()])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)


def test_a_solve_inside_of_a_vector_field_has_its_gradient() -> None:
    results = []
    for gradient in ("direct", "checkpointed"):
        y0, w = drawn(2, 3), drawn(3, seed=1)

        def inner(t, y, w=w):
            return torch.sin(w * y)

        def outer(t, y, inner=inner, gradient=gradient):
            return odesolve(inner, y, 0, 0.3, num_steps=2, gradient=gradient).y1 - y

        y1 = odesolve(outer, y0, 0, 1, num_steps=3, gradient=gradient).y1
        results.append(torch.autograd.grad(y1.square().sum(), (y0, w)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda w: (lambda t, y: torch.sin(w * y), ()),
        lambda w: (lambda t, y, a: torch.sin(a * y), (w,)),
    ],
    ids=["closed over", "argument"],
)
def test_a_hook_sees_the_whole_gradient_once(make) -> None:
    w, seen = drawn(3, seed=1), []
    w.register_hook(lambda g: seen.append(g) or 2 * g)
    f, args = make(w)
    odesolve(f, drawn(4, 3, leaf=False), 0, 1, args=args, num_steps=5).y1.sum().backward()
    plain = drawn(3, seed=1)
    f, args = make(plain)
    odesolve(f, drawn(4, 3, leaf=False), 0, 1, args=args, num_steps=5).y1.sum().backward()
    assert len(seen) == 1
    torch.testing.assert_close(w.grad, 2 * plain.grad, rtol=1e-12, atol=0)


def test_the_hook_of_a_modules_parameter_sees_the_whole_gradient_once() -> None:
    case, seen = module(), []
    case.wanted[1].register_hook(lambda g: seen.append(g))
    odesolve(case.vector_field, case.y0, 0, 1, num_steps=5).y1.sum().backward()
    assert len(seen) == 1
    torch.testing.assert_close(seen[0], case.wanted[1].grad, rtol=0, atol=0)


def test_the_callers_output_gradient_is_left_as_it_was() -> None:
    a = torch.zeros(3, dtype=DOUBLE, requires_grad=True)
    y1 = odesolve(lambda t, y: a, drawn(3), 0, 2, solver="euler", num_steps=2).y1
    lam = torch.ones(3, dtype=DOUBLE)
    y1.backward(lam)
    assert torch.equal(lam, torch.ones(3, dtype=DOUBLE))
    assert torch.equal(a.grad, torch.full((3,), 2.0, dtype=DOUBLE))


def test_activations_that_a_field_keeps_do_not_disturb_the_next_solve() -> None:
    class Field(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3).double()

        def forward(self, t, y):
            self.kept = torch.tanh(self.linear(y))
            return self.kept

    log, w = [], drawn(3, seed=1)

    def logging_field(t, y):
        log.append(torch.sin(w * y))
        return log[-1]

    for field in (Field(), logging_field):
        values = []
        for _ in range(3):
            y0 = drawn(4, 3)
            odesolve(field, y0, 0, 1, num_steps=3).y1.square().sum().backward()
            values.append(y0.grad)
        assert torch.equal(values[0], values[2])


class Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, b):
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx, lam):  # pyright: ignore[reportIncompatibleMethodOverride]
        a, b = ctx.saved_tensors
        return (lam * b).sum(0), lam * a


def product_of_closed_over() -> Case:
    y0, w = drawn(4, 3), drawn(3, seed=1)
    v = torch.exp(w)
    return Case(lambda t, y: Product.apply(v, torch.sin(y)), y0, (), [y0, w])


def product_of_argument() -> Case:
    y0, w = drawn(4, 3), drawn(3, seed=1)
    f = lambda t, y, v: Product.apply(v, torch.sin(y))
    return Case(f, y0, (torch.exp(w),), [y0, w])


def test_a_computed_tensor_that_slips_into_a_custom_function_is_refused_not_lost() -> None:
    with pytest.raises(ValueError, match="Try to pass it in `args`"):
        gradients(product_of_closed_over, "checkpointed", num_steps=3)


def test_a_computed_argument_may_enter_a_custom_function() -> None:
    assert_equal_gradients(product_of_argument, num_steps=3)


def test_a_second_derivative_is_refused_by_checkpointed() -> None:
    case = leaf_args()
    y1 = odesolve(case.vector_field, case.y0, 0, 1, args=case.args, num_steps=3).y1
    with pytest.raises(ValueError, match="Try gradient='direct'"):
        torch.autograd.grad(y1.sum(), case.y0, create_graph=True)


@pytest.mark.parametrize("solver", [name for name in FAMILIES if not SOLVERS[name].iterates])
def test_direct_has_second_derivatives(solver: str) -> None:
    def solve(y0, a):
        f = lambda t, y, a: torch.sin(a * y)
        return odesolve(f, y0, 0, 1, args=(a,), solver=solver, num_steps=2, gradient="direct").y1

    assert torch.autograd.gradgradcheck(solve, (drawn(2, 2), drawn(2, seed=1)))


@pytest.mark.parametrize("solver", [name for name in FAMILIES if SOLVERS[name].iterates])
def test_a_second_derivative_is_refused_by_implicit_methods(solver: str) -> None:
    case = leaf_args()
    options = {"solver": solver, "num_steps": 2, "gradient": "direct"}
    y1 = odesolve(case.vector_field, case.y0, 0, 1, args=case.args, **options).y1
    with pytest.raises(ValueError, match="`solver` must be an explicit method"):
        (first,) = torch.autograd.grad(y1.sum(), case.y0, create_graph=True)
        torch.autograd.grad(first.sum(), case.y0)


def test_the_backward_pass_may_run_twice_where_the_graph_is_kept() -> None:
    case = leaf_args()
    y1 = odesolve(case.vector_field, case.y0, 0, 1, args=case.args, num_steps=3).y1
    first = torch.autograd.grad(y1.sum(), case.wanted, retain_graph=True)
    second = torch.autograd.grad(y1.sum(), case.wanted)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


def test_a_weight_changed_between_forward_and_backward_is_noticed() -> None:
    case = leaf_args()
    y1 = odesolve(case.vector_field, case.y0, 0, 1, args=case.args, num_steps=3).y1
    with torch.no_grad():
        case.args[0].add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y1.sum().backward()


def test_the_fields_own_exception_passes_through_the_backward_pass() -> None:
    class OwnError(Exception):
        pass

    broken, y0 = [], drawn(3)

    def f(t, y):
        if broken:
            raise OwnError("mine")
        return -y

    y1 = odesolve(f, y0, 0, 1, num_steps=2).y1
    broken.append(True)
    with pytest.raises(OwnError, match="mine"):
        y1.sum().backward()
