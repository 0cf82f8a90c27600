"""Named data sets: what they are, their splits, and how they are read."""

import gzip
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from odevision.data import sources
from odevision.data.preprocessing import Preprocessing
from odevision.data.sources import (
    DATASETS,
    dataset_info,
    has_test_split,
    list_datasets,
    load_split,
)


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()


def test_list_names_every_data_set() -> None:
    assert list_datasets() == ["mnist-mini", "mnist", "cifar10", "cifar100"] == list(DATASETS)


@pytest.mark.parametrize("name", list(DATASETS))
def test_facts_of_each_data_set_fit_together(name) -> None:
    info = dataset_info(name)
    assert info.name == name and info.description
    assert len(set(info.class_names)) == len(info.class_names) in (10, 100)
    assert list(info.class_names) == sorted(info.class_names)
    preprocessing = sources.preprocessing_for(info)
    assert preprocessing.bright_on_dark == (info.num_channels == 1)


@pytest.mark.parametrize(
    ("name", "hint"), [("mnist-mimi", "mnist-mini"), ("cifar-10", "cifar10"), ("zebra", "Try one")]
)
def test_unknown_name_is_refused_with_a_hint(name, hint) -> None:
    with pytest.raises(ValueError, match=hint):
        dataset_info(name)


def test_sample_is_balanced() -> None:
    parts = {s: load_split("mnist-mini", s) for s in ("train", "validation", "test")}
    counts = {split: part.labels.bincount().tolist() for split, part in parts.items()}
    assert counts == {"train": [450] * 10, "validation": [50] * 10, "test": [100] * 10}
    assert parts["test"].images.shape == (1000, 1, 28, 28)


def test_train_and_validation_are_disjoint() -> None:
    images = [load_split("mnist-mini", split).images for split in ("train", "validation")]
    train, validation = ({image.numpy().tobytes() for image in part} for part in images)
    assert not train & validation


def test_splits_never_change() -> None:
    # Networks trained before an update must not be validated on their training pictures after it.
    assert digest(load_split("mnist-mini", "validation").images)[:16] == "7992fa33ae5862b8"


def test_validation_depends_on_its_seed_and_fraction_only() -> None:
    default = load_split("mnist-mini", "validation")
    torch.manual_seed(5)
    assert torch.equal(load_split("mnist-mini", "validation").images, default.images)
    other = load_split("mnist-mini", "validation", seed=1)
    assert len(other) == len(default) and not torch.equal(other.images, default.images)
    assert len(load_split("mnist-mini", "validation", validation_fraction=0.2)) == 1000


def test_limit_takes_the_first_images() -> None:
    whole, first = load_split("mnist-mini", "test"), load_split("mnist-mini", "test", limit=7)
    assert torch.equal(first.images, whole.images[:7])
    assert len(load_split("mnist-mini", "test", limit=10**6)) == 1000


def test_data_root_given_for_the_sample_is_not_ignored_silently(tmp_path, caplog) -> None:
    load_split("mnist-mini", "test", data_root=tmp_path)
    assert "ships with the package" in caplog.text


def test_sample_is_small_and_from_the_official_files(real_data, tmp_path) -> None:
    folder = sources.Path(sources.__file__).parent / "mnist_mini"
    script = folder.parents[2] / "tools" / "make_mnist_mini.py"
    environment = os.environ | {"PYTHONPATH": str(folder.parents[2])}
    command = [sys.executable, str(script), str(real_data / "mnist"), str(tmp_path)]
    subprocess.run(command, check=True, cwd=folder.parents[2], env=environment)
    made = sorted(tmp_path.iterdir())
    assert len(made) == 4
    assert sum(path.stat().st_size for path in made) < 2_000_000
    for path in made:
        # Other versions of zlib pack the same content into other bytes.
        content = path.read_bytes()
        assert gzip.decompress(content) == gzip.decompress((folder / path.name).read_bytes())
        assert content[4:8] == bytes(4)  # no time


@pytest.mark.parametrize("compress", [False, True])
def test_mnist_images_and_labels_come_from_the_files(tmp_path, write_mnist, compress) -> None:
    arrays = write_mnist(tmp_path / "mnist", compress=compress)
    part = load_split("mnist", "test", data_root=tmp_path)
    np.testing.assert_array_equal(part.images[:, 0].numpy(), arrays["t10k-images-idx3"])
    np.testing.assert_array_equal(part.labels.numpy(), arrays["t10k-labels-idx1"])


