"""scipy_solver: SciPy's solvers behind torchdiffeq's option."""

import sys
from types import ModuleType

import pytest
import torch
from problems import DOUBLE, complex_rotation, error, spiral
from torch import Tensor, nn

from odevision import SolveError
from odevision.compat import torchdiffeq as drop_in

pytest.importorskip("scipy")
SOLVERS = ["RK45", "RK23", "DOP853", "Radau", "BDF", "LSODA"]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("reverse", [False, True])
def test_every_solver_of_scipy_solves_in_both_directions(solver: str, reverse: bool) -> None:
    problem = spiral()
    ends = (problem.t1, problem.t0) if reverse else (problem.t0, problem.t1)
    t = torch.linspace(*ends, 4, dtype=DOUBLE)
    ys = drop_in.odeint(
        problem.vector_field,
        problem.exact(ends[0]),
        t,
        method="scipy_solver",
        options={"solver": solver},
    )
    assert ys.shape == (4, 2, 2)
    assert max(error(y, problem.exact(float(at))) for y, at in zip(ys, t, strict=True)) < 2e-5


def test_lsoda_is_the_default_and_torchdiffeqs(torchdiffeq: ModuleType) -> None:
    problem = spiral()
    t = torch.linspace(0, 2, 5, dtype=DOUBLE)
    solve = lambda library, **more: library.odeint(
        problem.vector_field, problem.y0, t, method="scipy_solver", **more
    )
    ours = solve(drop_in)
    assert torch.equal(ours, solve(drop_in, options={"solver": "LSODA"}))
    assert error(ours, solve(torchdiffeq)) < 1e-12


def test_tuple_states_and_entrywise_tolerances_are_flattened(library: ModuleType) -> None:
    y0 = (torch.ones(2, 1), torch.tensor(3.0))
    ys = library.odeint(
        lambda t, y: (-y[0], y[1]),
        y0,
        torch.tensor([0.0, 1.0]),
        method="scipy_solver",
        rtol=1e-6,
        atol=1e-7,
    )
    assert [y.shape for y in ys] == [(2, 2, 1), (2,)] and ys[0].dtype == torch.float32
    assert ys[1][-1].item() == pytest.approx(3 * torch.e, rel=1e-4)


def test_each_tensor_of_a_tuple_may_have_its_own_tolerance() -> None:
    ys = drop_in.odeint(
        lambda t, y: (-y[0], y[1]),
        (torch.ones(2, dtype=DOUBLE), torch.ones(1, dtype=DOUBLE)),
        torch.tensor([0.0, 1.0], dtype=DOUBLE),
        method="scipy_solver",
        rtol=1e-8,
        atol=[1e-9, 1e-7],
    )
    assert ys[0][-1, 0].item() == pytest.approx(1 / torch.e, rel=1e-6)


def test_max_step_is_handed_over(library: ModuleType) -> None:
    calls: list[Tensor] = []

    def field(t: Tensor, y: Tensor) -> Tensor:
        calls.append(t)
        return -y

    options = {"solver": "LSODA", "max_step": 0.01, "min_step": 1e-6}
    t = torch.tensor([0.0, 1.0])
    library.odeint(
        field, torch.ones(1), t, method="scipy_solver", rtol=1e-2, atol=1e-2, options=options
    )
    assert len(calls) > 100


def test_complex_states_are_solved_where_scipy_can() -> None:
    problem = complex_rotation()
    t = torch.tensor([problem.t0, problem.t1], dtype=DOUBLE)
    solve = lambda solver: drop_in.odeint(
        problem.vector_field, problem.y0, t, method="scipy_solver", options={"solver": solver}
    )
    assert error(solve("DOP853")[-1], problem.y1) < 1e-5
    with pytest.raises(ValueError, match="complex"):
        solve("LSODA")


def test_no_graph_leads_through_scipy(library: ModuleType) -> None:
    field = nn.Linear(2, 2, dtype=DOUBLE)
    y0 = torch.ones(2, dtype=DOUBLE, requires_grad=True)
    t = torch.tensor([0.0, 1.0], dtype=DOUBLE)
    ys = library.odeint(lambda t, y: field(y), y0, t, method="scipy_solver")
    assert not ys.requires_grad


def test_a_forward_solve_by_scipy_has_an_adjoint_by_another_method() -> None:
    class Decay(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate = nn.Parameter(torch.tensor(0.5, dtype=DOUBLE))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return -self.rate * y

    field, t = Decay(), torch.tensor([0.0, 2.0], dtype=DOUBLE)
    ys = drop_in.odeint_adjoint(
        field, torch.ones(1, dtype=DOUBLE), t, method="scipy_solver", adjoint_method="dopri5"
    )
    ys[-1].sum().backward()
    assert field.rate.grad.item() == pytest.approx(-2 / torch.e, rel=1e-4)


def test_a_single_time_gives_the_initial_state() -> None:
    ys = drop_in.odeint(
        lambda t, y: -y, torch.ones(2, 3), torch.tensor([0.5]), method="scipy_solver"
    )
    assert torch.equal(ys, torch.ones(1, 2, 3))


def test_an_unknown_solver_is_refused() -> None:
    t = torch.tensor([0.0, 1.0])
    with pytest.raises(ValueError, match="RK45.*got 'Euler'"):
        drop_in.odeint(
            lambda t, y: y, torch.ones(1), t, method="scipy_solver", options={"solver": "Euler"}
        )


def test_a_solve_that_scipy_gives_up_on_is_a_solve_error() -> None:
    t = torch.tensor([0.0, 2.0], dtype=DOUBLE)
    with pytest.raises(SolveError, match="RK45 stopped"):
        drop_in.odeint(
            lambda t, y: y**2,  # infinite at t = 1
            torch.ones(1, dtype=DOUBLE),
            t,
            method="scipy_solver",
            options={"solver": "RK45"},
        )


def test_a_missing_scipy_is_named_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.integrate", None)
    with pytest.raises(ImportError, match="pip install scipy"):
        drop_in.odeint(
            lambda t, y: y, torch.ones(1), torch.tensor([0.0, 1.0]), method="scipy_solver"
        )
