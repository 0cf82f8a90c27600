"""The vector field as the solver calls it: arguments, checks, count."""

import functools
from collections import namedtuple

import pytest
import torch
from torch import nn

from odevision.ode.solution import Stats
from odevision.ode.term import ODETerm, bind_args

T, Y = torch.tensor(0.5), torch.tensor([1.0, 2.0])


def test_a_tuple_is_spread() -> None:
    assert torch.equal(bind_args(lambda t, y, a, b: a * y + b, (2.0, 1.0))(T, Y), 2 * Y + 1)


def test_a_tuple_is_handed_over_whole_to_a_last_parameter_called_args() -> None:
    def f(t, y, args):
        return args[0] * y + args[1]

    assert torch.equal(bind_args(f, (2.0, 1.0))(T, Y), 2 * Y + 1)


def test_a_tuple_is_spread_over_star_args() -> None:
    def f(t, y, *args):
        return args[0] * y + args[1]

    assert torch.equal(bind_args(f, (2.0, 1.0))(T, Y), 2 * Y + 1)


def test_a_dict_is_handed_over_whole() -> None:
    assert torch.equal(bind_args(lambda t, y, p: p["a"] * y, {"a": 2.0})(T, Y), 2 * Y)


def test_a_tensor_is_handed_over_whole() -> None:
    assert torch.equal(bind_args(lambda t, y, a: a * y, torch.tensor(2.0))(T, Y), 2 * Y)


def test_a_named_tuple_is_spread_like_a_tuple() -> None:
    Pair = namedtuple("Pair", "a b")
    assert torch.equal(bind_args(lambda t, y, a, b: a * y + b, Pair(2.0, 1.0))(T, Y), 2 * Y + 1)


def test_the_forward_of_a_module_decides_how_args_are_given() -> None:
    class Field(nn.Module):
        def forward(self, t, y, args):
            return args[0] * y

    assert torch.equal(bind_args(Field(), (2.0,))(T, Y), 2 * Y)


def test_a_partial_is_called_like_a_function() -> None:
    f = functools.partial(lambda scale, t, y: scale * y, 3.0)
    assert torch.equal(bind_args(f, ())(T, Y), 3 * Y)


def test_the_time_is_a_scalar_tensor_of_the_states_real_dtype() -> None:
    seen = []

    def f(t, y):
        seen.append((t.shape, t.dtype, t.device))
        return y

    ODETerm(f, Stats())(0.25, torch.ones(2, dtype=torch.complex128))
    assert seen == [(torch.Size([]), torch.float64, torch.device("cpu"))]


@pytest.mark.parametrize(
    "result, words",
    [
        (torch.ones(3), r"shape \(2,\), got a tensor of shape \(3,\)"),
        (torch.ones(1), r"got a tensor of shape \(1,\)"),
        (1.0, "got a float"),
        ((Y,), "got a tuple"),
        (None, "got a NoneType"),
    ],
)
def test_anything_but_a_tensor_of_the_states_shape_is_refused(result, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ODETerm(lambda t, y: result, Stats())(0.0, Y)


def test_another_dtype_is_refused() -> None:
    with pytest.raises(ValueError, match="dtype torch.float32, got torch.float64"):
        ODETerm(lambda t, y: y.double(), Stats())(0.0, Y)


def test_under_autocast_a_half_precision_result_is_raised_to_the_states_dtype() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert ODETerm(lambda t, y: y.bfloat16(), Stats())(0.0, Y).dtype == torch.float32


@pytest.mark.parametrize("phase", ["forward", "backward"])
def test_evaluations_are_counted_by_phase(phase) -> None:
    stats = Stats()
    ODETerm(lambda t, y: y, stats, phase=phase)(0.0, Y)
    assert (stats.nfe_forward, stats.nfe_backward) == (phase == "forward", phase == "backward")
