"""What a gradient allows: one way back or several, no second derivative, no changes in between."""

import pytest
import torch
from cases import drawn, leaf_args
from problems import DOUBLE
from torch.func import grad, vmap

from odevision import odesolve
from odevision.gradient import Auto, Backsolve, Checkpointed, Reversible
from odevision.ode.per_sample import PerSample
from odevision.solve import resolve_solver

pytestmark = pytest.mark.filterwarnings(
    "ignore::odevision.gradient.backsolve.ConvergentGradientWarning"
)
APART = {
    "checkpointed": (Checkpointed(), "rk4"),
    "two states": (Checkpointed(max_states=2), "rk4"),
    "by stages": (Checkpointed(graph="stage"), "rk4"),
    "leapfrog": (Reversible(), "leapfrog"),
    "reversible Heun": (Reversible(), "reversible-heun"),
    "coupled": (Reversible(), "rk4"),
    "anchors": (Reversible(anchor_every=2), "rk4"),
    "resolved": (Backsolve(), "rk4"),
    "interpolated": (Backsolve(path="interpolated"), "rk4"),
    "auto": (Auto(max_bytes=1), "rk4"),
}
each_apart = pytest.mark.parametrize("gradient, solver", APART.values(), ids=list(APART))


def solve(gradient, solver: str, **options):
    case = leaf_args()
    options = {"num_steps": 5, "save_at": [0.3, 1.0], **options}
    return case, odesolve(
        case.vector_field, case.y0, 0, 1, args=case.args, solver=solver, gradient=gradient,
        **options,
    )  # fmt: skip


@each_apart
def test_a_kept_graph_gives_the_same_gradient_twice(gradient, solver: str) -> None:
    case, solution = solve(gradient, solver)
    loss = solution.ys.square().sum()
    first = torch.autograd.grad(loss, case.wanted, retain_graph=True)
    second = torch.autograd.grad(loss, case.wanted, retain_graph=True)
    third = torch.autograd.grad(loss, case.wanted)
    for a, b, c in zip(first, second, third, strict=True):
        assert torch.equal(a, b) and torch.equal(a, c)


@each_apart
def test_a_used_up_graph_is_refused(gradient, solver: str) -> None:
    _, solution = solve(gradient, solver)
    solution.y1.sum().backward(retain_graph=True)
    solution.y1.sum().backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        solution.y1.sum().backward()


@each_apart
def test_a_second_derivative_is_refused_with_a_remedy(gradient, solver: str) -> None:
    case, solution = solve(gradient, solver)
    with pytest.raises(ValueError, match="Try gradient='direct'"):
        torch.autograd.grad(solution.y1.sum(), case.y0, create_graph=True)


@each_apart
@pytest.mark.parametrize("which", ["y0", "argument"])
def test_a_tensor_changed_between_forward_and_backward_is_noticed(gradient, solver, which) -> None:
    case, solution = solve(gradient, solver)
    with torch.no_grad():
        (case.y0 if which == "y0" else case.args[0]).add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        solution.ys.sum().backward()


@pytest.mark.parametrize("name", ["leapfrog", "reversible Heun", "coupled", "anchors", "resolved"])
def test_an_end_changed_between_forward_and_backward_is_noticed(name: str) -> None:
    gradient, solver = APART[name]
    _, solution = solve(gradient, solver)
    with torch.no_grad():
        solution.y1.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        solution.ys.sum().backward()


@pytest.mark.parametrize("name", list(APART))
def test_saved_states_may_be_changed_between_forward_and_backward(name: str) -> None:
    results = []
    for change in (False, True):
        case, solution = solve(*APART[name], save_at=[0.0, 0.3, 1.0])
        if change:
            with torch.no_grad():
                solution.ys.zero_()
        results.append(torch.autograd.grad(solution.y1.square().sum(), case.wanted))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@each_apart
