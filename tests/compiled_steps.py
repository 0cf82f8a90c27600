"""compile=True: the same solve, with each step as one graph.

test_compiled_solve.py runs this file.
"""

import functools
import gc
import shutil
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from odevision import Event, SolveError, odesolve
from odevision.gradient import problem
from odevision.ode.compiled import _GRAPHS
from odevision.ode.compiled_loop import MOST_ENTRIES, STEPS_A_CALL
from odevision.ode.controller import PIDController
from odevision.ode.norm import rms_norm

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("c++") is None, reason="needs a C++ compiler"
)


class Field(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3, dtype=torch.float64)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.linear(y)) * torch.cos(t)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Steps are traced as for a compiler but run without one; the list grows by each graph."""
    made: list[Any] = []

    def keep(graph: Any, inputs: Any, options: Any = None) -> Any:
        del options
        made.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=keep))
    return made


def field() -> Field:
    torch.manual_seed(0)
    return Field()


def start() -> Tensor:
    return torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
@pytest.mark.parametrize("settings", [{"rtol": 1e-6, "atol": 1e-6}, {"num_steps": 4}])
@pytest.mark.parametrize("solver", ["rk4", "dopri5", "bosh3"])
def test_answer_cost_and_gradients_are_those_of_the_plain_solve(
    graphs: list[Any], gradient: Any, settings: dict[str, Any], solver: str
) -> None:
    if solver == "rk4" and "num_steps" not in settings:
        settings = {"num_steps": 7}
    results = []
    for compile in (False, True):
        f, y0 = field(), start().requires_grad_()
        solution = odesolve(
            f, y0, 0.2, 1.5, solver=solver, gradient=gradient, compile=compile, **settings
        )
        solution.y1.square().sum().backward()
        results.append((solution, y0.grad, f.linear.weight.grad))
    (plain, *plain_grads), (compiled, *compiled_grads) = results
    assert graphs
    torch.testing.assert_close(compiled.y1, plain.y1, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(compiled_grads, plain_grads, rtol=1e-9, atol=1e-11)
    spare = compiled.stats.nfe_forward - plain.stats.nfe_forward
    assert 0 <= spare < 6 * STEPS_A_CALL
    assert compiled.stats.nfe_backward == plain.stats.nfe_backward
    assert compiled.stats.num_steps == plain.stats.num_steps


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"norm": rms_norm, "atol": 0.0},
        {"proportional": 0.4, "integral": 0.3, "derivative": 0.1},
        {"dt_min": 0.05, "rtol": 1e-9},
        {"dt_max": 0.11},
        {"dt0": 2.0, "min_factor": 0.5, "max_factor": 3.0, "safety": 0.8},
        {"noise": 1e-6},
        {"rtol": 0.0, "atol": 1e-6},
        {"rtol": torch.full((3,), 1e-6, dtype=torch.float64)},
    ],
    ids=lambda settings: "-".join(settings) or "defaults",
)
@pytest.mark.parametrize(("t0", "t1"), [(0.2, 4.5), (1.0, -3.0)])
def test_the_loop_inside_a_graph_takes_the_steps_of_the_plain_one(
    graphs: list[Any], settings: dict[str, Any], t0: float, t1: float
) -> None:
    f = field()
    given: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-7} | settings
    controller = PIDController(**given)
    paths = []
    for compile in (False, True):
        seen: list[tuple[float, float]] = []
        with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
            record(patch, seen)
            solution = odesolve(
                f, start(), t0, t1, solver="dopri5", controller=controller, compile=compile
            )
        paths.append((solution, seen))
    (plain, plain_steps), (compiled, compiled_steps) = paths
    assert len(graphs) == 1  # none for single steps
    assert compiled_steps[-1][1] == t1
    # Of a small error estimate rounding leaves few digits.
    torch.testing.assert_close(compiled_steps, plain_steps, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(compiled.y1, plain.y1, rtol=1e-9, atol=1e-9)
    for name in ("num_steps", "num_accepted_steps", "num_rejected_steps", "dt_first"):
        assert getattr(compiled.stats, name) == pytest.approx(getattr(plain.stats, name), rel=1e-6)
    assert compiled.stats.dt_last == pytest.approx(plain.stats.dt_last, rel=1e-5)


def record(patch: pytest.MonkeyPatch, seen: list[tuple[float, float]]) -> None:
    """List the accepted steps of every loop that is run under the patch."""
    integrate = problem.integrate

    def recorded(*args: Any, **settings: Any) -> Any:
        path = integrate(*args, **settings)
        seen.extend((step.t0, step.t1) for step in path.steps)
        return path

    patch.setattr(problem, "integrate", recorded)


@pytest.mark.parametrize("max_steps", [6, 30])
def test_a_solve_that_takes_too_many_steps_ends_where_the_plain_one_does(
    max_steps: int, graphs: list[Any]
) -> None:
    f, errors = field(), []
    for compile in (False, True):
        with (
            torch.no_grad(),
            pytest.raises(SolveError, match=f"took max_steps = {max_steps}") as caught,
        ):
            odesolve(
                f, start(), 0.0, 9.0, rtol=1e-8, atol=1e-8, max_steps=max_steps, compile=compile
            )
        errors.append(str(caught.value))
    assert errors[0] == errors[1]


@pytest.mark.parametrize(
    ("slope", "message"),
    [
        (lambda t, y: torch.where(t > 0.5, torch.full_like(y, float("nan")), y), "t = 0.5"),
        (lambda t, y: torch.where(t > 0.5, y + 1e30, y), "vanished"),
        (lambda t, y: y * y * 30, "The state overflowed|vanished|NaN or infinity"),
    ],
    ids=["nan", "jump", "explosion"],
)
def test_the_loop_inside_a_graph_fails_as_the_plain_one(
    graphs: list[Any], slope: Any, message: str
) -> None:
    errors = []
    for compile in (False, True):
        with torch.no_grad(), pytest.raises(SolveError, match=message) as caught:
            odesolve(slope, start().abs(), 0.0, 1.0, compile=compile)
        errors.append((caught.value.result, caught.value.sample))
    assert errors[0] == errors[1]
    assert len(graphs) == 2


def test_a_trial_step_into_infinity_is_mended(graphs: list[Any]) -> None:
    def f(t: Tensor, y: Tensor) -> Tensor:
        return -torch.sqrt(1 - y)  # NaN beyond 1

    y0 = torch.full((2, 2), 0.2, dtype=torch.float64)
    controller = PIDController(rtol=1e-7, atol=1e-7, dt0=10.0)
    with torch.no_grad():
        plain, compiled = (
            odesolve(f, y0, 0.0, -1.0, controller=controller, compile=compile)
            for compile in (False, True)
        )
    assert plain.stats.num_rejected_steps > 0
    assert compiled.stats.num_steps == plain.stats.num_steps
    torch.testing.assert_close(compiled.y1, plain.y1, rtol=1e-11, atol=1e-11)


def test_other_times_and_limits_than_before_do_not_take_another_graph(
    graphs: list[Any],
) -> None:
    f = field()
    with torch.no_grad():
        for t0, t1, max_steps in ((0.0, 1.0, 50), (0.3, 2.0, 60)):
            odesolve(f, start(), t0, t1, max_steps=max_steps, compile=True)
    assert len(graphs) == 1


def test_one_graph_serves_all_solves_of_a_field(graphs: list[Any]) -> None:
    f = field()
    with torch.no_grad():
        for t1 in (0.5, 1.0, -2.0):
            odesolve(f, start(), 0.0, t1, compile=True)
    assert len(graphs) == 1


def test_a_large_state_takes_no_steps_behind_its_end(graphs: list[Any]) -> None:
    y0 = torch.ones(MOST_ENTRIES + 1)
    f = lambda t, y: -y
    with torch.no_grad():
        plain, compiled = (odesolve(f, y0, 0.0, 1.0, compile=compile) for compile in (False, True))
    assert compiled.stats.nfe_forward == plain.stats.nfe_forward


def test_a_field_that_goes_takes_its_graphs_along(graphs: list[Any]) -> None:
    f = field()
    odesolve(f, start(), 0.0, 1.0, compile=True)
    assert f in _GRAPHS
    gone = weakref.ref(f)
    del f
    gc.collect()
    assert gone() is None


def test_saved_times_dense_output_and_events_are_those_of_the_plain_solve(
    graphs: list[Any],
) -> None:
    def solve(compile: bool) -> Any:
        event = Event(lambda t, y: y[0, 0] - 1.0, terminal=False)
        return odesolve(
            f, start(), 0.0, 3.0, save_at=[0.1, 1.7, 3.0], dense=True, event=event, compile=compile
        )

    f = field()
    plain, compiled = solve(False), solve(True)
    torch.testing.assert_close(compiled.ys, plain.ys, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(compiled.interpolant(1.1), plain.interpolant(1.1))
    torch.testing.assert_close(compiled.event_ts, plain.event_ts)


def test_nested_states_and_arguments_pass_through(graphs: list[Any]) -> None:
    def f(t: Tensor, y: dict[str, Tensor], rate: Tensor) -> dict[str, Tensor]:
        return {"a": -rate * y["a"], "b": y["a"][:, :1] + t}

    y0 = {"a": torch.ones(3, 2), "b": torch.zeros(3, 1)}
    rate = torch.tensor(0.7)
    plain = odesolve(f, y0, 0.0, 1.0, args=(rate,))
    compiled = odesolve(f, y0, 0.0, 1.0, args=(rate,), compile=True)
    torch.testing.assert_close(compiled.y1, plain.y1)


def test_a_bound_method_can_be_a_field(graphs: list[Any]) -> None:
    f = field()
    solution = odesolve(f.forward, start(), 0.0, 1.0, compile=True)
    torch.testing.assert_close(solution.y1, odesolve(f, start(), 0.0, 1.0).y1)


def test_a_failure_is_named_as_ever(graphs: list[Any]) -> None:
    def f(t: Tensor, y: Tensor) -> Tensor:
        return torch.where(t > 0.5, torch.full_like(y, float("nan")), y)

    with pytest.raises(SolveError, match="NaN or infinity first came from the vector field at t"):
        odesolve(f, start(), 0.0, 1.0, compile=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"solver": "leapfrog", "num_steps": 3}, "`compile` must go with an explicit Runge-Kutta"),
        (
            {"solver": "rk4", "num_steps": 3, "gradient": "reversible"},
            "and not with gradient='reversible', got 'coupled-rk4'",
        ),
        ({"t1": torch.tensor(1.0, requires_grad=True)}, "`compile` must be False where t0 or t1"),
    ],
)
def test_what_cannot_be_compiled_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        odesolve(
            **({"vector_field": field(), "y0": start(), "t0": 0, "t1": 1, "compile": True} | change)
        )


@pytest.mark.slow
@needs_compiler
def test_a_real_compiler_gives_the_same_answer_and_gradients() -> None:
    f, y0 = field(), start()
    grads = []
    for compile in (False, True):
        f.zero_grad()
        y1 = odesolve(f, y0, 0.0, 2.0, solver="dopri5", rtol=1e-8, atol=1e-8, compile=compile).y1
        y1.sum().backward()
        assert f.linear.weight.grad is not None
        grads.append(f.linear.weight.grad.clone())
    torch.testing.assert_close(*grads, rtol=1e-7, atol=1e-9)
