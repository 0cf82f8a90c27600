"""compile=True with fixed steps and gradient="direct": the whole solve as one graph.

test_compiled_solve.py runs this file.
"""

import functools
import shutil
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odevision import Event, GridController, ODEBlock, Solution, odesolve
from odevision.ode.compiled_solve import MOST_STEPS

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("c++") is None, reason="needs a C++ compiler"
)


class Field(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 3, dtype=torch.float64)

    def prepare(self, y: Tensor) -> tuple[Tensor]:
        del y
        return (self.linear.weight.square().sum(),)

    def forward(self, t: Tensor, y: Tensor, *scale: Tensor) -> Tensor:
        slope = torch.tanh(self.linear(y)) * torch.cos(t)
        return slope * scale[0] if scale else slope


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Solves are traced as for a compiler but run without one; the list grows by each graph."""
    made: list[Any] = []

    def keep(graph: Any, inputs: Any, options: Any = None) -> Any:
        del inputs, options
        made.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=keep))
    return made


def start(samples: int = 5) -> Tensor:
    draw = torch.Generator().manual_seed(1)
    return torch.randn(samples, 3, dtype=torch.float64, generator=draw).requires_grad_()


def solve(compile: bool, f: Field | None = None, **options: Any) -> tuple[Solution, list[Tensor]]:
    f, y0 = f or Field(), start()
    solution = odesolve(
        f, y0, 0.2, 1.5, **{"solver": "rk4", "num_steps": 4, "gradient": "direct", **options},
        compile=compile,
    )  # fmt: skip
    wanted = [y0, *f.parameters()]
    return solution, list(torch.autograd.grad(solution.y1.square().sum(), wanted))


@pytest.mark.parametrize("solver", ["euler", "rk4", "dopri5", "leapfrog", "adams-bashforth3"])
def test_a_solve_is_one_graph_with_the_numbers_of_the_plain_one(
    graphs: list[Any], solver: str
) -> None:
    (plain, plain_grads), (fast, fast_grads) = (solve(c, solver=solver) for c in (False, True))
    assert len(graphs) == 1
    torch.testing.assert_close(fast.y1, plain.y1, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(fast_grads, plain_grads, rtol=1e-11, atol=1e-12)
    assert fast.stats == plain.stats
    assert fast.ts.tolist() == plain.ts.tolist()


@pytest.mark.parametrize("gradient", ["checkpointed", "backsolve", "direct"])
def test_a_solve_without_any_gradient_is_the_plain_one(graphs: list[Any], gradient: Any) -> None:
    f = Field().requires_grad_(False)
    options: dict[str, Any] = {"solver": "rk4", "num_steps": 4, "gradient": gradient}
    plain, fast = (
        odesolve(f, start().detach(), 0.2, 1.5, **options, compile=c).y1 for c in (False, True)
    )
    assert len(graphs) == 1
    torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-13)


def test_a_given_grid_is_one_graph(graphs: list[Any]) -> None:
    grid = GridController(times=[0.5, 0.6])
    plain, fast = (solve(c, num_steps=None, controller=grid)[0] for c in (False, True))
    assert len(graphs) == 1
    torch.testing.assert_close(fast.y1, plain.y1, rtol=1e-12, atol=1e-13)


def test_one_graph_serves_all_solves_until_something_changes(graphs: list[Any]) -> None:
    f = Field()
    for _ in range(3):
        solve(True, f)
    assert len(graphs) == 1
    solve(True, f, num_steps=3)
    assert len(graphs) == 2
    with torch.no_grad():
        odesolve(f, start(9), 0.2, 1.5, solver="rk4", num_steps=4, gradient="direct", compile=True)
    assert len(graphs) == 3


def test_weights_may_change_between_solves(graphs: list[Any]) -> None:
    f = Field()
    solve(True, f)
    with torch.no_grad():
        f.linear.weight.mul_(2)
    plain, fast = solve(False, f)[0], solve(True, f)[0]
    torch.testing.assert_close(fast.y1, plain.y1, rtol=1e-12, atol=1e-13)
    assert len(graphs) == 1


def test_a_block_with_prepared_weights_is_one_graph(graphs: list[Any]) -> None:
    f = Field()
    blocks = [
        ODEBlock(f, solver="rk4", num_steps=2, gradient="direct", compile=compile)
        for compile in (False, True)
    ]
    answers = []
    for block in blocks:
        y0 = start()
        y1 = block(y0)
        answers.append([y1, *torch.autograd.grad(y1.square().sum(), [y0, *f.parameters()])])
    torch.testing.assert_close(*answers, rtol=1e-11, atol=1e-12)
    assert len(graphs) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"save_at": [0.5, 1.5]},
        {"dense": True},
        {"event": Event(lambda t, y: t - 0.7, terminal=False)},
        {"num_steps": MOST_STEPS + 1},
        {"gradient": "checkpointed"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_other_solves_are_compiled_a_step_at_a_time(
    graphs: list[Any], options: dict[str, Any]
) -> None:
    plain, fast = (solve(c, **options)[0] for c in (False, True))
    torch.testing.assert_close(fast.y1, plain.y1, rtol=1e-12, atol=1e-13)
    evaluations = [graph.code.count("torch.cos(") for graph in graphs]
    assert 0 < max(evaluations) <= 4  # those of one step


@pytest.mark.slow
@needs_compiler
def test_a_real_compiler_keeps_answer_and_gradients() -> None:
    (plain, plain_grads), (fast, fast_grads) = (solve(c, num_steps=2) for c in (False, True))
    torch.testing.assert_close(fast.y1, plain.y1, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(fast_grads, plain_grads, rtol=1e-10, atol=1e-11)