def test_the_gradient_of_one_saved_state_alone_is_found(gradient, solver: str) -> None:
    case, solution = solve(gradient, solver, num_steps=40)
    ours = torch.autograd.grad(solution.ys[0].sum(), case.wanted)
    method = gradient.solver_for(resolve_solver(solver))
    case, solution = solve("direct", method, num_steps=40)
    theirs = torch.autograd.grad(solution.ys[0].sum(), case.wanted)
    rtol = 1e-4 if gradient.accuracy == "convergent" else 1e-9
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=rtol)


@each_apart
def test_two_solves_in_a_row_pass_their_gradients_on(gradient, solver: str) -> None:
    def end(chosen, method):
        y, w = drawn(4, 3), drawn(3, seed=1)
        start = y
        f = lambda t, y: torch.sin(w * y)
        options = {"solver": method, "num_steps": 20, "gradient": chosen}
        for t in (0, 1):
            y = odesolve(f, y, t, t + 1, **options).y1
        return torch.autograd.grad(y.square().sum(), (start, w))

    method = gradient.solver_for(resolve_solver(solver))
    rtol = 1e-3 if gradient.accuracy == "convergent" else 1e-9
    for a, b in zip(end(gradient, solver), end("direct", method), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=rtol)


@each_apart
def test_the_fields_own_exception_passes_through_the_way_back(gradient, solver: str) -> None:
    class OwnError(Exception):
        pass

    broken, y0 = [], drawn(3)

    def f(t, y):
        if broken:
            raise OwnError("mine")
        return -y

    y1 = odesolve(f, y0, 0, 1, solver=solver, num_steps=2, gradient=gradient).y1
    broken.append(True)
    with pytest.raises(OwnError, match="mine"):
        y1.sum().backward()


@each_apart
def test_vmap_and_grad_of_torch_func_record_the_solve_as_it_is(gradient, solver: str) -> None:
    def loss(y0, w, chosen=gradient, method=solver):
        f = lambda t, y, w: torch.sin(w * y)
        options = {"solver": method, "num_steps": 3, "gradient": chosen}
        return odesolve(f, y0, 0, 1, args=(w,), **options).y1.square().sum()

    method = gradient.solver_for(resolve_solver(solver))
    y0, w = drawn(4, 3, leaf=False), drawn(3, seed=1, leaf=False)
    ours = vmap(grad(loss, argnums=(0, 1)), in_dims=(0, None))(y0, w)
    leaves = y0.clone().requires_grad_(), w.clone().requires_grad_()
    theirs = torch.autograd.grad(loss(*leaves, "direct", method), leaves)
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours[1].sum(0), theirs[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "gradient",
    [Checkpointed(max_states=2), Checkpointed(graph="stage"), Reversible(), Backsolve()],
    ids=repr,
)
def test_samples_with_clocks_of_their_own_refuse_what_they_cannot_have(gradient) -> None:
    y0, rates = drawn(4, 3), PerSample(drawn(4, 1, seed=1))
    with pytest.raises(ValueError, match="under batch='independent', got .*Try gradient='check"):
        odesolve(
            lambda t, y, r: r * y, y0, 0, 1, args=(rates,), batch="independent",
            gradient=gradient, solver="dopri5",
        )  # fmt: skip


@each_apart
def test_arguments_marked_per_sample_serve_a_common_clock_too(gradient, solver: str) -> None:
    results = []
    for args in (lambda r: (PerSample(r),), lambda r: (r,)):
        y0, rates = drawn(4, 3), drawn(4, 1, seed=1)
        f = lambda t, y, r: torch.sin(r * y)
        options = {"solver": solver, "num_steps": 4, "gradient": gradient}
        y1 = odesolve(f, y0, 0, 1, args=args(rates), **options).y1
        results.append(torch.autograd.grad(y1.square().sum(), (y0, rates)))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@each_apart
def test_an_empty_interval_passes_the_gradient_through(gradient, solver: str) -> None:
    y0 = drawn(3)
    y1 = odesolve(lambda t, y: -y, y0, 1, 1, solver=solver, num_steps=3, gradient=gradient).y1
    (ours,) = torch.autograd.grad(y1.sum(), y0)
    assert torch.equal(ours, torch.ones(3, dtype=DOUBLE))
