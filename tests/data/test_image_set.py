"""Splits and their division into training and validation pictures."""

from pathlib import Path

import pytest
import torch

from odevision.data.image_set import ImageSet, carve_validation

LABELS = torch.arange(1000) % 10


def image_set(num: int = 6) -> ImageSet:
    images = torch.arange(num, dtype=torch.uint8).view(-1, 1, 1, 1).expand(num, 1, 4, 4)
    labels = torch.arange(num)
    return ImageSet(images=images, labels=labels, class_names=("a",) * num, name="n", split="train")


def test_carve_is_disjoint_and_complete() -> None:
    train, validation = carve_validation(LABELS, fraction=0.1, seed=0)
    assert sorted(train.tolist() + validation.tolist()) == list(range(1000))


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.9])
def test_carve_takes_the_same_share_of_each_class(fraction) -> None:
    _, validation = carve_validation(LABELS, fraction=fraction, seed=0)
    assert LABELS[validation].bincount().tolist() == [round(100 * fraction)] * 10


def test_carve_of_uneven_classes_has_the_stated_total() -> None:
    labels = torch.repeat_interleave(torch.arange(7), torch.tensor([13, 14, 15, 16, 17, 18, 19]))
    _, validation = carve_validation(labels, fraction=0.1, seed=0)
    assert len(validation) == round(0.1 * len(labels))
    assert set(labels[validation].bincount(minlength=7).tolist()) <= {1, 2}


def test_carve_never_changes() -> None:
    # Networks trained before an update must not be validated on their training pictures after it.
    assert carve_validation(LABELS, fraction=0.01, seed=0)[1].tolist() == [
        44,
        155,
        296,
        353,
        382,
        400,
        758,
        801,
        879,
        997,
    ]


def test_carve_depends_on_the_seed() -> None:
    one, two = (carve_validation(LABELS, fraction=0.1, seed=seed)[1] for seed in (0, 1))
    assert not torch.equal(one, two)


def test_carve_leaves_each_class_of_two_on_both_sides() -> None:
    train, validation = carve_validation(torch.tensor([0, 0, 1, 1]), fraction=0.01, seed=0)
    assert len(train) == len(validation) == 2


def test_carve_keeps_a_single_picture_for_training() -> None:
    train, validation = carve_validation(torch.tensor([0, 1, 1]), fraction=0.9, seed=0)
    assert 0 in train.tolist() and 0 not in validation.tolist()


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1])
def test_fraction_out_of_range_is_refused(fraction) -> None:
    with pytest.raises(ValueError, match="`validation_fraction` must be between 0 and 1"):
        carve_validation(LABELS, fraction=fraction, seed=0)


def test_selection_takes_images_and_labels_together() -> None:
    selected = image_set().select(torch.tensor([4, 1]), split="validation")
    assert selected.images is not None
    assert selected.images[:, 0, 0, 0].tolist() == selected.labels.tolist() == [4, 1]
    assert (selected.split, len(selected)) == ("validation", 2)


def test_selection_of_files_takes_their_paths() -> None:
    paths = tuple(Path(f"{i}.png") for i in range(3))
    whole = ImageSet(
        images=None,
        paths=paths,
        labels=torch.arange(3),
        class_names=("a", "b", "c"),
        name="n",
        split="train",
    )
    assert whole.select(torch.tensor([2, 0])).paths == (paths[2], paths[0])


def test_images_and_paths_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="`images` or `paths`"):
        ImageSet(images=None, labels=LABELS, class_names=(), name="n", split="train")
