"""Vector fields that reach their tensors in different ways, for comparing gradient methods."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from problems import DOUBLE
from torch import Tensor, nn

from odevision import Event, odesolve
from odevision.ode.solvers import SOLVERS
from odevision.solve.checks import Gradient, resolve_gradient, resolve_solver

# Every solver but for most of Adams's 24, which are one formula.
FAMILIES = [
    name for name in SOLVERS if not name.startswith("adams") or name.endswith(("n1", "h3", "n12"))
]


EXPLICIT = [name for name in FAMILIES if not SOLVERS[name].iterates]


class Case(NamedTuple):
    vector_field: Callable[..., Tensor]
    y0: Tensor
    args: Any
    wanted: list[Tensor]


def drawn(*shape: int, seed: int = 0, leaf: bool = True) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=DOUBLE, generator=generator).requires_grad_(leaf)


def no_tensors_but_y0() -> Case:
    y0 = drawn(4, 3)
    return Case(lambda t, y: torch.sin(y) - t * y, y0, (), [y0])


def module() -> Case:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)).double()

    class Field(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, t, y):
            return self.net(y) * (1 + t)

    y0 = drawn(4, 3)
    return Case(Field(), y0, (), [y0, *net.parameters()])


def function_around_a_module() -> Case:
    case = module()
    return case._replace(vector_field=lambda t, y: case.vector_field(t, y))


def leaf_args() -> Case:
    y0, a, b = drawn(4, 3), drawn(3, seed=1), drawn(3, seed=2)
    return Case(lambda t, y, a, b: torch.sin(a * y) + b, y0, (a, b), [y0, a, b])


def computed_args() -> Case:
    y0, w = drawn(4, 3), drawn(3, seed=1)
    args = (torch.exp(w), w * w)
    return Case(lambda t, y, a, b: torch.sin(a * y) + b, y0, args, [y0, w])


def computed_args_in_a_dict() -> Case:
    y0, w = drawn(4, 3), drawn(3, seed=1)
    args = {"a": torch.exp(w), "more": [w, w * w]}
    return Case(
        lambda t, y, p: torch.sin(p["a"] * y) + p["more"][0] * p["more"][1], y0, args, [y0, w]
    )


def module_with_computed_args() -> Case:
    w = drawn(3, seed=1)

    class Field(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 3).double()

        def forward(self, t, y, scale):
            return torch.tanh(self.linear(y)) * scale

    torch.manual_seed(0)
    field, y0 = Field(), drawn(4, 3)
    return Case(field, y0, (torch.exp(w),), [y0, w, *field.parameters()])


def closed_over_leaf() -> Case:
    y0, w = drawn(4, 3), drawn(3, seed=1)
    return Case(lambda t, y: torch.sin(w * y), y0, (), [y0, w])


def closed_over_computed() -> Case:
    y0, w = drawn(4, 3), drawn(3, seed=1)
    v = torch.exp(w)
    return Case(lambda t, y: torch.sin(v * y), y0, (), [y0, w])


def closed_over_leaf_and_what_is_computed_of_it() -> Case:
    y0, w = drawn(4, 3), drawn(3, seed=1)
    v = torch.exp(w)
    return Case(lambda t, y: torch.sin(v * y) * w, y0, (), [y0, w])


def computed_both_given_and_closed_over() -> Case:
    y0, w = drawn(4, 3), drawn(3, seed=1)
    v = torch.exp(w)
    return Case(lambda t, y, a: torch.sin(a * y) * v, y0, (v,), [y0, w])


def y0_as_an_argument() -> Case:
    y0 = drawn(4, 3)
    return Case(lambda t, y, start: torch.sin(y) * start, y0, (y0,), [y0])


def computed_y0_as_an_argument() -> Case:
    w = drawn(4, 3)
    y0 = torch.exp(w)
    return Case(lambda t, y, start: torch.sin(y) * start, y0, (y0,), [w])


def closed_over_computed_y0() -> Case:
    w = drawn(4, 3)
    y0 = torch.exp(w)
    return Case(lambda t, y: torch.sin(y) * y0, y0, (), [w])


GLOBAL_WEIGHT = drawn(3, seed=5)


def _uses_a_global(t: Tensor, y: Tensor) -> Tensor:
    return torch.sin(GLOBAL_WEIGHT * y)


def global_tensor() -> Case:
    y0 = drawn(4, 3)
    return Case(_uses_a_global, y0, (), [y0, GLOBAL_WEIGHT])


def module_that_uses_a_global() -> Case:
    class Field(nn.Module):
        def forward(self, t, y):
            return torch.sin(GLOBAL_WEIGHT * y)

    y0 = drawn(4, 3)
    return Case(Field(), y0, (), [y0, GLOBAL_WEIGHT])


def partial() -> Case:
    y0, w = drawn(4, 3), drawn(3, seed=1)
    return Case(functools.partial(lambda v, t, y: torch.sin(v * y), torch.exp(w)), y0, (), [y0, w])


class _Oscillator:
    def __init__(self, w: Tensor) -> None:
        self.w = w
        self.computed = {"v": torch.exp(w)}

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.sin(self.w * y) * self.computed["v"]

    def late(self, t: Tensor, y: Tensor) -> Tensor:
        return -y if t < 0.4 else self(t, y)


def callable_object() -> Case:
    y0, w = drawn(4, 3), drawn(3, seed=1)
    return Case(_Oscillator(w), y0, (), [y0, w])


def method_that_uses_its_tensors_late() -> Case:
    y0, w = drawn(4, 3), drawn(3, seed=1)
    return Case(_Oscillator(w).late, y0, (), [y0, w])


def module_with_a_computed_attribute() -> Case:
    class Field(nn.Module):
        def __init__(self, weight) -> None:
            super().__init__()
            self.weight = weight

        def forward(self, t, y):
            return torch.sin(self.weight * y)

    y0, w = drawn(4, 3), drawn(3, seed=1)
    return Case(Field(torch.exp(w)), y0, (), [y0, w])


def sum_of_two_equal_shapes() -> Case:
    """Autograd hands one and the same gradient tensor to a and b."""
    y0, a, b = drawn(4, 3), drawn(4, 3, seed=1), drawn(4, 3, seed=2)
    return Case(lambda t, y: a + b, y0, (), [y0, a, b])


def expanded_gradient() -> Case:
    y0, a = drawn(4, 3), drawn(3, seed=1)
    return Case(lambda t, y: torch.sin(y) + a.sum(), y0, (), [y0, a])


def force_of_an_energy() -> Case:
    """f is a gradient itself: it switches gradients on and builds a graph inside."""
    y0, w = drawn(4, 3), drawn(3, seed=1)

    def f(t, y):
        with torch.enable_grad():
            y = y if y.requires_grad else y.requires_grad_()
            energy = (torch.cos(w * y) * (1 + y * y)).sum()
            return torch.autograd.grad(energy, y, create_graph=True)[0]

    return Case(f, y0, (), [y0, w])


def module_of_an_energy() -> Case:
    case = force_of_an_energy()

    class Field(nn.Module):
        def __init__(self, w) -> None:
            super().__init__()
            self.w = nn.Parameter(w.detach().clone())

        def forward(self, t, y):
            with torch.enable_grad():
                y = y if y.requires_grad else y.detach().requires_grad_()
                energy = (torch.cos(self.w * y) * (1 + y * y)).sum()
                return torch.autograd.grad(energy, y, create_graph=True)[0]

    field = Field(case.wanted[1])
    return case._replace(vector_field=field, wanted=[case.y0, field.w])


def complex_state() -> Case:
    y0 = torch.complex(drawn(3, leaf=False), drawn(3, seed=1, leaf=False)).requires_grad_()
    w = torch.complex(drawn(3, seed=2, leaf=False), drawn(3, seed=3, leaf=False)).requires_grad_()
    return Case(lambda t, y: w * y * (1 + 0.1 * y), y0, (), [y0, w])


def y0_without_a_gradient() -> Case:
    y0, w = drawn(4, 3, leaf=False), drawn(3, seed=1)
    return Case(lambda t, y: torch.sin(w * y), y0, (), [w])


CASES = (
    no_tensors_but_y0,
    module,
    function_around_a_module,
    leaf_args,
    computed_args,
    computed_args_in_a_dict,
    module_with_computed_args,
    closed_over_leaf,
    closed_over_computed,
    closed_over_leaf_and_what_is_computed_of_it,
    computed_both_given_and_closed_over,
    y0_as_an_argument,
    computed_y0_as_an_argument,
    closed_over_computed_y0,
    global_tensor,
    module_that_uses_a_global,
    partial,
    callable_object,
    method_that_uses_its_tensors_late,
    module_with_a_computed_attribute,
    sum_of_two_equal_shapes,
    expanded_gradient,
    force_of_an_energy,
    module_of_an_energy,
    complex_state,
    y0_without_a_gradient,
)


def gradients(make: Callable[[], Case], gradient: Gradient, **options: Any) -> tuple[Tensor, ...]:
    """Gradients of a loss on the end and on the saved states, if any."""
    case = make()
    solution = odesolve(
        case.vector_field, case.y0, 0.0, 1.0, args=case.args, gradient=gradient, **options
    )
    loss = solution.y1.abs().square().sum() + solution.ys.abs().pow(3).sum()
    return torch.autograd.grad(loss, case.wanted, allow_unused=True, materialize_grads=True)


def gradients_of_all(
    gradient: Gradient, dtype: torch.dtype = DOUBLE, *, event: Event | None = None, **options: Any
) -> list[Tensor]:
    """Gradients to t0, t1, y0, args, saved times and parameters of a loss on all that is asked for.

    The field is mild: y neither grows nor decays by much.
    """
    generator = torch.Generator().manual_seed(7)
    fresh = lambda *shape: torch.randn(*shape, generator=generator, dtype=DOUBLE).to(dtype)
    linear = nn.Linear(3, 3)
    for parameter, value in zip(linear.parameters(), (fresh(3, 3), fresh(3)), strict=True):
        parameter.data = value

    class Field(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = linear

        def forward(self, t, y, w):
            return torch.sin(self.linear(y)) * w + 0.3 * torch.cos(3 * t)

    t0, t1, y0, w = (x.requires_grad_() for x in (*fresh(2), fresh(4, 3), fresh(3)))
    with torch.no_grad():
        t0.fill_(0.2)
        t1.fill_(1.1)
    wanted = [t0, t1, y0, w, *linear.parameters()]
    if isinstance(options.get("save_at"), list):
        options["save_at"] = torch.tensor(options["save_at"], dtype=dtype, requires_grad=True)
        wanted.append(options["save_at"])
    solution = odesolve(Field(), y0, t0, t1, args=(w,), gradient=gradient, event=event, **options)
    loss = solution.y1.square().sum() + solution.ys.pow(3).sum()
    if solution.interpolant is not None:
        loss = loss + solution.interpolant(torch.tensor([0.3, 0.62, 0.9], dtype=dtype)).sin().sum()
    for t, y in zip(solution.event_ts, solution.event_ys, strict=True):
        assert len(t) > 0
        loss = loss + t.sin().sum() + y.square().sum()
    return list(torch.autograd.grad(loss, wanted))


def assert_equal_gradients(
    make: Callable[[], Case],
    gradient: Gradient = "checkpointed",
    *,
    solver: Any = "tsit5",
    rtol: float = 1e-8,
    **options: Any,
) -> None:
    """Compare with `direct` through the solver that the gradient makes of the one given."""
    options["solver"] = resolve_gradient(gradient).solver_for(resolve_solver(solver))
    exact = gradients(make, "direct", **options)
    for ours, theirs in zip(gradients(make, gradient, **options), exact, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=1e-4 * rtol)


def assert_all_gradients_equal(
    gradient: Gradient, *, solver: Any, rtol: float = 1e-8, **options: Any
) -> None:
    """Compare with `direct` in all that a gradient can reach."""
    options["solver"] = resolve_gradient(gradient).solver_for(resolve_solver(solver))
    exact = gradients_of_all("direct", **options)
    for ours, theirs in zip(gradients_of_all(gradient, **options), exact, strict=True):
        scale = max(float(theirs.abs().max()), 1e-3)  # t1 has none where an event ends the solve
        torch.testing.assert_close(ours, theirs, rtol=0, atol=rtol * scale)
