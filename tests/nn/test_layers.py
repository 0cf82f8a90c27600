"""Stems, transitions and heads."""

import pytest
import torch
from torch.nn import functional as F

from odevision.nn.head import AverageHead, MaxHead
from odevision.nn.residual import ConvResidual, GatedConvResidual
from odevision.nn.stem import DownsamplingStem, WhiteningStem
from odevision.nn.transition import PlainLayer, Transition


def test_the_paper_stem_takes_28_pixels_to_6() -> None:
    assert DownsamplingStem(1, 64)(torch.randn(2, 1, 28, 28)).shape == (2, 64, 6, 6)


def test_whitening_makes_patches_uncorrelated_with_unit_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(500, 3, 12, 12, generator=generator)
    images = (
        torch.nn.functional.avg_pool2d(noise, 3, stride=1)
        + noise.mean(1, keepdim=True)[..., 1:-1, 1:-1]
    )
    stem = WhiteningStem(3, epsilon=0.0)
    stem.initialize_from(images)
    responses = stem.conv(images)[:, :12].transpose(0, 1).flatten(1)
    covariance = torch.cov(responses)
    torch.testing.assert_close(covariance, torch.eye(12), rtol=0, atol=1e-3)


def test_whitening_filters_come_with_both_signs_and_stay_frozen() -> None:
    stem = WhiteningStem(3)
    stem.initialize_from(torch.randn(50, 3, 8, 8))
    assert torch.equal(stem.conv.weight[:12], -stem.conv.weight[12:])
    assert not stem.conv.weight.requires_grad
    assert stem.conv.bias is not None and stem.conv.bias.requires_grad


def test_a_transition_halves_the_resolution_and_keeps_its_gain_fixed() -> None:
    transition = Transition(24, 64)
    assert transition(torch.randn(2, 24, 31, 31)).shape == (2, 64, 15, 15)
    assert not transition[2].weight.requires_grad


def test_a_transition_starts_as_the_identity_on_its_first_channels() -> None:
    x = torch.randn(2, 16, 8, 8)
    torch.testing.assert_close(Transition(16, 32)[0](x)[:, :16], x)


def test_more_convolutions_of_a_transition_stand_behind_the_pooling() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 16, 9, 9)
    plain, longer = Transition(16, 32), Transition(16, 32, num_convs=3)
    assert [type(layer) for layer in longer][:4] == [type(layer) for layer in plain]
    assert longer(x).shape == plain(x).shape
    assert sum(p.requires_grad for p in longer.parameters()) == 1 + 1 + 2 * 2
    longer.load_state_dict(plain.state_dict(), strict=False)
    # They begin as the identity, so what is left of a new one is BatchNorm and GELU.
    expected = plain(x)
    for _ in range(2):
        expected = F.gelu(F.batch_norm(expected, None, None, training=True))
    torch.testing.assert_close(longer(x), expected)


def test_a_plain_layer_starts_near_the_identity() -> None:
    images = torch.randn(2, 4, 5, 5)
    expected = F.gelu(images / (1 + 1e-5) ** 0.5)
    torch.testing.assert_close(PlainLayer(4).eval()(images), expected)


@pytest.mark.parametrize("head", [AverageHead(64, 7), MaxHead(64, 7)], ids=["average", "max"])
def test_heads_give_a_score_a_class_at_any_resolution(head: torch.nn.Module) -> None:
    for side in (1, 3, 8):
        assert head(torch.randn(2, 64, side, side)).shape == (2, 7)


@pytest.mark.parametrize("block", [ConvResidual(32), GatedConvResidual(32)])
def test_residual_blocks_keep_the_shape(block: torch.nn.Module) -> None:
    assert block(torch.randn(2, 32, 5, 5)).shape == (2, 32, 5, 5)
