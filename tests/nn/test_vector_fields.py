"""Vector fields keep the state's shape, see the time and each sample alone."""

import math

import pytest
import torch

from odevision.nn import ConvField, GatedConvField, ODEBlock, WeightNormField


def fields() -> list[torch.nn.Module]:
    torch.manual_seed(0)
    return [
        ConvField(32),
        GatedConvField(32),
        WeightNormField(32, time_weights=True),
        WeightNormField(32, leaky=True),
    ]


def call(field: torch.nn.Module, t: float, y: torch.Tensor) -> torch.Tensor:
    args = field.prepare(y) if hasattr(field, "prepare") else ()
    return field(torch.tensor(t, dtype=y.dtype), y, *args)


@pytest.mark.parametrize("field", fields(), ids=lambda field: type(field).__name__)
def test_a_field_keeps_shape_and_dtype(field: torch.nn.Module) -> None:
    y = torch.randn(3, 32, 6, 5)
    assert call(field, 0.3, y).shape == y.shape
    assert call(field, 0.3, y).dtype == y.dtype


@pytest.mark.parametrize("field", fields(), ids=lambda field: type(field).__name__)
def test_a_sample_does_not_see_its_neighbors(field: torch.nn.Module) -> None:
    field = field.double()
    y = torch.randn(4, 32, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([call(field, 0.3, one[None]) for one in y])
    torch.testing.assert_close(call(field, 0.3, y), alone, rtol=1e-10, atol=1e-12)


def test_the_paper_field_depends_on_the_time() -> None:
    torch.manual_seed(0)
    field, y = ConvField(32), torch.randn(2, 32, 6, 6)
    assert not torch.allclose(call(field, 0.0, y), call(field, 1.0, y))


def test_the_gated_field_learns_to_depend_on_the_time() -> None:
    torch.manual_seed(0)
    field, y = GatedConvField(32), torch.randn(2, 32, 6, 6)
    call(field, 0.5, y).square().sum().backward()
    assert field.time_shift.grad is not None and field.time_shift.grad.abs().sum() > 0
    assert field.time_gain.grad is not None and field.time_gain.grad.abs().sum() > 0


def test_the_scale_of_weight_normalized_filters_does_not_matter() -> None:
    torch.manual_seed(0)
    field, y = WeightNormField(16).double(), torch.randn(2, 16, 5, 5, dtype=torch.float64)
    before = call(field, 0.4, y)
    field.weight.data.mul_(7.0)
    torch.testing.assert_close(call(field, 0.4, y), before, rtol=1e-10, atol=1e-12)


def test_the_filters_of_a_weight_norm_field_are_linear_in_the_time() -> None:
    torch.manual_seed(0)
    field, y = WeightNormField(16, time_weights=True), torch.randn(2, 16, 5, 5)
    for parameter in field.parameters():
        parameter.data.normal_()
    field.time_gain.data.zero_()
    start, middle, end = (call(field, t, y) for t in (0.0, 0.5, 1.0))
    torch.testing.assert_close(middle, (start + end) / 2, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(start, end)


def test_a_weight_norm_field_without_gain_does_not_move_the_state() -> None:
    field = WeightNormField(16, gain=0.0)
    assert not call(field, 0.7, torch.randn(2, 16, 4, 4)).any()


def test_a_leaky_field_draws_the_state_to_its_features_and_one_euler_step_is_a_plain_layer() -> (
    None
):
    torch.manual_seed(0)
    field = WeightNormField(8, leaky=True).double()
    field.bias.data.normal_()
    y = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    filters = field.weight / field.weight.flatten(1).norm(dim=1)[:, None, None, None]
    features = torch.nn.functional.gelu(
        torch.nn.functional.conv2d(y, filters, field.bias, padding=1)
    )
    block = ODEBlock(field, solver="euler", num_steps=1)
    torch.testing.assert_close(block(y), features, rtol=1e-10, atol=1e-12)
    field.weight.data.mul_(0), field.bias.data.mul_(0)
    decayed = ODEBlock(field, solver="rk4", num_steps=20)(y)
    torch.testing.assert_close(decayed, y * math.exp(-1), rtol=1e-6, atol=1e-8)


def test_under_autocast_a_leaky_state_keeps_what_half_precision_would_round_off() -> None:
    field = WeightNormField(8, leaky=True)
    field.gain.data.zero_()
    y = torch.full((1, 8, 4, 4), 1.0 + 2**-12)
    with torch.autocast("cpu", torch.bfloat16):
        slope = call(field, 0.0, y)
    assert slope.dtype == torch.float32 and torch.equal(slope, -y)


def test_channels_that_do_not_fit_the_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 32, got 40"):
        ConvField(40)
    with pytest.raises(ValueError, match="multiple of groups = 16, got 20"):
        GatedConvField(20)


def test_time_responses_are_made_once_a_solve() -> None:
    torch.manual_seed(0)
    field = ConvField(32)
    calls = []
    prepare = field.prepare
    field.prepare = lambda y: calls.append(1) or prepare(y)  # type: ignore[method-assign]
    ODEBlock(field, solver="rk4", num_steps=3)(torch.randn(2, 32, 6, 6))
    assert len(calls) == 1


@pytest.mark.parametrize("gradient", ["direct", "checkpointed"])
def test_gradients_reach_the_time_weights_through_the_prepared_responses(gradient: str) -> None:
    torch.manual_seed(0)
    field = ConvField(32).double()
    y = torch.randn(2, 32, 4, 4, dtype=torch.float64)
    block = ODEBlock(field, solver="dopri5", num_steps=2, gradient=gradient)
    block(y).square().sum().backward()
    theirs = field.conv1.time_weight.grad.clone()  # type: ignore[union-attr]

    field.zero_grad()
    responses = [lambda: field.conv1.time_response(y), lambda: field.conv2.time_response(y)]
    from odevision import odesolve

    every_call = odesolve(
        lambda t, y: field(t, y, *(make() for make in responses)),
        y, 0.0, 1.0, solver="dopri5", num_steps=2, gradient="direct",
    )  # fmt: skip
    every_call.y1.square().sum().backward()
    torch.testing.assert_close(theirs, field.conv1.time_weight.grad, rtol=1e-9, atol=1e-12)
