"""States that are tuples, lists and dicts of tensors, and arguments nested likewise."""

import math
from typing import NamedTuple

import pytest
import torch
from problems import DOUBLE
from torch import Tensor

from odevision import Event, odesolve
from odevision.ode.norm import worst_sample_norm
from odevision.ode.state import StateLayout

TIGHT = {"rtol": 1e-10, "atol": 1e-12}
each_gradient = pytest.mark.parametrize("gradient", ["direct", "checkpointed"])


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = DOUBLE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=dtype, generator=generator).requires_grad_()


def turn(t: Tensor, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return v * (1 + t), -x


# The same motion of two leaves x and v in four nestings: how to make and to open each.
NESTINGS = {
    "tuple": (lambda x, v: (x, v), lambda y: y),
    "list": (lambda x, v: [x, v], lambda y: y),
    "dict": (lambda x, v: {"x": x, "v": v}, lambda y: (y["x"], y["v"])),
    "nested": (lambda x, v: {"a": [(x,), {"b": v}]}, lambda y: (y["a"][0][0], y["a"][1]["b"])),
}
each_nesting = pytest.mark.parametrize("nesting", list(NESTINGS))


@each_nesting
@each_gradient
@pytest.mark.parametrize("solver", ["rk4", "dopri5", "dopri8", "leapfrog", "adams-bashforth3"])
def test_a_nested_state_moves_as_its_concatenation(nesting: str, gradient, solver: str) -> None:
    make, open_ = NESTINGS[nesting]
    x, v = drawn(4, 3), drawn(4, 3, seed=1)
    options = {"solver": solver, "num_steps": 5, "save_at": [0.0, 0.4, 1.0], "gradient": gradient}
    nested = odesolve(lambda t, y: make(*turn(t, *open_(y))), make(x, v), 0, 1, **options)
    flat = odesolve(
        lambda t, y: torch.cat(turn(t, y[:, :3], y[:, 3:]), 1),
        torch.cat([x, v], 1),
        0,
        1,
        **options,
    )
    for ours, columns in zip(open_(nested.ys), (slice(0, 3), slice(3, 6)), strict=True):
        assert torch.equal(ours, flat.ys[:, :, columns])
    for ours, columns in zip(open_(nested.y1), (slice(0, 3), slice(3, 6)), strict=True):
        assert torch.equal(ours, flat.y1[:, columns])
    assert nested.stats == flat.stats
    loss = sum(part.pow(3).sum() for part in open_(nested.ys))
    ours = torch.autograd.grad(loss, (x, v))
    theirs = torch.autograd.grad(flat.ys.pow(3).sum(), (x, v))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_a_named_tuple_stays_one() -> None:
    class Motion(NamedTuple):
        x: Tensor
        v: Tensor

    y0 = Motion(torch.ones(2, dtype=DOUBLE), torch.zeros(2, dtype=DOUBLE))
    y1 = odesolve(lambda t, y: Motion(y.v, -y.x), y0, 0, math.pi, **TIGHT).y1
    assert type(y1) is Motion
    torch.testing.assert_close(y1.x, -y0.x, rtol=0, atol=1e-8)


@each_gradient
def test_leaves_of_several_shapes_that_share_the_samples(gradient) -> None:
    images, rate = drawn(3, 2, 4, 4), drawn(3, 1, seed=1)
    f = lambda t, y: (-y[0] * y[1][:, :, None, None], torch.zeros_like(y[1]))
    y1 = odesolve(f, (images, rate), 0, 1, gradient=gradient, **TIGHT).y1
    expected = images * torch.exp(-rate)[:, :, None, None]
    torch.testing.assert_close(y1[0], expected, rtol=1e-8, atol=1e-9)
    assert torch.equal(y1[1], rate)
    ours = torch.autograd.grad(y1[0].square().sum(), (images, rate))
    for a, b in zip(
        ours, torch.autograd.grad(expected.square().sum(), (images, rate)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8)


@each_gradient
def test_leaves_of_unrelated_shapes_are_one_sample(gradient) -> None:
    y0 = {"scalar": drawn(), "vector": drawn(5, seed=1), "matrix": drawn(2, 3, seed=2)}
    y1 = odesolve(
        lambda t, y: {name: -part for name, part in y.items()}, y0, 0, 1, gradient=gradient, **TIGHT
    ).y1
    for name, part in y0.items():
        torch.testing.assert_close(y1[name], part * math.exp(-1), rtol=1e-8, atol=0)
        (slope,) = torch.autograd.grad(y1[name].sum(), part, retain_graph=True)
        torch.testing.assert_close(slope, torch.full_like(part, math.exp(-1)), rtol=1e-8, atol=0)


@each_gradient
def test_each_leaf_keeps_its_dtype(gradient) -> None:
    y0 = (
        drawn(3, 2, dtype=torch.float32),
        drawn(3, 1, seed=1),
        torch.complex(drawn(3, 2, seed=2), drawn(3, 2, seed=3)).detach().requires_grad_(),
    )
    seen = []

    def f(t, y):
        seen.append(([part.dtype for part in y], t.dtype))
        return -y[0], -2 * y[1], 1j * y[2]

    y1 = odesolve(f, y0, 0, 1, save_at=[0.5, 1.0], gradient=gradient, rtol=1e-6, atol=1e-7).y1
    assert [part.dtype for part in y1] == [torch.float32, DOUBLE, torch.complex128]
    assert all(kinds == ([part.dtype for part in y0], DOUBLE) for kinds in seen)
    torch.testing.assert_close(y1[0], y0[0] * math.exp(-1), rtol=1e-5, atol=0)
    torch.testing.assert_close(y1[1], y0[1] * math.exp(-2), rtol=1e-5, atol=0)
    turned = y0[2] * complex(math.cos(1), math.sin(1))
    torch.testing.assert_close(y1[2], turned, rtol=1e-5, atol=1e-6)
    loss = y1[0].sum() + y1[1].sum() + y1[2].real.sum()
    slopes = torch.autograd.grad(loss, y0)
    assert [slope.dtype for slope in slopes] == [part.dtype for part in y0]
    torch.testing.assert_close(slopes[1], torch.full_like(y0[1], math.exp(-2)), rtol=1e-5, atol=0)


def test_samples_of_a_batch_are_told_apart_by_the_norm() -> None:
    shared = StateLayout.of((torch.ones(3, 2), torch.ones(3, 4, 5)))
    assert (shared.batch, shared.pack((torch.ones(3, 2), torch.ones(3, 4, 5))).shape) == (
        3,
        (3, 22),
    )
    hard = shared.pack((torch.tensor([[0.0], [4.0], [0.0]]).expand(3, 2), torch.zeros(3, 4, 5)))
    assert float(worst_sample_norm(hard)) == pytest.approx((2 * 16 / 22) ** 0.5)


@pytest.mark.parametrize(
    "shapes", [[(3,), (3,)], [(3, 2), (4, 2)], [(), (3, 2)], [(3, 2), ()], [(3,)], [()]]
)
def test_leaves_without_common_samples_lie_flat(shapes: list) -> None:
    y0 = [torch.rand(shape) for shape in shapes]
    layout = StateLayout.of(y0)
    packed = layout.pack(y0)
    assert layout.batch is None
    assert packed.shape == (sum(x.numel() for x in y0),)
    for ours, theirs in zip(layout.unpack(packed), y0, strict=True):
        assert torch.equal(ours, theirs)


def test_packing_and_unpacking_are_inverse_with_a_leading_dimension_too() -> None:
    y0 = {"a": torch.rand(3, 2), "b": (torch.rand(3), torch.rand(3, 1, 2))}
    layout = StateLayout.of(y0)
    back = layout.unpack(torch.stack([layout.pack(y0)] * 4), 1)
    assert torch.equal(back["a"], y0["a"].expand(4, 3, 2))
    assert torch.equal(back["b"][0], y0["b"][0].expand(4, 3))
    assert torch.equal(back["b"][1], y0["b"][1].expand(4, 3, 1, 2))


PAIR = (torch.ones(4, 3, dtype=DOUBLE), torch.ones(4, 1, dtype=DOUBLE))


@pytest.mark.parametrize(
    "slope",
    [
        lambda t, y: y[0],
        lambda t, y: (y[0],),
        lambda t, y: [y[0], y[1]],
        lambda t, y: (y[1], y[0]),
        lambda t, y: (y[0], y[1][:, 0]),
        lambda t, y: (y[0], 1.0),
        lambda t, y: (y[0], None),
        lambda t, y: {"x": y[0], "v": y[1]},
        lambda t, y: (y[0][:2], y[1][:2]),
        lambda t, y: None,
    ],
)
def test_a_slope_of_another_structure_is_refused_at_the_first_call(slope) -> None:
    calls = 0

    def f(t, y):
        nonlocal calls
        calls += 1
        return slope(t, y)

    with pytest.raises(ValueError, match=r"nested and shaped like y0, \(\(4, 3\), \(4, 1\)\)"):
        odesolve(f, PAIR, 0, 1)
    assert calls == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex128, torch.int64])
