"""The official CIFAR files, whole and damaged."""

import os
import pickle

import numpy as np
import pytest

from odevision.data.cifar import read_binary, read_python


@pytest.mark.parametrize("num_classes", [10, 100])
@pytest.mark.parametrize("kind", ["py", "bin"])
def test_both_layouts_are_read(tmp_path, write_cifar, kind, num_classes) -> None:
    images, labels = write_cifar(tmp_path, kind=kind, num_classes=num_classes)["test"]
    name = "test_batch" if num_classes == 10 else "test"
    if kind == "py":
        key = "labels" if num_classes == 10 else "fine_labels"
        read = read_python([tmp_path / name], label_key=key, num_classes=num_classes)
    else:
        label_bytes = 1 if num_classes == 10 else 2
        path = tmp_path / f"{name}.bin"
        read = read_binary([path], label_bytes=label_bytes, num_classes=num_classes)
    np.testing.assert_array_equal(read[0], images)
    np.testing.assert_array_equal(read[1], labels)


def test_files_are_joined_in_order(tmp_path, write_cifar) -> None:
    images, _ = write_cifar(tmp_path, kind="bin", num_classes=10)["train"]
    paths = [tmp_path / f"data_batch_{i}.bin" for i in range(1, 6)]
    np.testing.assert_array_equal(read_binary(paths, label_bytes=1, num_classes=10)[0], images)


def python_two_batch() -> bytes:
    """Return a pickle as Python 2 wrote the official files: arrays' bytes inside its strings."""
    pixels = bytes(range(256)) * 12
    return (
        b"\x80\x02}q\x01(U\x06labelsq\x02]q\x03K\x07aU\x04dataq\x04"
        b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85U\x01b\x87Rq\x07"
        b"(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nq\x08U\x02u1K\x00K\x01\x87R"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T\x00\x0c\x00\x00" + pixels + b"tbu."
    )


def test_pickles_of_python_two_are_read(tmp_path) -> None:
    path = tmp_path / "test_batch"
    path.write_bytes(python_two_batch())
    images, labels = read_python([path], label_key="labels", num_classes=10)
    assert images.tobytes() == bytes(range(256)) * 12
    assert labels.tolist() == [7]


class _Harmful:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.path,)


def test_pickle_that_runs_code_is_refused(tmp_path) -> None:
    path, trace = tmp_path / "test_batch", tmp_path / "trace"
    path.write_bytes(pickle.dumps(_Harmful(str(trace))))
    with pytest.raises(ValueError, match=r"mkdir is not allowed"):
        read_python([path], label_key="labels", num_classes=10)
    assert not trace.exists()


@pytest.mark.parametrize("num_bytes", [0, 100, 3000])
def test_truncated_pickle_is_refused_by_name(tmp_path, num_bytes) -> None:
    path = tmp_path / "test_batch"
    path.write_bytes(python_two_batch()[:num_bytes])
    with pytest.raises(ValueError, match="test_batch: truncated or corrupt"):
        read_python([path], label_key="labels", num_classes=10)


@pytest.mark.parametrize(
    "content",
    [[1, 2], {"data": np.zeros((2, 3072), np.uint8)}, {"data": "x", "labels": [1]}],
    ids=["list", "no-labels", "no-array"],
)
def test_other_pickles_are_refused(tmp_path, content) -> None:
    path = tmp_path / "test_batch"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match="test_batch: no CIFAR batch"):
        read_python([path], label_key="labels", num_classes=10)


def test_labels_that_do_not_fit_the_images_are_refused(tmp_path) -> None:
    path = tmp_path / "test_batch"
    path.write_bytes(pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}))
    with pytest.raises(ValueError, match="does not fit 1 labels"):
        read_python([path], label_key="labels", num_classes=10)


@pytest.mark.parametrize("num_bytes", [0, 3072, 5000])
def test_truncated_binary_file_is_refused_by_name(tmp_path, num_bytes) -> None:
    path = tmp_path / "test_batch.bin"
    path.write_bytes(bytes(num_bytes))
    with pytest.raises(ValueError, match=r"test_batch\.bin: .* no whole number of records"):
        read_binary([path], label_bytes=1, num_classes=10)


def test_labels_out_of_range_are_refused(tmp_path) -> None:
    path = tmp_path / "test_batch.bin"
    path.write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(ValueError, match="labels must be 0 to 9, got 10"):
        read_binary([path], label_bytes=1, num_classes=10)
