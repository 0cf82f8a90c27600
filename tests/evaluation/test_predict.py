import dataclasses
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from odevision.data.image import read_image
from odevision.evaluation.answers import class_logits, class_probabilities
from odevision.evaluation.calibration import Calibration, calibrated_probabilities
from odevision.evaluation.predict import predict_images, top_classes
from odevision.training.checkpoint import LoadedModel


def _write(folder: Path, number: int) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{index}.png" for index in range(number)]
    for index, path in enumerate(paths):
        PIL.Image.new("L", (28, 28), 10 * index).save(path)
    return paths


def test_top_classes_are_sorted_and_no_more_than_there_are() -> None:
    top = top_classes(torch.tensor([0.2, 0.5, 0.3]), ("a", "b", "c"), 9)
    assert [label for label, _ in top] == ["b", "c", "a"]


def test_predictions_come_in_the_order_of_the_paths(loaded: LoadedModel, tmp_path: Path) -> None:
    paths = _write(tmp_path / "in", 5)[::-1]
    predictions, errors = predict_images(loaded, paths, batch_size=2)
    assert [prediction.path for prediction in predictions] == list(map(str, paths))
    assert errors == []


def test_an_unreadable_file_is_among_the_errors_by_name(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    paths = _write(tmp_path / "in", 3)
    paths[1].write_bytes(b"")
    predictions, errors = predict_images(loaded, paths)
    assert [prediction.path for prediction in predictions] == [str(paths[0]), str(paths[2])]
    assert [path for path, _ in errors] == [str(paths[1])]


def test_progress_counts_files_whether_they_can_be_read_or_not(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    paths = _write(tmp_path / "in", 4)
    paths[1].write_bytes(b"")
    (tmp_path / "empty").mkdir()
    told: list[tuple[int, int]] = []
    predict_images(
        loaded,
        [tmp_path / "empty", *paths],
        batch_size=2,
        on_batch=lambda done, total: told.append((done, total)),
    )
    assert told == [(3, 4), (4, 4)]


def calibrated(loaded: LoadedModel, calibration: Calibration, **changes: float) -> LoadedModel:
    """The model with a calibration by the energy, which needs no file."""
    values = dataclasses.replace(calibration, unknown_score="energy", **changes).to_dict()
    return dataclasses.replace(loaded, card=dataclasses.replace(loaded.card, calibration=values))


def test_an_own_image_is_one_crop_and_answered_as_in_evaluation(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    (path,) = _write(tmp_path / "in", 1)
    (prediction,), _ = predict_images(loaded, [path], top=10)
    probabilities = class_probabilities(
        loaded, loaded.preprocessing.to_uint8(read_image(path))[None]
    )
    assert prediction.num_crops == 1
    assert not prediction.unknown and prediction.reason is None and prediction.score is None
    expected = dict(zip(loaded.card.class_names, probabilities[0].tolist(), strict=True))
    assert dict(prediction.top) == pytest.approx(expected, abs=1e-6)


def test_crops_are_averaged_whatever_the_batches(loaded: LoadedModel, tmp_path: Path) -> None:
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 256, (60, 90), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    whole, _ = predict_images(loaded, [tmp_path], crops=3, top=10)
    parts, _ = predict_images(loaded, [tmp_path], crops=3, top=10, batch_size=1)
    crops = loaded.preprocessing.to_crops(read_image(tmp_path / "1.png"), num=3)
    mean = class_probabilities(loaded, crops).mean(dim=0)
    for predictions in (whole, parts):
        assert [one.num_crops for one in predictions] == [3, 3, 3]
        expected = dict(zip(loaded.card.class_names, mean.tolist(), strict=True))
        assert dict(predictions[1].top) == pytest.approx(expected, abs=1e-6)


def test_a_calibrated_model_abstains_and_says_why_unless_told_not_to(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path
) -> None:
    paths = _write(tmp_path / "in", 2)
    careful = calibrated(loaded, calibration, unknown_threshold=1e6, min_probability=0.0)
    for prediction in predict_images(careful, paths)[0]:
        assert prediction.unknown and prediction.label == "unknown"
        assert prediction.reason is not None and "none of the 10 classes" in prediction.reason
        assert prediction.best_label == prediction.top[0][0]
        assert prediction.probability == prediction.top[0][1]
    for prediction in predict_images(careful, paths, abstain=False)[0]:
        assert not prediction.unknown and prediction.reason is None
        assert prediction.label == prediction.best_label == prediction.top[0][0]


def test_a_calibrated_model_states_calibrated_probabilities(
    loaded: LoadedModel, calibration: Calibration, tmp_path: Path
) -> None:
    paths = _write(tmp_path / "in", 1)
    bold = calibrated(loaded, calibration, unknown_threshold=-1e6, min_probability=0.0)
    (prediction,), _ = predict_images(bold, paths)
    assert not prediction.unknown and prediction.score is not None
    images = loaded.preprocessing.to_uint8(read_image(paths[0]))[None]
    expected = calibrated_probabilities(
        class_logits(loaded, images), temperature=calibration.temperature, floor=calibration.floor
    )
    assert prediction.probability == pytest.approx(float(expected.max()), abs=1e-6)


def test_a_mirrored_picture_has_the_same_answer_when_both_sides_count(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "0.png")
    PIL.Image.fromarray(pixels[:, ::-1].copy()).save(tmp_path / "1.png")
    (one, other), _ = predict_images(loaded, [tmp_path], mirror=True, top=10)
    assert dict(one.top) == pytest.approx(dict(other.top), abs=1e-6)


def test_a_number_of_crops_out_of_range_is_refused(loaded: LoadedModel) -> None:
    with pytest.raises(ValueError, match="`crops` must be 1 to 9, got 10"):
        predict_images(loaded, ["x.png"], crops=10)


@pytest.mark.parametrize("field", ["top", "batch_size"])
def test_a_count_below_one_is_refused(field: str, loaded: LoadedModel) -> None:
    counts = {"top": 5, "batch_size": 64, field: 0}
    with pytest.raises(ValueError, match=f"`{field}` must be at least 1"):
        predict_images(loaded, ["x.png"], top=counts["top"], batch_size=counts["batch_size"])
