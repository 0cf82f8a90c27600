"""Half precision lives in the vector field; the state, its sums and the adjoint do not know it."""

import pytest
import torch
from torch import nn

from odevision import ODEBlock, SolveError, odesolve
from odevision.gradient import Backsolve, Checkpointed, Reversible
from odevision.nn import ConvField

GRADIENTS = ("direct", "checkpointed")
WAYS = {
    "direct": ("direct", "rk4"),
    "checkpointed": ("checkpointed", "rk4"),
    "two states": (Checkpointed(max_states=2), "rk4"),
    "by stages": (Checkpointed(graph="stage"), "rk4"),
    "kept in bfloat16": (Checkpointed(dtype=torch.bfloat16), "rk4"),
    "leapfrog": ("reversible", "leapfrog"),
    "reversible Heun": ("reversible", "reversible-heun"),
    "coupled": (Reversible(anchor_every=2), "rk4"),
    "resolved": ("backsolve", "rk4"),
    "interpolated": (Backsolve(path="interpolated"), "rk4"),
    "auto": ("auto", "rk4"),
}
each_way = pytest.mark.parametrize("gradient, solver", WAYS.values(), ids=list(WAYS))
pytestmark = pytest.mark.filterwarnings(
    "ignore::odevision.gradient.backsolve.ConvergentGradientWarning"
)


