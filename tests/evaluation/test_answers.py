import pytest
import torch

from odevision.data.sources import load_split
from odevision.evaluation.answers import answer_split, class_logits, class_probabilities
from odevision.training.checkpoint import LoadedModel


def test_probabilities_of_an_image_sum_to_one(loaded: LoadedModel) -> None:
    images = load_split("mnist-mini", "test", limit=5).images
    assert images is not None
    sums = class_probabilities(loaded, images).sum(dim=1)
    torch.testing.assert_close(sums, torch.ones(5))


def test_a_split_is_answered_in_order_whatever_the_batches(loaded: LoadedModel) -> None:
    split = load_split("mnist-mini", "test", limit=20)
    whole, parts = (answer_split(loaded, split, batch_size=size) for size in (20, 6))
    torch.testing.assert_close(whole.probabilities, parts.probabilities)
    assert torch.equal(whole.labels, split.labels)
    assert whole.loss == pytest.approx(parts.loss)


def test_nfe_is_the_mean_over_the_images(loaded: LoadedModel) -> None:
    split = load_split("mnist-mini", "test", limit=7)
    assert answer_split(loaded, split, batch_size=3).nfe == 4  # midpoint, two steps


def test_progress_is_reported_after_each_batch(loaded: LoadedModel) -> None:
    split = load_split("mnist-mini", "test", limit=10)
    seen: list[tuple[int, int]] = []
    answer_split(loaded, split, batch_size=4, on_batch=lambda *counts: seen.append(counts))
    assert seen == [(4, 10), (8, 10), (10, 10)]


def test_mirrored_logits_are_the_mean_of_both_sides(loaded: LoadedModel) -> None:
    split = load_split("mnist-mini", "test", limit=6)
    assert split.images is not None
    mean = (class_logits(loaded, split.images) + class_logits(loaded, split.images.flip(3))) / 2
    torch.testing.assert_close(class_logits(loaded, split.images, mirror=True), mean)
    answers = answer_split(loaded, split, mirror=True)
    torch.testing.assert_close(answers.probabilities, mean.softmax(dim=1))