def test_a_slope_of_another_dtype_is_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match="`vector_field` must return"):
        odesolve(lambda t, y: (-y[0], y[1].to(dtype)), PAIR, 0, 1)


def test_autocast_may_lower_the_dtype_of_a_leaf() -> None:
    pair = (torch.ones(4, 3), torch.ones(4, 1))
    with torch.autocast("cpu", torch.bfloat16):
        y1 = odesolve(lambda t, y: (-y[0].bfloat16(), -y[1]), pair, 0, 1, num_steps=2).y1
    assert [part.dtype for part in y1] == [torch.float32, torch.float32]


@pytest.mark.parametrize(
    "y0, words",
    [
        ((), "got nothing"),
        ({}, "got nothing"),
        ((torch.ones(2), 1.0), "got Tensor, float"),
        ((torch.ones(2), None), "`y0` must be a tensor, or a tuple, list or dict of tensors"),
        ((torch.ones(2), torch.ones(2, dtype=torch.int64)), "floating point or complex, got"),
        ((torch.ones(0), torch.ones(0)), "must hold at least one entry"),
    ],
)
def test_what_is_no_state_is_refused(y0, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        odesolve(lambda t, y: y, y0, 0, 1)


def test_an_empty_leaf_beside_others_is_no_obstacle() -> None:
    y0 = (torch.ones(2, 3, dtype=DOUBLE), torch.ones(2, 0, dtype=DOUBLE))
    y1 = odesolve(lambda t, y: (-y[0], y[1]), y0, 0, 1).y1
    assert y1[1].shape == (2, 0)


@each_gradient
def test_observers_events_and_dense_output_see_the_nested_state(gradient) -> None:
    x, v = torch.zeros(1, dtype=DOUBLE), drawn(1)
    y0 = {"x": x, "v": v.abs()}
    seen = []
    solution = odesolve(
        lambda t, y: {"x": y["v"], "v": torch.full_like(y["v"], -9.81)},
        y0,
        0,
        10,
        event=Event(lambda t, y: y["x"].sum(), direction=-1),
        dense=True,
        observer=lambda what, t, y, dt: seen.append(set(y)),
        gradient=gradient,
        **TIGHT,
    )
    flight = 2 * v.detach().abs() / 9.81
    torch.testing.assert_close(solution.t1, flight.squeeze(), rtol=1e-9, atol=0)
    (slope,) = torch.autograd.grad(solution.t1, v, retain_graph=True)
    torch.testing.assert_close(slope, 2 / 9.81 * v.detach().sign(), rtol=1e-8, atol=0)
    top = solution.interpolant(float(flight) / 2)
    torch.testing.assert_close(top["v"], torch.zeros(1, dtype=DOUBLE), rtol=0, atol=1e-9)
    assert seen and all(names == {"x", "v"} for names in seen)
    assert solution.event_ys[0]["v"].shape == (1, 1)
    torch.testing.assert_close(solution.event_ys[0]["v"][0], -y0["v"], rtol=1e-9, atol=0)


@pytest.mark.parametrize("of_leaf", [lambda p: p, torch.exp], ids=["leaf", "computed"])
def test_nested_arguments_receive_gradients(of_leaf) -> None:
    results = []
    for gradient in ("direct", "checkpointed"):
        y0, a, b, c = drawn(4, 3), *(drawn(3, seed=i) for i in (1, 2, 3))
        args = {"a": of_leaf(a), "more": [of_leaf(b), (of_leaf(c), 2.0)]}

        def f(t, y, p):
            return torch.sin(p["a"] * y) * p["more"][0] + p["more"][1][0] * p["more"][1][1]

        y1 = odesolve(f, y0, 0, 1, args=args, num_steps=4, gradient=gradient).y1
        results.append(torch.autograd.grad(y1.square().sum(), (y0, a, b, c)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)


def test_nested_states_pass_gradcheck() -> None:
    def end(x, v, w):
        f = lambda t, y: {"x": y["v"] * w, "v": -torch.sin(y["x"])}
        y1 = odesolve(f, {"x": x, "v": v}, 0, 1, num_steps=2, solver="rk4").y1
        return y1["x"], y1["v"]

    assert torch.autograd.gradcheck(end, (drawn(2, 2), drawn(2, 2, seed=1), drawn(2, seed=2)))


@each_gradient
def test_a_leaf_may_have_no_gradient(gradient) -> None:
    x, v = drawn(2, 2), drawn(2, 2, seed=1).detach()
    y1 = odesolve(lambda t, y: (y[1], -y[0]), (x, v), 0, 1, gradient=gradient, **TIGHT).y1
    (slope,) = torch.autograd.grad(y1[0].sum(), x)
    torch.testing.assert_close(slope, torch.full_like(x, math.cos(1)), rtol=1e-8, atol=0)


@each_gradient
def test_the_callers_leaves_are_left_as_they_were(gradient) -> None:
    y0 = (drawn(2, 2), drawn(2, 1, seed=1))
    before = [part.detach().clone() for part in y0]
    odesolve(lambda t, y: (-y[0], -y[1]), y0, 0, 1, gradient=gradient)
    assert all(torch.equal(a, b) for a, b in zip(y0, before, strict=True))