@pytest.mark.parametrize("kind", ["py", "bin"])
@pytest.mark.parametrize("num_classes", [10, 100])
def test_cifar_images_and_labels_come_from_the_files(
    tmp_path, write_cifar, kind, num_classes
) -> None:
    folder = {
        (10, "py"): "cifar-10-batches-py",
        (10, "bin"): "cifar-10-batches-bin",
        (100, "py"): "cifar-100-python",
        (100, "bin"): "cifar-100-binary",
    }[num_classes, kind]
    arrays = write_cifar(tmp_path / folder, kind=kind, num_classes=num_classes)
    name = f"cifar{num_classes}"
    test = load_split(name, "test", data_root=tmp_path)
    np.testing.assert_array_equal(test.images.numpy(), arrays["test"][0])
    np.testing.assert_array_equal(test.labels.numpy(), arrays["test"][1])
    parts = [load_split(name, split, data_root=tmp_path) for split in ("train", "validation")]
    seen = {image.numpy().tobytes() for part in parts for image in part.images}
    assert seen == {image.tobytes() for image in arrays["train"][0]}


def test_test_files_are_never_read_for_training(tmp_path, write_mnist, write_cifar) -> None:
    write_mnist(tmp_path / "mnist", compress=False, only="train")
    write_cifar(tmp_path / "cifar-10-batches-bin", kind="bin", num_classes=10)
    (tmp_path / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(b"damaged")
    for name in ("mnist", "cifar10"):
        for split in ("train", "validation"):
            assert len(load_split(name, split, data_root=tmp_path, validation_fraction=0.25))


def test_training_files_are_never_read_for_test(tmp_path, write_mnist) -> None:
    write_mnist(tmp_path / "mnist", compress=False, only="t10k")
    assert len(load_split("mnist", "test", data_root=tmp_path)) == 20


def test_unusual_number_of_images_is_mentioned(tmp_path, write_mnist, caplog) -> None:
    write_mnist(tmp_path, compress=False)
    load_split("mnist", "test", data_root=tmp_path)
    assert "has 20 test images; the official files have 10000" in caplog.text


def test_truncated_file_is_refused_by_name(tmp_path, write_mnist) -> None:
    write_mnist(tmp_path, compress=False)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="train-images-idx3-ubyte: .*truncated"):
        load_split("mnist", "train", data_root=tmp_path)


def test_files_of_different_lengths_are_refused(tmp_path, write_mnist) -> None:
    write_mnist(tmp_path, compress=False)
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes((tmp_path / "t10k-labels-idx1-ubyte").read_bytes())
    with pytest.raises(ValueError, match="not those of MNIST"):
        load_split("mnist", "train", data_root=tmp_path)


def test_images_are_resized_as_predict_would(tmp_path, write_mnist) -> None:
    write_mnist(tmp_path, compress=False)
    preprocessing = Preprocessing(image_size=32, num_channels=3, mean=(0.5,) * 3, std=(0.2,) * 3)
    original = load_split("mnist", "test", data_root=tmp_path, limit=5)
    resized = load_split("mnist", "test", data_root=tmp_path, limit=5, preprocessing=preprocessing)
    for image, small in zip(original.images, resized.images, strict=True):
        assert torch.equal(preprocessing.to_uint8(PIL.Image.fromarray(image[0].numpy())), small)


def test_another_image_size_resizes_named_sets_too() -> None:
    images = load_split("mnist-mini", "test", image_size=14, limit=3).images
    assert images.shape == (3, 1, 14, 14)


@pytest.mark.parametrize(
    "options",
    [{"split": "dev"}, {"limit": 0}, {"image_size": 0}, {"validation_fraction": 1.0}],
)
def test_impossible_arguments_are_refused(options) -> None:
    # A type checker, where one is on, refuses a wrong word first and calls it a TypeError.
    with pytest.raises((ValueError, TypeError), match=next(iter(options))):
        load_split("mnist-mini", **({"split": "train"} | options))


def test_image_size_that_contradicts_the_preprocessing_is_refused() -> None:
    preprocessing = sources.preprocessing_for(dataset_info("mnist-mini"))
    with pytest.raises(ValueError, match="`image_size` must be that of `preprocessing`"):
        load_split("mnist-mini", "test", image_size=14, preprocessing=preprocessing)


def test_full_mnist_has_its_official_size(real_data, caplog) -> None:
    counts = {
        split: len(load_split("mnist", split, data_root=real_data))
        for split in ("train", "validation", "test")
    }
    assert counts == {"train": 54_000, "validation": 6_000, "test": 10_000}
    assert not caplog.records


def test_stated_mean_and_std_are_those_of_the_training_images(real_data) -> None:
    info = dataset_info("mnist")
    pixels = load_split("mnist", "train", data_root=real_data).images.double() / 255
    assert pixels.mean().item() == pytest.approx(info.mean[0], abs=5e-4)
    assert pixels.std().item() == pytest.approx(info.std[0], abs=5e-4)


def test_a_folder_may_have_training_images_alone(tmp_path: Path) -> None:
    (tmp_path / "own" / "train").mkdir(parents=True)
    assert not has_test_split("own", data_root=tmp_path)
    (tmp_path / "own" / "val").mkdir()
    assert has_test_split("own", data_root=tmp_path)
    assert not has_test_split(tmp_path / "gone") and has_test_split("cifar10")
