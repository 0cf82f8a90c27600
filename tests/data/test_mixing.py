"""Mixup and CutMix."""

import numpy as np
import pytest
import torch

from odevision.data.mixing import mix, mixing_generator


def batch(num: int = 32, *, side: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Image k is filled with k, and its class is k."""
    labels = torch.arange(num)
    return labels.float().view(-1, 1, 1, 1).expand(num, 3, side, side).contiguous(), labels


def mixed(num: int = 32, *, seed: int = 0, **options: float):
    images, labels = batch(num)
    generator = np.random.default_rng(seed)
    return mix(images, labels, generator, num_classes=num, **options)


@pytest.mark.parametrize("options", [{"mixup_alpha": 0.4}, {"cutmix_alpha": 1.0}])
def test_targets_are_the_shares_of_the_pixels(options) -> None:
    # Image k is k everywhere, so the mean of a mixed one is the mean class of its target.
    result = mixed(**options)
    expected = result.targets @ torch.arange(32.0)
    torch.testing.assert_close(result.images.mean(dim=(1, 2, 3)), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(result.targets.sum(1), torch.ones(32))


def test_mixup_blends_whole_images_and_cutmix_pastes_a_rectangle() -> None:
    blended = mixed(mixup_alpha=1.0).images
    assert (blended == blended[:, :1, :1, :1]).all()
    pasted = mixed(cutmix_alpha=1.0).images
    own = torch.arange(32.0).view(-1, 1, 1, 1)
    is_other = pasted == own.roll(1, dims=0)
    assert ((pasted == own) | is_other).all()
    heights, widths = is_other[:, 0].any(2).sum(1), is_other[:, 0].any(1).sum(1)
    assert torch.equal(is_other[:, 0].sum(dim=(1, 2)), heights * widths)
    assert len(heights.unique()) > 4


def test_with_both_on_each_image_is_mixed_either_way() -> None:
    images = mixed(mixup_alpha=1.0, cutmix_alpha=1.0).images
    is_flat = (images == images[:, :1, :1, :1]).flatten(1).all(1)
    assert 5 < is_flat.sum() < 27


def test_the_accuracy_counts_the_heavier_label() -> None:
    result = mixed(mixup_alpha=1.0)
    assert torch.equal(result.labels, result.targets.argmax(1))
    assert not torch.equal(result.labels, torch.arange(32))


def test_a_small_alpha_leaves_most_images_nearly_alone() -> None:
    heavier = mixed(500, mixup_alpha=0.2).targets.amax(1)
    assert heavier.mean() > 0.85
    assert mixed(500, mixup_alpha=1.0).targets.amax(1).mean() < 0.8


def test_the_same_generator_gives_the_same_mixture_and_another_batch_another() -> None:
    one, two = (mixed(seed=1, cutmix_alpha=1.0).images for _ in range(2))
    assert torch.equal(one, two)
    keys = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    draws = [mixing_generator(*key).random() for key in keys]
    assert len(set(draws)) == 4
    assert mixing_generator(0, 1, 2).random() == mixing_generator(0, 1, 2).random()


def test_the_argument_is_left_alone() -> None:
    images, labels = batch()
    mix(images, labels, np.random.default_rng(0), num_classes=32, cutmix_alpha=1.0)
    assert torch.equal(images, batch()[0])


def test_a_batch_of_one_stays_itself() -> None:
    result = mixed(1, mixup_alpha=1.0, cutmix_alpha=1.0)
    torch.testing.assert_close(result.images, batch(1)[0])
    torch.testing.assert_close(result.targets, torch.ones(1, 1))


def test_mixing_with_nothing_on_is_refused() -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        mixed()
