"""Misuse: typed errors that say what to try, where torchdiffeq has assertions."""

import inspect
from types import ModuleType
from typing import Any

import pytest
import torch
from problems import DOUBLE
from torch import Tensor

from odevision import SolveError
from odevision.compat import torchdiffeq as drop_in
from odevision.compat.torchdiffeq.inputs import check_times, layout_of

FUNCTIONS = ["odeint", "odeint_adjoint", "odeint_event", "odeint_dense"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signatures_are_torchdiffeqs(torchdiffeq: ModuleType, name: str) -> None:
    def parameters(library: ModuleType) -> list[tuple[str, Any, Any]]:
        found = inspect.signature(getattr(library, name)).parameters.values()
        defaults = [None if callable(p.default) else p.default for p in found]
        return [(p.name, p.kind, d) for p, d in zip(found, defaults, strict=True)]

    assert parameters(drop_in) == parameters(torchdiffeq)


def test_the_version_is_that_of_the_interface(torchdiffeq: ModuleType) -> None:
    assert drop_in.__version__ == torchdiffeq.__version__


def solve(**changed: Any) -> Any:
    settings = {
        "func": lambda t, y: -y,
        "y0": torch.ones(2),
        "t": torch.tensor([0.0, 1.0]),
        "rtol": 1e-3,
        "atol": 1e-4,
    }
    settings.update(changed)
    return drop_in.odeint(**settings)


def test_an_unknown_method_is_a_value_error(library: ModuleType) -> None:
    with pytest.raises(ValueError, match="dopri5"):
        library.odeint(lambda t, y: y, torch.ones(1), torch.tensor([0.0, 1.0]), method="dopri55")


@pytest.mark.parametrize(
    "t",
    [
        torch.tensor([0.0, 0.0]),
        torch.tensor([0.0, 1.0, 0.5]),
        torch.tensor([0.0, torch.nan]),
        torch.tensor([[0.0, 1.0]]),
        torch.tensor([]),
    ],
    ids=["repeated", "unordered", "nan", "two dimensions", "none"],
)
def test_times_that_are_no_way_are_refused(t: Tensor) -> None:
    with pytest.raises(ValueError, match="`t` must"):
        solve(t=t)


@pytest.mark.parametrize("t", [[0.0, 1.0], torch.tensor([0, 1])], ids=["list", "integers"])
def test_times_must_be_floating_point_tensors(t: Any) -> None:
    # Asked directly: the type checks of the tests would refuse these before odeint does.
    with pytest.raises(TypeError, match="`t` must"):
        check_times(t, torch.ones(2))


@pytest.mark.parametrize("y0", [1.0, (torch.ones(1), 2.0), ()], ids=["number", "mixed", "empty"])
def test_the_state_must_be_tensors(y0: Any) -> None:
    with pytest.raises(TypeError, match="`y0` must"):
        layout_of(y0)


@pytest.mark.parametrize("name", ["rtol", "atol"])
def test_tolerances_must_not_require_a_gradient(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        solve(**{name: torch.tensor(1e-3, requires_grad=True)})


def test_as_many_tolerances_as_tensors_are_needed() -> None:
    with pytest.raises(ValueError, match="2 tensors"):
        solve(y0=(torch.ones(1), torch.ones(1)), func=lambda t, y: y, rtol=[1e-3] * 3)


def test_a_slope_of_another_shape_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        solve(func=lambda t, y: torch.ones(3))


def test_a_tuple_of_other_slopes_is_refused_at_once() -> None:
    y0 = (torch.ones(2), torch.ones(1))
    with pytest.raises(ValueError, match="order of `y0`"):
        solve(y0=y0, func=lambda t, y: (y[1], y[0]))


def test_the_fields_own_exception_passes_through() -> None:
    def field(t: Tensor, y: Tensor) -> Tensor:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        solve(func=field)


def test_a_nan_from_the_field_names_its_time_and_a_remedy() -> None:
    with pytest.raises(SolveError, match="vector field") as caught:
        solve(func=lambda t, y: y / (t - 0.25).clamp(min=0).sqrt() * torch.nan)
    assert isinstance(caught.value, RuntimeError)
    assert caught.value.t == 0.0


def test_a_vanishing_step_names_its_time() -> None:
    y0 = torch.ones(1, dtype=DOUBLE)
    with pytest.raises(SolveError) as caught:
        solve(func=lambda t, y: y**2, y0=y0, t=torch.tensor([0.0, 2.0], dtype=DOUBLE))
    assert caught.value.t == pytest.approx(1.0, abs=1e-2)


def test_layers_that_odesolve_refuses_are_left_to_existing_programs() -> None:
    field = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))

    class Field(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = field

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return self.net(y)

    ys = solve(func=Field(), y0=torch.randn(8, 2, generator=torch.Generator().manual_seed(0)))
    assert torch.isfinite(ys).all()


def test_statistics_need_a_solve_first() -> None:
    import threading

    seen = []

    def ask() -> None:
        try:
            drop_in.last_stats()
        except RuntimeError as error:
            seen.append(str(error))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert seen and "odeint" in seen[0]


def test_statistics_count_what_the_field_was_asked() -> None:
    calls: list[Tensor] = []

    def field(t: Tensor, y: Tensor) -> Tensor:
        calls.append(t)
        return -y

    for method in ("dopri5", "rk4", "implicit_adams", "scipy_solver"):
        calls.clear()
        solve(func=field, method=method)
        assert drop_in.last_stats().nfe_forward == len(calls) > 0


def test_an_event_that_never_comes_is_told_by_the_steps_that_were_allowed() -> None:
    t0 = torch.tensor(0.0, dtype=torch.float64)
    solve = lambda **how: drop_in.odeint_event(
        lambda t, y: -y, t0 + torch.ones(1), t0, event_fn=lambda t, y: y + 1, **how
    )
    message = r"`event_fn` kept its sign for {} steps.*changes its sign on the way"
    with pytest.raises(SolveError, match=message.format(100)):
        solve(options={"max_num_steps": 100})
    with pytest.raises(SolveError, match=message.format(20000)):
        solve(method="rk4", options={"step_size": 0.1})


def test_options_are_named_as_they_were_given() -> None:
    solve = lambda **options: drop_in.odeint(
        lambda t, y: -y, torch.ones(1), torch.linspace(0, 9, 3), options=options
    )
    with pytest.raises(SolveError) as failure:
        solve(max_num_steps=2)
    assert failure.value.__notes__ == [
        "Here `max_steps` is the option `max_num_steps`, 2, for each of 2 intervals of `t`."
    ]
    with pytest.raises(ValueError, match="option `first_step` must be a length of time, got 0.0"):
        solve(first_step=0.0)
    assert torch.isfinite(solve(max_num_steps=float("inf"))).all()