class Field(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.calls: list[tuple[bool, torch.dtype, torch.dtype]] = []

    def forward(self, t, y):
        k = torch.tanh(self.linear(y))
        self.calls.append((torch.is_autocast_enabled("cpu"), y.dtype, k.dtype))
        return k


def fresh() -> tuple[Field, torch.Tensor]:
    torch.manual_seed(0)
    return Field(), torch.randn(4, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()


@pytest.mark.parametrize("options", [{"num_steps": 4}, {"rtol": 1e-2, "atol": 1e-2}])
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_the_state_stays_float32_around_a_bfloat16_field(gradient, options: dict) -> None:
    field, y0 = fresh()
    with torch.autocast("cpu", torch.bfloat16):
        y1 = odesolve(field, y0, 0, 1, gradient=gradient, **options).y1
    y1.square().sum().backward()
    assert y1.dtype == y0.grad.dtype == field.linear.weight.grad.dtype == torch.float32
    assert set(field.calls) == {(True, torch.float32, torch.bfloat16)}


@pytest.mark.parametrize("steps, rtol", [(1, 1e-6), (5, 2e-2)])
def test_the_backward_pass_repeats_the_autocast_of_the_forward_pass(steps, rtol) -> None:
    # Over several steps `direct` sums the weight's gradient in bfloat16, `checkpointed` in float32.
    results = []
    for gradient in GRADIENTS:
        field, y0 = fresh()
        with torch.autocast("cpu", torch.bfloat16):
            y1 = odesolve(field, y0, 0, 1, num_steps=steps, gradient=gradient).y1
        y1.square().sum().backward()
        assert all(on for on, _, _ in field.calls)
        results.append((y1, y0.grad, field.linear.weight.grad))
    for i, (a, b) in enumerate(zip(*results, strict=True)):
        scale = float(b.detach().abs().max())
        torch.testing.assert_close(a, b, rtol=0, atol=scale * (1e-6 if i == 0 else rtol))


def test_autocast_around_the_backward_pass_does_not_reach_a_float32_solve() -> None:
    field, y0 = fresh()
    y1 = odesolve(field, y0, 0, 1, num_steps=2).y1
    with torch.autocast("cpu", torch.bfloat16):
        y1.sum().backward()
    assert set(field.calls) == {(False, torch.float32, torch.float32)}


def test_weights_cast_in_the_forward_pass_keep_their_gradient_elsewhere() -> None:
    field, y0 = fresh()
    with torch.autocast("cpu", torch.bfloat16):
        odesolve(field, y0, 0, 1, num_steps=2)
        field.linear(y0).sum().backward()
    assert field.linear.weight.grad is not None


def test_weights_cast_in_a_failed_solve_keep_their_gradient_elsewhere() -> None:
    field, y0 = fresh()
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(SolveError):
            odesolve(field, y0, 0, 1, rtol=1e-9, atol=1e-9, max_steps=2)
        field.linear(y0).sum().backward()
    assert field.linear.weight.grad is not None


def test_a_block_raises_half_precision_input_to_float32() -> None:
    field, y0 = fresh()
    block = ODEBlock(field, num_steps=2)
    assert block(y0.bfloat16()).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert block(y0.half()).dtype == torch.float32


def linear_field() -> tuple[nn.Linear, torch.Tensor]:
    """dy/dt = 0.05 y: each of 100 steps adds less to y or lam than bfloat16 can tell from 0."""
    linear = nn.Linear(4, 4, bias=False)
    linear.weight.data = 0.0625 * torch.eye(4)
    return linear, torch.ones(2, 4, requires_grad=True)


@each_way
def test_small_increments_of_state_adjoint_and_parameter_gradient_are_not_lost(
    gradient, solver: str
) -> None:
    linear, y0 = linear_field()
    f = lambda t, y: linear(y)
    with torch.autocast("cpu", torch.bfloat16):
        y1 = odesolve(f, y0, 0, 1, solver=solver, num_steps=64, gradient=gradient).y1
    y1.sum().backward()
    assert y1.dtype == y0.grad.dtype == linear.weight.grad.dtype == torch.float32
    growth = float(torch.tensor(0.0625).exp())
    # One addition in bfloat16 would lose all the growth of 0.1 % a step.
    for x in (y1.detach(), y0.grad):
        torch.testing.assert_close(x, torch.full_like(x, growth), rtol=2e-3, atol=0)
    if gradient not in ("direct", "auto"):  # where autograd sums the weight's gradient in bfloat16
        exact = torch.full((4, 4), 2 * growth)
        torch.testing.assert_close(linear.weight.grad, exact, rtol=1e-2, atol=0)


def images(layout: torch.memory_format) -> tuple[ODEBlock, torch.Tensor]:
    torch.manual_seed(0)
    block = ODEBlock(ConvField(8), solver="rk4", num_steps=3)
    y0 = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(1))
    y0 = y0.contiguous(memory_format=layout).requires_grad_()
    return block.to(memory_format=layout), y0


@each_way
def test_gradients_in_bfloat16_are_those_in_float32_up_to_rounding(gradient, solver: str) -> None:
    results = []
    for enabled in (False, True):
        block, y0 = images(torch.channels_last)
        block.gradient, block.solver = gradient, solver
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y1 = block(y0)
        y1.square().sum().backward()
        # As one: a norm takes the convolution's bias off again, and leaves a gradient of rounding.
        of_parameters = torch.cat([p.grad.flatten() for p in block.parameters()])
        results.append([y1.detach(), y0.grad, of_parameters])
    for full, half in zip(*results, strict=True):
        assert full.dtype == half.dtype == torch.float32
        error = float((full - half).norm() / full.norm())
        # Leapfrog's velocity follows each rounding error of f, and does not damp it.
        assert 0 < error < (0.15 if solver == "leapfrog" else 5e-2)


@pytest.mark.parametrize("enabled", [False, True], ids=["float32", "bfloat16"])
@each_way
def test_images_keep_their_memory_format_on_both_ways(gradient, solver: str, enabled) -> None:
    block, y0 = images(torch.channels_last)
    states = []
    block.vector_field.register_forward_pre_hook(lambda module, args: states.append(args[1]))
    block.gradient, block.solver = gradient, solver
    with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
        y1 = block(y0)
    forward = len(states)
    y1.square().sum().backward()
    # Backsolve makes its states of one flat state, as long as it solves for them.
    met = states[:forward] if gradient == "backsolve" else states
    for x in (y1, y0.grad, *met):
        assert x.is_contiguous(memory_format=torch.channels_last)


@each_way
def test_the_way_back_computes_in_the_precision_of_the_forward_pass(gradient, solver: str) -> None:
    field, y0 = fresh()
    with torch.autocast("cpu", torch.bfloat16):
        y1 = odesolve(field, y0, 0, 1, solver=solver, num_steps=3, gradient=gradient).y1
    forward = len(field.calls)
    y1.sum().backward()
    assert (len(field.calls) > forward) == (gradient not in ("direct", "auto"))
    assert set(field.calls) == {(True, torch.float32, torch.bfloat16)}
