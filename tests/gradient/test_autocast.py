"""Half precision lives in the vector field; the state, its sums and the adjoint do not know it."""

import pytest
import torch
from torch import nn

from odevision import ODEBlock, SolveError, odesolve

GRADIENTS = ("direct", "checkpointed")


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
