"""Gradients where f finds its tensors in unusual places, and what becomes of kept states."""

import gc
import types

import pytest
import torch
from problems import DOUBLE
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from odevision import odesolve
from odevision.gradient import AbstractGradient, Backsolve, Checkpointed, Direct, Reversible

pytestmark = pytest.mark.filterwarnings(
    "ignore::odevision.gradient.backsolve.ConvergentGradientWarning"
)
APART = (
    Checkpointed(),
    Checkpointed(max_states=2),
    Checkpointed(graph="stage"),
    Backsolve(),
    Backsolve(path="interpolated"),
)
each = pytest.mark.parametrize("gradient", APART, ids=repr)


class Outside(nn.Module):
    """A module that finds its weight in an object that nobody can look into."""

    def forward(self, t: Tensor, y: Tensor, holder: object) -> Tensor:
        return -holder.w * torch.sin(y)


class Holding(nn.Module):
    """A module with a plain object of two weights, of which the second one is needed late."""

    def __init__(self, holder: types.SimpleNamespace) -> None:
        super().__init__()
        self.holder = holder

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return late(t, y, self.holder)


def late(t: Tensor, y: Tensor, holder: types.SimpleNamespace) -> Tensor:
    return -(holder.early if t < 0.5 else holder.inner.late) * torch.sin(y)


class Attributes(dict):
    __getattr__ = dict.__getitem__


def weight() -> Tensor:
    return torch.tensor(0.5, dtype=DOUBLE, requires_grad=True)


def ones(*shape: int) -> Tensor:
    return torch.ones(*shape, dtype=DOUBLE)


def gradient_of(w: Tensor, field, args: tuple, gradient: AbstractGradient) -> Tensor:
    options = {"solver": "rk4", "num_steps": 20, "gradient": gradient}
    y1 = odesolve(field, ones(2), 0.0, 1.0, args=args, **options).y1
    return torch.autograd.grad(y1.sum(), w)[0]


@each
def test_a_tensor_that_only_watching_finds_gets_its_gradient(gradient) -> None:
    holder = types.SimpleNamespace(w=weight())
    fields = (Outside(), lambda t, y, holder: -holder.w * torch.sin(y))
    for field in fields:
        exact = gradient_of(holder.w, field, (holder,), Direct())
        ours = gradient_of(holder.w, field, (holder,), gradient)
        torch.testing.assert_close(ours, exact, rtol=1e-5, atol=0)


@each
@pytest.mark.parametrize("place", ["module", "closure", "args"])
def test_a_tensor_in_an_object_that_is_needed_late_gets_its_gradient(place: str, gradient) -> None:
    holder = types.SimpleNamespace(early=weight(), inner=types.SimpleNamespace(late=weight()))
    field, args = {
        "module": (Holding(holder), ()),
        "closure": (lambda t, y: late(t, y, holder), ()),
        "args": (late, (holder,)),
    }[place]
    for w in (holder.early, holder.inner.late):
        exact = gradient_of(w, field, args, Direct())
        ours = gradient_of(w, field, args, gradient)
        torch.testing.assert_close(ours, exact, rtol=1e-5, atol=0)


@each
def test_containers_of_the_users_own_keep_their_kind(gradient) -> None:
    w = weight()
    field = lambda t, y, a: -a.w * torch.sin(y)
    exact = gradient_of(w, field, (Attributes(w=w * 2),), Direct())
    ours = gradient_of(w, field, (Attributes(w=w * 2),), gradient)
    torch.testing.assert_close(ours, exact, rtol=1e-5, atol=0)


def test_a_slice_counts_by_its_own_entries() -> None:
    w, large = weight(), ones(100_000, 2)
    counts = []
    for y0 in (large[:2], large[:2].clone()):
        solution = odesolve(
            lambda t, y: -w * y,
            y0,
            0.0,
            1.0,
            solver="rk4",
            num_steps=100,
            gradient=Checkpointed(max_bytes=4000),
        )
        solution.y1.sum().backward()
        counts.append((solution.stats.bytes_held, solution.stats.nfe_backward))
    assert counts[0] == counts[1] == (3200, 400)


@pytest.mark.parametrize("entries", [4, 40_000])
@each
def test_a_dropped_solution_takes_its_states_along(gradient, entries: int) -> None:
    w, refs = weight(), []

    def field(t: Tensor, y: Tensor) -> Tensor:
        refs.append(StorageWeakRef(y.untyped_storage()))
        return -w * y

    options = {"solver": "rk4", "num_steps": 5, "gradient": gradient, "save_at": "steps"}
    gc.disable()  # by counting references alone
    try:
        solution = odesolve(field, ones(entries), 0.0, 1.0, **options)
        del solution
        assert refs and all(ref.expired() for ref in refs)
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "gradient", [Reversible(anchor_every=2), Backsolve(path="interpolated")], ids=repr
)
def test_kept_states_go_with_the_backward_pass(gradient) -> None:
    w, refs = weight(), []

    def field(t: Tensor, y: Tensor) -> Tensor:
        refs.append(StorageWeakRef(y.untyped_storage()))
        return -w * y

    solution = odesolve(field, ones(40_000), 0.0, 1.0, solver="rk4", num_steps=6, gradient=gradient)
    loss = solution.y1.sum()
    del solution
    assert sum(not ref.expired() for ref in refs) > 1
    loss.backward()
    gc.collect()
    assert all(ref.expired() for ref in refs)


@pytest.mark.parametrize("gradient", APART[:3], ids=repr)
@pytest.mark.parametrize("entries", [6, 40_000])
def test_the_answer_may_be_changed_in_place(gradient, entries: int) -> None:
    y0 = ones(entries).requires_grad_()
    options = {"solver": "rk4", "num_steps": 5, "gradient": gradient}
    y1 = odesolve(lambda t, y: -y, y0 * 1, 0.0, 1.0, **options).y1
    y1.mul_(2).sum().backward()
    assert y0.grad is not None
    expected = torch.full_like(y0, 2 * float(torch.tensor(-1.0).exp()))
    torch.testing.assert_close(y0.grad, expected, rtol=1e-4, atol=0)


def test_what_direct_holds_ends_where_the_solve_began() -> None:
    w, x = weight(), ones(50, 30).requires_grad_()
    h = torch.sin(torch.sin(x)) * torch.cos(x)
    options = {"solver": "rk4", "num_steps": 3, "gradient": "direct"}
    solution = odesolve(lambda t, y: -w * torch.sin(y), h, 0.0, 1.0, **options)
    held = solution.stats.bytes_held
    del h
    assert solution.stats.bytes_held is not None and held is not None
    # y0 itself counts once nobody else holds it; what made it does not.
    assert held <= solution.stats.bytes_held <= held + 50 * 30 * 8


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Reversible(coupling=2.0), "`coupling` must lie in"),
        (lambda: Backsolve(rtol=-1.0), "`rtol` must be at least 0"),
        (lambda: Checkpointed(max_states=True), "`max_states` must be a whole number"),
        (lambda: Checkpointed(dtype=torch.int32), "`dtype` must be a floating point type"),
    ],
)
def test_settings_are_refused_when_they_are_made(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
