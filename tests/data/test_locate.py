"""Where files are sought, and what is said when they are not there."""

import http.client
import logging
import tarfile
import urllib.error
from pathlib import Path

import pytest
import torchvision.datasets

from odevision.data import locate
from odevision.data.locate import DataNotFoundError, find_official_files


@pytest.fixture(autouse=True)
def no_other_places(tmp_path, monkeypatch) -> Path:
    """Point the cache at an empty folder, so that no test sees or fills the user's."""
    monkeypatch.delenv("ODEVISION_DATA", raising=False)
    cache = tmp_path / "cache"
    monkeypatch.setattr(locate, "cache_folder", lambda: cache)
    return cache


@pytest.fixture
def no_download(monkeypatch) -> list[str]:
    """Replace the downloads by a failing one; the list gets a record of each attempt."""
    attempts = []

    def fail(root: str, train: bool, download: bool) -> None:
        attempts.append(root)
        raise urllib.error.URLError("no route to host")

    for name in ("MNIST", "CIFAR10", "CIFAR100"):
        monkeypatch.setattr(torchvision.datasets, name, fail)
    return attempts


@pytest.mark.parametrize("place", ["mnist", "MNIST/raw", "mnist/MNIST/raw", "."])
@pytest.mark.parametrize("compress", [False, True])
def test_mnist_is_found_in_each_layout(tmp_path, write_mnist, place, compress) -> None:
    write_mnist(tmp_path / place, compress=compress)
    for split, stem in (("train", "train"), ("test", "t10k")):
        layout, files = find_official_files("mnist", split, data_root=tmp_path)
        end = ".gz" if compress else ""
        assert layout.reader == "idx"
        assert files == [
            tmp_path / place / f"{stem}-{kind}-ubyte{end}"
            for kind in ("images-idx3", "labels-idx1")
        ]


@pytest.mark.parametrize(
    ("num_classes", "kind", "folder"),
    [
        (10, "py", "cifar-10-batches-py"),
        (10, "bin", "cifar-10-batches-bin"),
        (100, "py", "cifar-100-python"),
        (100, "bin", "cifar-100-binary"),
    ],
)
@pytest.mark.parametrize("place", ["{folder}", "{name}/{folder}", "{name}", "."])
def test_cifar_is_found_in_each_layout(
    tmp_path, write_cifar, num_classes, kind, folder, place
) -> None:
    name = f"cifar{num_classes}"
    path = tmp_path / place.format(folder=folder, name=name)
    write_cifar(path, kind=kind, num_classes=num_classes)
    for split in ("train", "test"):
        layout, files = find_official_files(name, split, data_root=tmp_path)
        assert layout.reader == {"py": "cifar-python", "bin": "cifar-binary"}[kind]
        assert {file.parent for file in files} == {path}
        assert len(files) == (5 if (num_classes, split) == (10, "train") else 1)


def test_data_root_is_the_only_place_if_given(
    tmp_path, write_mnist, monkeypatch, no_download
) -> None:
    write_mnist(tmp_path / "elsewhere", compress=False)
    monkeypatch.setenv("ODEVISION_DATA", str(tmp_path / "elsewhere"))
    (tmp_path / "root").mkdir()
    with pytest.raises(DataNotFoundError):
        find_official_files("mnist", "train", data_root=tmp_path / "root")
    assert not no_download


def test_environment_comes_before_the_cache(
    tmp_path, write_mnist, monkeypatch, no_other_places
) -> None:
    write_mnist(no_other_places, compress=False)
    write_mnist(tmp_path / "elsewhere", compress=True)
    assert find_official_files("mnist", "train")[1][0].parent == no_other_places
    monkeypatch.setenv("ODEVISION_DATA", str(tmp_path / "elsewhere"))
    assert find_official_files("mnist", "train")[1][0].parent == tmp_path / "elsewhere"


def test_missing_root_says_so(tmp_path) -> None:
    with pytest.raises(DataNotFoundError, match="nowhere, which is no folder"):
        find_official_files("mnist", "train", data_root=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("mnist", ["train-images-idx3-ubyte (or .gz)", "MNIST/raw", "/mnist", "train-labels"]),
        ("cifar10", ["data_batch_5", "data_batch_1.bin", "cifar-10-batches-py", "python.tar.gz"]),
        ("cifar100", ["train.bin", "cifar-100-binary", "https://www.cs.toronto.edu"]),
    ],
)
def test_missing_files_are_named_with_the_places_searched(tmp_path, name, wanted) -> None:
    with pytest.raises(DataNotFoundError) as caught:
        find_official_files(name, "train", data_root=tmp_path)
    for words in [*wanted, str(tmp_path)]:
        assert words in str(caught.value)


def test_single_missing_file_is_named(tmp_path, write_mnist) -> None:
    write_mnist(tmp_path / "mnist", compress=True)
    (tmp_path / "mnist" / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataNotFoundError, match="has the others, but not train-labels-idx1"):
        find_official_files("mnist", "train", data_root=tmp_path)


def test_packed_archive_is_noticed(tmp_path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").touch()
    with pytest.raises(DataNotFoundError, match="Try: tar xzf .*cifar-10-python.tar.gz"):
        find_official_files("cifar10", "test", data_root=tmp_path)


def test_error_is_a_file_not_found_error() -> None:
    assert issubclass(DataNotFoundError, FileNotFoundError)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_failed_download_says_what_to_fetch_and_where_to_put_it(
    name, no_download, no_other_places
) -> None:
    with pytest.raises(DataNotFoundError, match="no route to host") as caught:
        find_official_files(name, "train")
    message = str(caught.value)
    for archive in locate.SOURCES[name].archives:
        assert archive in message
    assert locate.SOURCES[name].url in message and str(no_other_places) in message
    assert "$ODEVISION_DATA" in message
    assert no_download == [str(no_other_places)]


@pytest.mark.parametrize("error", [tarfile.ReadError, http.client.IncompleteRead])
def test_broken_download_is_reported_like_a_failed_one(monkeypatch, error: type[Exception]) -> None:
    def download(root: str, train: bool, download: bool) -> None:
        raise error(b"half")

    monkeypatch.setattr(torchvision.datasets, "MNIST", download)
    with pytest.raises(DataNotFoundError, match="could not be downloaded"):
        find_official_files("mnist", "train")


def test_unwritable_cache_is_reported_like_a_failed_download(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(locate, "cache_folder", lambda: tmp_path / "file" / "cache")
    with pytest.raises(DataNotFoundError, match="could not be downloaded"):
        find_official_files("mnist", "train")


def test_downloaded_files_are_used(monkeypatch, write_mnist, no_other_places, capsys) -> None:
    def download(root: str, train: bool, download: bool) -> None:
        print("downloading")
        write_mnist(Path(root) / "MNIST" / "raw", compress=True)

    monkeypatch.setattr(torchvision.datasets, "MNIST", download)
    _, files = find_official_files("mnist", "test")
    assert files[0] == no_other_places / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz"
    assert capsys.readouterr().out == ""


def test_download_in_spite_of_a_stated_place_is_mentioned(
    tmp_path, monkeypatch, no_download, caplog
) -> None:
    monkeypatch.setenv("ODEVISION_DATA", str(tmp_path))
    with caplog.at_level(logging.WARNING), pytest.raises(DataNotFoundError):
        find_official_files("mnist", "train")
    assert "no mnist under $ODEVISION_DATA" in caplog.text
