"""Image folders, well laid out and not."""

import logging

import pytest
import torch
from PIL import Image

from odevision.data.image import ImageReadError, read_image
from odevision.data.locate import DataNotFoundError
from odevision.data.preprocessing import Preprocessing
from odevision.data.sources import dataset_info, load_split, preprocessing_for


def test_classes_are_the_sorted_folders_of_train(image_folder) -> None:
    info = dataset_info(image_folder)
    assert (info.class_names, info.image_size, info.num_channels) == (("cat", "dog"), 64, 3)


def test_image_size_can_be_chosen(image_folder) -> None:
    assert dataset_info(image_folder, image_size=24).image_size == 24
    assert load_split(image_folder, "test", image_size=24).images.shape == (4, 3, 24, 24)


def test_splits_have_all_images_once(image_folder) -> None:
    parts = [load_split(image_folder, s, in_memory_bytes=0) for s in ("train", "validation")]
    paths = [path for part in parts for path in part.paths]
    assert sorted(paths) == sorted((image_folder / "train").rglob("*.png"))
    assert parts[1].labels.tolist() == [0, 1]


def test_labels_fit_the_files(image_folder) -> None:
    part = load_split(image_folder, "train", in_memory_bytes=0)
    for path, label in zip(part.paths, part.labels.tolist(), strict=True):
        assert path.parent.name == part.class_names[label]


def test_decoded_images_are_the_files_preprocessed(image_folder) -> None:
    preprocessing = preprocessing_for(dataset_info(image_folder))
    files = load_split(image_folder, "test", in_memory_bytes=0)
    expected = [preprocessing.to_uint8(read_image(path)) for path in files.paths]
    assert torch.equal(load_split(image_folder, "test").images, torch.stack(expected))


def test_folder_is_decoded_just_if_it_fits(image_folder) -> None:
    num_bytes = 4 * 3 * 64 * 64
    assert load_split(image_folder, "test", in_memory_bytes=num_bytes).images is None
    assert load_split(image_folder, "test", in_memory_bytes=num_bytes + 1).paths is None


def test_a_trained_networks_preprocessing_is_used_if_given(image_folder) -> None:
    gray = Preprocessing(image_size=28, num_channels=1, mean=(0.1,), std=(0.3,))
    images = load_split(image_folder, "test", preprocessing=gray).images
    assert images.shape == (4, 1, 28, 28)


def test_limit_takes_images_of_all_classes(image_folder) -> None:
    assert load_split(image_folder, "test", limit=2).labels.tolist() == [0, 1]


def test_nested_folders_and_capital_endings_are_found(image_folder) -> None:
    deep = image_folder / "train" / "cat" / "more"
    deep.mkdir()
    Image.new("RGB", (9, 9)).save(deep / "A.JPG")
    parts = [load_split(image_folder, s, in_memory_bytes=0) for s in ("train", "validation")]
    assert deep / "A.JPG" in parts[0].paths + parts[1].paths


def test_relative_folder_may_lie_under_the_data_root(image_folder) -> None:
    info = dataset_info(image_folder.name, data_root=image_folder.parent)
    assert info.class_names == ("cat", "dog")
    assert len(load_split(image_folder.name, "test", data_root=image_folder.parent)) == 4


def test_val_serves_as_test_and_says_so(image_folder, caplog) -> None:
    (image_folder / "test").rename(image_folder / "val")
    with caplog.at_level(logging.WARNING):
        assert len(load_split(image_folder, "test")) == 4
    assert "val serves as test data" in caplog.text


def test_missing_test_folder_is_refused(image_folder) -> None:
    (image_folder / "test").rename(image_folder / "elsewhere")
    with pytest.raises(DataNotFoundError, match="has no test data"):
        load_split(image_folder, "test")


def test_training_never_looks_at_the_test_folder(image_folder) -> None:
    for path in (image_folder / "test").rglob("*.png"):
        path.write_bytes(b"damaged")
    load_split(image_folder, "train")
    load_split(image_folder, "validation")


@pytest.mark.parametrize("in_memory_bytes", [0, 2**30])
def test_unreadable_images_are_all_named(image_folder, in_memory_bytes) -> None:
    (image_folder / "test" / "cat" / "00.png").write_bytes(b"damaged")
    (image_folder / "test" / "dog" / "01.png").write_bytes(b"")
    with pytest.raises(ValueError, match="2 of 4 images cannot be read") as caught:
        load_split(image_folder, "test", in_memory_bytes=in_memory_bytes)
    assert not isinstance(caught.value, ImageReadError)
    assert "cat/00.png" in str(caught.value) and "dog/01.png: the file is empty" in str(
        caught.value
    )


def test_other_files_are_left_out_and_named(image_folder, caplog) -> None:
    (image_folder / "test" / "cat" / "notes.txt").write_text("x")
    with caplog.at_level(logging.WARNING):
        assert len(load_split(image_folder, "test")) == 4
    assert "notes.txt" in caplog.text


def test_class_without_images_is_refused_by_name(image_folder) -> None:
    (image_folder / "train" / "bird").mkdir()
    with pytest.raises(ValueError, match="bird: a class must have images"):
        load_split(image_folder, "train")


def test_unknown_class_in_test_is_refused_by_name(image_folder) -> None:
    (image_folder / "test" / "bird").mkdir()
    with pytest.raises(ValueError, match="classes that train has not: bird"):
        load_split(image_folder, "test")


def test_test_folder_without_images_is_refused(image_folder) -> None:
    for path in (image_folder / "test").rglob("*.png"):
        path.unlink()
    with pytest.raises(ValueError, match="must hold images"):
        load_split(image_folder, "test")


def test_single_class_is_refused(tmp_path) -> None:
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(ValueError, match="at least two classes"):
        dataset_info(tmp_path)


def test_folder_without_train_is_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match="has no train folder"):
        dataset_info(tmp_path)


def test_missing_folder_is_reported(tmp_path) -> None:
    with pytest.raises(DataNotFoundError, match="no such folder"):
        dataset_info(tmp_path / "gone")
