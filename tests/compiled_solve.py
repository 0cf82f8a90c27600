"""torch.compile over solves with fixed steps: one graph, the same numbers, forward and backward.

Run by test_compiled_solve.py in a process of its own.
"""

import math
import shutil

import pytest
import torch
import torch._dynamo
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from odevision import GridController, ODEBlock, odesolve

SOLVERS = ("euler", "rk4", "dopri5", "leapfrog", "adams-bashforth3", "adams-moulton3")
each_gradient = pytest.mark.parametrize("gradient", ["direct", "checkpointed"])


class Field(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.linear(y)) * (1 + t)


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    torch.manual_seed(0)
    yield
    torch._dynamo.reset()


def field(t: Tensor, y: Tensor, w: Tensor) -> Tensor:
    return torch.sin(w * y) * (1 + t)


def assert_same(function, parameters: list[Tensor], *, backend: str = "eager", **close) -> None:
    """The compiled function is one graph with the values and gradients of the plain one."""
    compiled = torch.compile(function, fullgraph=True, backend=backend)
    y0 = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
    plain, fast = function(y0), compiled(y0)
    torch.testing.assert_close(fast, plain, **close)
    inputs = [y0, *parameters]
    lam = torch.randn(plain.shape, generator=torch.Generator().manual_seed(2))
    for ours, theirs in zip(
        torch.autograd.grad(fast, inputs, lam),
        torch.autograd.grad(plain, inputs, lam),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, **close)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_solve_compiles_into_one_graph(solver: str) -> None:
    w = torch.randn(3).requires_grad_()
    options = {"solver": solver, "num_steps": 3}
    assert_same(lambda y: odesolve(field, y, 0.0, 1.0, args=(w,), **options).y1, [w])


@each_gradient
def test_an_ode_block_compiles_into_one_graph_with_its_backward_pass(gradient) -> None:
    block = ODEBlock(Field(), solver="dopri5", num_steps=2, gradient=gradient)
    assert_same(block, list(block.parameters()), backend="aot_eager")


@each_gradient
def test_saved_states_compile(gradient) -> None:
    options = {"solver": "rk4", "num_steps": 2, "gradient": gradient}
    f = Field()
    solve = lambda y: odesolve(f, y, 0.0, 1.0, save_at=[0.0, 0.3, 1.0], **options).ys
    assert_same(solve, list(f.parameters()))


@each_gradient
def test_a_nested_state_and_a_grid_compile(gradient) -> None:
    def solve(y):
        swing = lambda t, state: {"x": state["v"], "v": -torch.sin(state["x"])}
        steps = GridController(times=(0.1, 0.4))
        end = odesolve(
            swing, {"x": y, "v": 2 * y}, 0, 1, solver="rk4", controller=steps, gradient=gradient
        ).y1
        return end["x"] + end["v"]

    assert_same(solve, [])


@each_gradient
def test_autocast_inside_the_field_compiles(gradient) -> None:
    block = ODEBlock(Field(), solver="rk4", num_steps=2, gradient=gradient)

    def solve(y):
        with torch.autocast("cpu", torch.bfloat16):
            return block(y)

    assert_same(solve, list(block.parameters()), rtol=2e-2, atol=2e-2)


def test_a_solve_is_compiled_once_for_all_calls() -> None:
    block = ODEBlock(Field(), solver="rk4", num_steps=2)
    compiled = torch.compile(block, fullgraph=True, backend="eager")
    with torch._dynamo.config.patch(error_on_recompile=True):
        for _ in range(3):
            compiled(torch.randn(5, 3)).sum().backward()
    assert block.last_stats.nfe_forward == 8


def test_a_compiled_field_serves_an_adaptive_solve() -> None:
    f, y0 = Field(), torch.randn(5, 3).requires_grad_()
    compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
    plain, fast = odesolve(f, y0, 0, 1), odesolve(compiled, y0, 0, 1)
    torch.testing.assert_close(fast.y1, plain.y1)
    assert fast.stats.num_steps == plain.stats.num_steps
    inputs = [y0, *f.parameters()]
    for ours, theirs in zip(
        torch.autograd.grad(fast.y1.sum(), inputs),
        torch.autograd.grad(plain.y1.sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_an_adaptive_solve_keeps_its_numbers_where_a_compiler_breaks_it_up() -> None:
    f, y0 = Field(), torch.randn(5, 3)
    compiled = torch.compile(lambda y: odesolve(f, y, 0, 1).y1, backend="eager")
    torch.testing.assert_close(compiled(y0), odesolve(f, y0, 0, 1).y1)


def traced_block() -> ODEBlock:
    return ODEBlock(Field(), solver="dopri5", num_steps=2)


X, OTHER = torch.ones(5, 3), torch.full((5, 3), 0.5)
# Each makes a function of a module from a look at one of its calls.
TRACERS = {
    "export": lambda m: torch.export.export(m, (X,)).module(),
    "strict export": lambda m: torch.export.export(m, (X,), strict=True).module(),
    "make_fx": lambda m: make_fx(m)(X),
    "make_fx with fake tensors": lambda m: make_fx(
        m, tracing_mode="fake", _allow_non_fake_inputs=True
    )(X),
    "functionalize": lambda m: torch.func.functionalize(m),
    "jit.trace": lambda m: torch.jit.trace(m, (X,), check_trace=False),
}


@pytest.mark.parametrize("name", list(TRACERS))
def test_tracers_see_every_operation_and_leave_nothing_behind(name: str) -> None:
    block = traced_block()
    with torch.no_grad():
        traced = TRACERS[name](block)
        torch.testing.assert_close(traced(OTHER), block(OTHER))
    fresh_y = X.clone().requires_grad_()
    block(fresh_y).sum().backward()
    assert type(fresh_y.grad) is Tensor


def test_a_solve_of_fake_tensors_leaves_no_fake_constants_behind() -> None:
    shape = (7, 2)
    solve = lambda y: odesolve(lambda t, y: -y, y, 0, 1, solver="tsit5", num_steps=3).y1
    with FakeTensorMode():
        assert solve(torch.ones(shape, dtype=torch.float64)).shape == shape
    y1 = solve(torch.ones(shape, dtype=torch.float64))
    torch.testing.assert_close(y1, torch.full_like(y1, 1 / math.e), rtol=1e-5, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["rk4", "dopri5"])
@each_gradient
def test_inductor_keeps_the_numbers(solver: str, gradient) -> None:
    if shutil.which("g++") is None:
        pytest.skip("inductor needs g++ on the path")
    block = ODEBlock(Field(), solver=solver, num_steps=3, gradient=gradient)
    assert_same(block, list(block.parameters()), backend="inductor", rtol=1e-5, atol=1e-6)
