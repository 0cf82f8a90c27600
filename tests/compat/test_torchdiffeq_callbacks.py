"""Callbacks: methods of the field that hear of steps."""

from types import ModuleType
from typing import Any

import pytest
import torch
from problems import DOUBLE
from torch import Tensor, nn

from odevision.compat import torchdiffeq as drop_in


class Listening(nn.Module):
    """A field that writes down what it is told, with its name."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(2.0, dtype=DOUBLE))
        self.heard: list[tuple[str, Tensor, Any, Tensor]] = []

    def forward(self, t: Tensor, y: Any) -> Any:
        if isinstance(y, tuple):
            return tuple(self.rate * torch.cos(4 * t) * part for part in y)
        return self.rate * torch.cos(4 * t) * y

    def callback_step(self, t0: Tensor, y0: Any, dt: Tensor) -> None:
        self.heard.append(("step", t0, y0, dt))

    def names(self) -> list[str]:
        return [name for name, *_ in self.heard]


class ListeningToAll(Listening):
    def callback_accept_step(self, t0: Tensor, y0: Any, dt: Tensor) -> None:
        self.heard.append(("accept", t0, y0, dt))

    def callback_reject_step(self, t0: Tensor, y0: Any, dt: Tensor) -> None:
        self.heard.append(("reject", t0, y0, dt))


class ListeningBackward(Listening):
    def callback_step_adjoint(self, t0: Tensor, y0: Any, dt: Tensor) -> None:
        self.heard.append(("adjoint step", t0, y0, dt))

    def callback_accept_step_adjoint(self, t0: Tensor, y0: Any, dt: Tensor) -> None:
        self.heard.append(("adjoint accept", t0, y0, dt))


def times(reverse: bool = False) -> Tensor:
    t = torch.linspace(0, 2, 3, dtype=DOUBLE)
    return t.flip(0) if reverse else t


def start() -> Tensor:
    return torch.tensor([1.0, -0.5], dtype=DOUBLE)


@pytest.mark.parametrize("reverse", [False, True])
def test_every_attempted_step_is_told_then_judged(library: ModuleType, reverse: bool) -> None:
    field = ListeningToAll()
    options = {"first_step": 1.0}  # too long, so that a step is rejected
    library.odeint(field, start(), times(reverse), rtol=1e-6, atol=1e-6, options=options)
    names = field.names()
    assert set(names[::2]) == {"step"}
    assert set(names[1::2]) == {"accept", "reject"}
    assert names[1] == "reject"


@pytest.mark.parametrize("reverse", [False, True])
def test_callbacks_get_tensors_with_the_length_of_the_step(
    library: ModuleType, reverse: bool
) -> None:
    field = Listening()
    library.odeint(field, start(), times(reverse), method="rk4")
    heard = [(float(t0), float(dt)) for _, t0, _, dt in field.heard]
    assert heard == ([(2.0, 1.0), (1.0, 1.0)] if reverse else [(0.0, 1.0), (1.0, 1.0)])
    _, t0, y0, dt = field.heard[0]
    assert isinstance(t0, Tensor) and isinstance(dt, Tensor) and t0.shape == dt.shape == ()
    assert torch.equal(y0, start())


def test_callbacks_of_a_tuple_state_get_tuples(library: ModuleType) -> None:
    field = Listening()
    library.odeint(field, (start(), start()[None]), times(), rtol=1e-4, atol=1e-4)
    assert all([part.shape for part in y0] == [(2,), (1, 2)] for _, _, y0, _ in field.heard)


@pytest.mark.parametrize("method", ["rk4", "implicit_adams", "scipy_solver"])
def test_callbacks_that_a_method_never_calls_warn(library: ModuleType, method: str) -> None:
    with pytest.warns(UserWarning, match="callback_accept_step"):
        library.odeint(ListeningToAll(), start(), times(), method=method)


def test_adjoint_callbacks_hear_of_the_backward_solve(library: ModuleType) -> None:
    field = ListeningBackward()
    ys = library.odeint_adjoint(field, start(), times(), rtol=1e-4, atol=1e-4)
    assert set(field.names()) == {"step"}
    field.heard.clear()
    ys.sum().backward()
    assert set(field.names()) == {"adjoint step", "adjoint accept"}
    _, t0, state, dt = field.heard[0]
    assert float(t0) == 2.0 and float(dt) > 0
    assert [part.shape for part in state] == [(), (2,), (2,), ()]


def test_an_adjoint_callback_that_a_method_never_calls_warns(library: ModuleType) -> None:
    ys = library.odeint_adjoint(ListeningBackward(), start(), times(), method="rk4")
    with pytest.warns(UserWarning, match="callback_accept_step"):
        ys.sum().backward()


def test_statistics_agree_with_what_callbacks_hear() -> None:
    field = ListeningToAll()
    drop_in.odeint(field, start(), times(), rtol=1e-6, atol=1e-6, options={"first_step": 1.0})
    stats = drop_in.last_stats()
    names = field.names()
    assert stats.num_steps == names.count("step")
    assert stats.num_accepted_steps == names.count("accept")
    assert stats.num_rejected_steps == names.count("reject") >= 1
