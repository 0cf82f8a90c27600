from pathlib import Path

import PIL.Image
import pytest
import torch

from odevision.evaluation.split import class_mapping, load_test_images
from odevision.training.checkpoint import LoadedModel


def test_classes_are_matched_by_name() -> None:
    mapping = class_mapping("pets", ("dog", "cat"), ("bird", "cat", "dog"))
    assert mapping.tolist() == [2, 1]


def test_classes_the_model_does_not_know_are_named() -> None:
    with pytest.raises(ValueError, match="does not know horse"):
        class_mapping("farm", ("cat", "horse"), ("cat", "dog"))


def test_an_image_folder_gets_the_models_size_channels_and_labels(
    loaded: LoadedModel, tmp_path: Path
) -> None:
    for split in ("train", "test"):
        for name in ("3", "7"):
            folder = tmp_path / "digits" / split / name
            folder.mkdir(parents=True)
            PIL.Image.new("RGB", (60, 40), (0, 0, 0)).save(folder / "a.png")
    image_set = load_test_images(loaded, data=str(tmp_path / "digits"))
    assert image_set.images is not None
    assert image_set.images.shape == (2, 1, 28, 28)
    assert image_set.labels.tolist() == [3, 7]
    assert image_set.class_names == loaded.card.class_names


@pytest.mark.parametrize("inside", ["test", "val", ""])
def test_labeled_images_need_no_training_images_beside_them(
    loaded: LoadedModel, tmp_path: Path, inside: str
) -> None:
    for name in ("3", "7"):
        (tmp_path / "new" / inside / name).mkdir(parents=True)
        for i in range(2):
            picture = PIL.Image.new("RGB", (60, 40), (0, 0, 0))
            picture.save(tmp_path / "new" / inside / name / f"{i}.png")
    image_set = load_test_images(loaded, data="new", data_root=tmp_path)
    assert image_set.labels.tolist() == [3, 3, 7, 7]
    assert image_set.images is not None and image_set.images.shape == (4, 1, 28, 28)
    assert load_test_images(loaded, data=str(tmp_path / "new"), limit=2).labels.tolist() == [3, 7]
    (tmp_path / "new" / inside / "cat").mkdir()
    with pytest.raises(ValueError, match="does not know cat"):
        load_test_images(loaded, data=str(tmp_path / "new"))


def test_a_folder_with_no_images_at_all_is_refused(loaded: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold images, got a folder with none. Try the lay"):
        load_test_images(loaded, data=str(tmp_path))


def test_a_limit_takes_the_first_images(loaded: LoadedModel) -> None:
    few, many = (load_test_images(loaded, limit=limit) for limit in (5, 9))
    assert few.images is not None and many.images is not None
    assert torch.equal(few.images, many.images[:5])
