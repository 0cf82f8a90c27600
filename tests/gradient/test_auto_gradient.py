"""The automatic choice: by steps, state and budget, and always exact."""

import dataclasses
from typing import ClassVar, Literal

import pytest
import torch
from cases import CASES, drawn, gradients, module
from torch import nn

from odevision import odesolve
from odevision.gradient import AbstractGradient, Auto, Checkpointed, Direct, Reversible
from odevision.gradient.bytes_held import graph_bytes
from odevision.gradient.problem import Problem
from odevision.ode.loop import Trajectory


@dataclasses.dataclass(frozen=True)
class Noting(AbstractGradient):
    """Keeps what Auto chose."""

    auto: Auto
    chosen: list[AbstractGradient] = dataclasses.field(default_factory=list)
    name: ClassVar[str] = "noting"
    kind: ClassVar[str] = "keeps what Auto chose"
    accuracy: ClassVar[Literal["exact", "convergent"]] = "exact"

    def solve(self, problem: Problem) -> Trajectory:
        self.chosen.append(self.auto.choose(problem))
        return self.chosen[-1].solve(problem)


class Field(nn.Module):
    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, t, y):
        return torch.tanh(self.linear(y))


def choice(max_bytes: int | None, case=None, **options) -> AbstractGradient:
    case, noting = case or module(), Noting(Auto(max_bytes=max_bytes))
    options = {"num_steps": 10, "solver": "rk4", **options}
    odesolve(case.vector_field, case.y0, 0, 1, args=case.args, gradient=noting, **options)
    return noting.chosen[0]


def recorded_bytes(num_steps: int, solver: str) -> int:
    case = module()
    options = {"num_steps": num_steps, "solver": solver, "gradient": "direct"}
    y1 = odesolve(case.vector_field, case.y0, 0, 1, **options).y1
    return graph_bytes([y1], [case.y0])


def threshold(**options) -> int:
    """The least budget with which the choice is direct, by bisection."""
    low, high = 1, 2**20
    while high - low > 1:
        middle = (low + high) // 2
        if isinstance(choice(middle, **options), Direct):
            high = middle
        else:
            low = middle
    return high


@pytest.mark.parametrize("solver", ["rk4", "leapfrog"])
def test_direct_is_chosen_where_about_its_graph_fits(solver: str) -> None:
    needed = threshold(solver=solver)
    recorded = recorded_bytes(10, solver)
    assert recorded / 2 < needed < 2 * recorded


def test_the_budget_for_direct_grows_with_the_steps() -> None:
    assert threshold(num_steps=20) == 4 * threshold(num_steps=5)


def test_checkpointed_keeps_to_the_budget_that_direct_exceeds() -> None:
    budget = threshold() - 1
    assert choice(budget) == Checkpointed(max_bytes=budget)


def test_a_reversible_solver_is_undone_where_not_one_state_a_step_fits() -> None:
    y0 = module().y0
    fits = 10 * 2 * y0.nbytes
    for solver in ("leapfrog", "reversible-heun"):
        assert choice(fits, solver=solver) == Checkpointed(max_bytes=fits)
        assert choice(fits - 1, solver=solver) == Reversible()


def test_a_method_that_is_not_reversible_is_never_coupled() -> None:
    assert choice(1) == Checkpointed(max_bytes=1)


def test_small_problems_are_recorded() -> None:
    assert choice(None) == Direct()
    assert choice(None, num_steps=None, solver="dopri5") == Direct()


def test_nothing_is_measured_where_no_gradient_is_asked_for() -> None:
    case = module()
    with torch.no_grad():
        stats = odesolve(case.vector_field, case.y0, 0, 1, num_steps=3, gradient="auto").stats
        plain = odesolve(case.vector_field, case.y0, 0, 1, num_steps=3).stats
    assert stats.nfe_forward == plain.nfe_forward


def test_the_measurement_is_one_evaluation_a_field_and_shape() -> None:
    field = nn.Linear(3, 3).double()
    f = Field(field)
    counts = []
    for rows in (4, 4, 5, 5, 4):
        y0 = drawn(rows, 3)
        options = {"solver": "euler", "num_steps": 3, "gradient": "auto"}
        counts.append(odesolve(f, y0, 0, 1, **options).stats.nfe_forward)
    assert counts == [4, 3, 4, 3, 3]
    assert odesolve(Field(field), drawn(4, 3), 0, 1, **options).stats.nfe_forward == 4


@pytest.mark.parametrize("max_bytes", [1, 2000, None])
def test_the_choice_is_the_same_each_time(max_bytes) -> None:
    case = module()
    for solver in ("rk4", "leapfrog"):
        assert len({choice(max_bytes, case, solver=solver) for _ in range(3)}) == 1


@pytest.mark.parametrize("max_bytes, solver", [(1, "leapfrog"), (150, "rk4"), (None, "rk4")])
@pytest.mark.parametrize("make", CASES, ids=[case.__name__ for case in CASES])
def test_auto_is_exact_whatever_it_chooses(make, solver: str, max_bytes) -> None:
    options = {"solver": solver, "num_steps": 4}
    exact = gradients(make, "direct", **options)
    for a, b in zip(gradients(make, Auto(max_bytes=max_bytes), **options), exact, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)


def test_the_budget_is_kept_on_the_way_back() -> None:
    case = module()
    options = {"solver": "rk4", "num_steps": 50, "gradient": Auto(max_bytes=1000)}
    solution = odesolve(case.vector_field, case.y0, 0, 1, **options)
    solution.y1.sum().backward()
    assert 500 < solution.stats.bytes_held <= 1000


def test_samples_with_clocks_of_their_own_are_checkpointed() -> None:
    y0 = drawn(4, 3)
    solution = odesolve(lambda t, y: torch.sin(y), y0, 0, 1, batch="independent", gradient="auto")
    assert solution.stats.bytes_held > 0


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="`max_bytes` must be a whole number of at least 1"):
        Auto(max_bytes=0)
