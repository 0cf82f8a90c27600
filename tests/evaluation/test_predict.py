from pathlib import Path

import PIL.Image
import pytest
import torch

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


@pytest.mark.parametrize("field", ["top", "batch_size"])
def test_a_count_below_one_is_refused(field: str, loaded: LoadedModel) -> None:
    with pytest.raises(ValueError, match=f"`{field}` must be at least 1"):
        predict_images(loaded, ["x.png"], **{field: 0})
