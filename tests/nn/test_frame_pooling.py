"""Pooling over time as running statistics."""

import pytest
import torch
from torch import Tensor

from odevision.nn.frame_pooling import FramePooling


def pooling(attention: bool) -> FramePooling:
    torch.manual_seed(0)
    layer = FramePooling(6, attention=attention)
    if layer.score is not None:
        torch.nn.init.normal_(layer.score.weight, std=3.0)
    return layer


def frames() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    mask = torch.tensor([[True] * 7, [True] * 3 + [False] * 4])
    return torch.randn(2, 7, 6), mask


def expected(layer: FramePooling, x: Tensor) -> Tensor:
    if layer.score is None:
        return x.mean(dim=0)
    return layer.score(x).squeeze(1).softmax(dim=0) @ x


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_any_pieces_give_the_mean_or_the_softmax_over_all_frames(
    attention: bool, size: int
) -> None:
    layer, (x, mask) = pooling(attention), frames()
    pooled = layer.initial(2, x.device)
    for start in range(0, 7, size):
        pooled = layer(pooled, x[:, start : start + size], mask[:, start : start + size])
    assert torch.allclose(pooled.value[0], expected(layer, x[0]), atol=1e-6)
    assert torch.allclose(pooled.value[1], expected(layer, x[1, :3]), atol=1e-6)


def test_before_the_first_frame_the_value_is_zero_and_padding_keeps_it() -> None:
    layer = pooling(True)
    pooled = layer.initial(2, torch.device("cpu"))
    assert torch.equal(pooled.value, torch.zeros(2, 6))
    pooled = layer(pooled, torch.randn(2, 3, 6), torch.zeros(2, 3, dtype=torch.bool))
    assert torch.equal(pooled.value, torch.zeros(2, 6))


def test_scores_far_apart_stay_finite_with_finite_gradients() -> None:
    layer = FramePooling(1, attention=True)
    assert layer.score is not None
    torch.nn.init.constant_(layer.score.weight, 300.0)
    x = torch.tensor([[[-1.0], [1.0], [0.5]]], requires_grad=True)
    pooled = layer(layer.initial(1, x.device), x, torch.ones(1, 3, dtype=torch.bool))
    assert torch.allclose(pooled.value, torch.ones(1, 1))
    pooled.value.sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_gradients_through_pieces_are_those_through_the_whole() -> None:
    layer, (x, mask) = pooling(True), frames()
    gradients = []
    for size in (7, 2):
        leaf = x.clone().requires_grad_()
        pooled = layer.initial(2, x.device)
        for start in range(0, 7, size):
            pooled = layer(pooled, leaf[:, start : start + size], mask[:, start : start + size])
        pooled.value.square().sum().backward()
        gradients.append(leaf.grad)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6)
