"""Videos in splits: whole groups on one side, and no leak."""

import dataclasses
from pathlib import Path

import pytest
import torch

from odevision.data.video_set import LeakError, VideoSet, carve_validation_groups, refuse_leak


def videos(groups_a_class: int = 10, clips_a_group: int = 4, classes: int = 3) -> VideoSet:
    paths, labels, groups = [], [], []
    for label in range(classes):
        for group in range(groups_a_class):
            for clip in range(clips_a_group):
                paths.append(Path(f"c{label}/g{group}_{clip}.avi"))
                labels.append(label)
                groups.append(f"c{label}g{group}")
    return VideoSet(
        paths=tuple(paths),
        labels=torch.tensor(labels),
        groups=tuple(groups),
        class_names=tuple(f"c{label}" for label in range(classes)),
        name="made",
        split="train",
    )


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.9])
def test_validation_takes_whole_groups_of_every_class(fraction: float) -> None:
    whole = videos()
    training, validation = carve_validation_groups(whole, fraction=fraction, seed=0)
    assert not set(training.groups) & set(validation.groups)
    assert sorted(training.paths + validation.paths) == sorted(whole.paths)
    for label in range(3):
        share = int((validation.labels == label).sum()) / 40
        assert abs(share - fraction) <= 0.1
        assert int((training.labels == label).sum()) >= 4
    assert (training.split, validation.split) == ("train", "validation")


def test_where_all_groups_are_large_the_least_of_them_is_validated() -> None:
    for seed in range(6):
        whole = videos(groups_a_class=2, clips_a_group=50)
        keep = torch.tensor([path.name not in {f"g1_{i}.avi" for i in range(8, 50)}
                             for path in whole.paths])  # fmt: skip
        uneven = whole.select(keep.nonzero().flatten())
        for fraction in (0.05, 0.15):
            training, validation = carve_validation_groups(uneven, fraction=fraction, seed=seed)
            assert training.labels.bincount().tolist() == [50, 50, 50]
            assert validation.labels.bincount().tolist() == [8, 8, 8]


def test_names_that_are_not_utf8_are_divided_too() -> None:
    whole = videos()
    odd = dataclasses.replace(whole, groups=tuple(f"{group}\udce9" for group in whole.groups))
    training, validation = carve_validation_groups(odd, fraction=0.2, seed=0)
    assert len(training) + len(validation) == len(whole)


def test_the_division_depends_on_the_seed_only() -> None:
    first, again, other = (
        carve_validation_groups(videos(), fraction=0.2, seed=seed)[1].groups for seed in (0, 0, 1)
    )
    assert first == again != other


def test_a_class_of_one_group_stays_in_training() -> None:
    whole = videos(groups_a_class=1)
    two = videos(classes=1, groups_a_class=2)
    joined = dataclasses.replace(
        whole,
        paths=whole.paths + tuple(Path("more") / path for path in two.paths),
        labels=torch.cat([whole.labels, two.labels]),
        groups=whole.groups + tuple(f"more{group}" for group in two.groups),
    )
    _, validation = carve_validation_groups(joined, fraction=0.2, seed=0)
    assert set(validation.labels.tolist()) == {0}
    with pytest.raises(ValueError, match="no class of made has two groups"):
        carve_validation_groups(whole, fraction=0.2, seed=0)


def test_a_group_that_spans_classes_goes_to_one_side() -> None:
    whole = videos(groups_a_class=4)
    shared = tuple("s" + group[3:] for group in whole.groups)
    training, validation = carve_validation_groups(
        dataclasses.replace(whole, groups=shared), fraction=0.25, seed=0
    )
    assert not set(training.groups) & set(validation.groups)
    assert len(training) + len(validation) == len(whole)


def test_a_shared_group_or_file_is_refused_by_name() -> None:
    whole = videos()
    one, other = (
        whole.select(torch.tensor([0, 4])),
        whole.select(torch.tensor([1, 8]), split="test"),
    )
    with pytest.raises(LeakError, match=r"c0g0 on both sides: c0/g0_0\.avi and c0/g0_1\.avi"):
        refuse_leak(one, other)
    refuse_leak(one, whole.select(torch.tensor([8, 12])))
    renamed = dataclasses.replace(one, groups=("x", "y"))
    with pytest.raises(LeakError, match="g0_0"):
        refuse_leak(one, renamed)


def test_lengths_and_fractions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="one entry a video"):
        dataclasses.replace(videos(), groups=("a",))
    with pytest.raises(ValueError, match="validation_fraction"):
        carve_validation_groups(videos(), fraction=0.0, seed=0)
