import copy
import dataclasses
from pathlib import Path

import pytest

from odevision.data.corruptions import corrupt
from odevision.data.image_set import ImageSet, to_picture
from odevision.data.sources import load_split
from odevision.evaluation.answers import answer_split, class_probabilities
from odevision.evaluation.corruptions import check_corruptions
from odevision.training.checkpoint import LoadedModel


def test_accuracy_is_that_of_the_corrupted_images(loaded: LoadedModel) -> None:
    split = load_split("mnist-mini", "test", limit=70)
    answers = answer_split(loaded, split)
    seen: list[tuple[int, int]] = []
    result = check_corruptions(
        loaded,
        split,
        answers,
        names=("contrast", "gaussian_noise"),
        severities=(1, 4),
        seed=3,
        batch_size=32,
        on_batch=lambda *both: seen.append(both),
    )
    assert split.images is not None
    noisy = corrupt(split.images, "gaussian_noise", 4, seed=3)
    right = class_probabilities(loaded, noisy).argmax(dim=1) == split.labels
    assert result.accuracy["gaussian_noise"][1] == pytest.approx(float(right.float().mean()))
    shares = [share for row in result.accuracy.values() for share in row]
    assert result.mean_error == pytest.approx(1 - sum(shares) / 4)
    assert result.clean_accuracy == answers.accuracy
    assert (result.severities, result.num_samples, result.seed) == ((1, 4), 70, 3)
    assert seen[-1] == (4 * 70, 4 * 70)


def test_files_are_corrupted_like_images_in_memory(loaded: LoadedModel, tmp_path: Path) -> None:
    split = load_split("mnist-mini", "test", limit=6)
    assert split.images is not None
    paths = tuple(tmp_path / f"{index}.png" for index in range(6))
    for path, image in zip(paths, split.images, strict=True):
        to_picture(image).save(path)
    files: ImageSet = dataclasses.replace(split, images=None, paths=paths)
    answers = answer_split(loaded, split)
    options = {"names": ("fog", "shot_noise"), "severities": (5,)}
    one, other = (check_corruptions(loaded, some, answers, **options) for some in (split, files))
    assert one == other


def test_a_model_that_ignores_the_image_loses_nothing(loaded: LoadedModel) -> None:
    model = copy.deepcopy(loaded.model)
    for parameter in model.parameters():
        parameter.data.zero_()
    constant = dataclasses.replace(loaded, model=model)
    split = load_split("mnist-mini", "test", limit=40)
    answers = answer_split(constant, split)
    result = check_corruptions(constant, split, answers, names=("snow",))
    assert result.accuracy["snow"] == [answers.accuracy] * 5
