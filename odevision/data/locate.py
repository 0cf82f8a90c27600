"""Finds the official files of the named data sets, or downloads them."""

import contextlib
import dataclasses
import http.client
import logging
import os
import socket
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import platformdirs

logger = logging.getLogger(__name__)


class DataNotFoundError(FileNotFoundError):
    """A data set's files are not there; the message says where they were sought and what to do."""


TEST_NAMES = ("test", "val", "valid", "validate", "validation")
"""Folders and words that mean the test split of a data set of one's own, the first one preferred:
validation is taken out of the training split."""


def find_test_folder(folder: Path) -> Path | None:
    """Return the folder of the test split in a data set of one's own, None if there is none.

    Args:
        folder: DIR of DIR/test or, with a warning, DIR/val.
    """
    found = next((place for name in TEST_NAMES if (place := folder / name).is_dir()), None)
    if found is not None and found.name != TEST_NAMES[0]:
        logger.warning("%s has no test folder; %s serves as test data", folder, found.name)
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """One way in which a data set's official files lie on disk.

    Args:
        reader: Which reader understands the files.
        folders: Where they may lie, relative to a root; the root itself ("") comes last.
        train: Files of the training images; each entry lists a file's possible names.
        test: Files of the test images, likewise.
    """

    reader: Literal["idx", "cifar-python", "cifar-binary"]
    folders: tuple[str, ...]
    train: tuple[tuple[str, ...], ...]
    test: tuple[tuple[str, ...], ...]

    def files(self, split: Literal["train", "test"]) -> tuple[tuple[str, ...], ...]:
        """Return the files of a split."""
        return self.train if split == "train" else self.test


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Where a named data set comes from.

    Args:
        layouts: Its official layouts, the preferred one first.
        url: Official address.
        archives: Files to fetch from there.
        download_class: Class in `torchvision.datasets` that downloads it.
    """

    layouts: tuple[Layout, ...]
    url: str
    archives: tuple[str, ...]
    download_class: str


def _idx_names(stem: str, kind: str) -> tuple[str, ...]:
    return tuple(f"{stem}{dot}{kind}-ubyte{gz}" for dot in "-." for gz in ("", ".gz"))


MNIST_LAYOUT = Layout(
    reader="idx",
    folders=("mnist", "MNIST/raw", "mnist/MNIST/raw", ""),
    train=(_idx_names("train-images", "idx3"), _idx_names("train-labels", "idx1")),
    test=(_idx_names("t10k-images", "idx3"), _idx_names("t10k-labels", "idx1")),
)


def _cifar_layout(
    reader: Literal["cifar-python", "cifar-binary"],
    folder: str,
    name: str,
    train: tuple[str, ...],
    test: str,
) -> Layout:
    folders = (folder, f"{name}/{folder}", name, "")
    return Layout(
        reader=reader, folders=folders, train=tuple((file,) for file in train), test=((test,),)
    )


_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))

SOURCES: dict[str, Source] = {
    "mnist": Source(
        layouts=(MNIST_LAYOUT,),
        url="https://ossci-datasets.s3.amazonaws.com/mnist/",
        archives=(
            "train-images-idx3-ubyte.gz",
            "train-labels-idx1-ubyte.gz",
            "t10k-images-idx3-ubyte.gz",
            "t10k-labels-idx1-ubyte.gz",
        ),
        download_class="MNIST",
    ),
    "cifar10": Source(
        layouts=(
            _cifar_layout("cifar-python", "cifar-10-batches-py", "cifar10", _BATCHES, "test_batch"),
            _cifar_layout(
                "cifar-binary",
                "cifar-10-batches-bin",
                "cifar10",
                tuple(f"{batch}.bin" for batch in _BATCHES),
                "test_batch.bin",
            ),
        ),
        url="https://www.cs.toronto.edu/~kriz/",
        archives=("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz"),
        download_class="CIFAR10",
    ),
    "cifar100": Source(
        layouts=(
            _cifar_layout("cifar-python", "cifar-100-python", "cifar100", ("train",), "test"),
            _cifar_layout(
                "cifar-binary", "cifar-100-binary", "cifar100", ("train.bin",), "test.bin"
            ),
        ),
        url="https://www.cs.toronto.edu/~kriz/",
        archives=("cifar-100-python.tar.gz", "cifar-100-binary.tar.gz"),
        download_class="CIFAR100",
    ),
}


def cache_folder() -> Path:
    """Return the folder that downloads go to; it need not exist."""
    return Path(platformdirs.user_cache_dir("odevision"))


def find_official_files(
    name: str, split: Literal["train", "test"], *, data_root: str | Path | None = None
) -> tuple[Layout, list[Path]]:
    """Find the official files of a split, in the documented order of places.

    Args:
        name: A key of `SOURCES`.
        split: Whose files.
        data_root: The only place to look in, if given. Else $ODEVISION_DATA and the user's cache
            folder are searched, and what is in neither is downloaded into the cache folder.

    Returns:
        The layout found and its files, in its order.

    Raises:
        DataNotFoundError: If the files are not there, or cannot be downloaded.
    """
    if data_root is not None:
        found = _find_under(Path(data_root), name, split)
        if found is None:
            raise DataNotFoundError(_not_found_message(Path(data_root), name, split))
        return found
    environment_root = os.environ.get("ODEVISION_DATA")
    roots = [Path(environment_root)] if environment_root else []
    for root in [*roots, cache_folder()]:
        found = _find_under(root, name, split)
        if found is not None:
            return found
    if environment_root:
        logger.warning("%s: no %s under $ODEVISION_DATA; downloading it", environment_root, name)
    _download(name, cache_folder())
    found = _find_under(cache_folder(), name, split)
    if found is None:
        raise DataNotFoundError(_not_found_message(cache_folder(), name, split))
    return found


def _find_under(
    root: Path, name: str, split: Literal["train", "test"]
) -> tuple[Layout, list[Path]] | None:
    for layout in SOURCES[name].layouts:
        for folder in layout.folders:
            files = [_first_file(root / folder, names) for names in layout.files(split)]
            if all(files):
                return layout, [file for file in files if file is not None]
    return None


def _first_file(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _not_found_message(root: Path, name: str, split: Literal["train", "test"]) -> str:
    source = SOURCES[name]
    lines = [f"{name}: the {split} files are not under {root}"]
    lines[0] += "." if root.is_dir() else ", which is no folder."
    for layout in source.layouts:
        wanted = ", ".join(_wanted_name(names) for names in layout.files(split))
        places = ", ".join(str(root / folder) for folder in layout.folders)
        lines.append(f"Wanted: {wanted}; looked in {places}.")
        for folder in layout.folders:
            missing = [n for n in layout.files(split) if _first_file(root / folder, n) is None]
            if 0 < len(missing) < len(layout.files(split)):
                names = ", ".join(_wanted_name(n) for n in missing)
                lines.append(f"{root / folder} has the others, but not {names}.")
    packed = [root / a for a in source.archives if a.endswith(".tar.gz") and (root / a).is_file()]
    lines += [
        f"{archive} is there, but packed. Try: tar xzf {archive} -C {root}" for archive in packed
    ]
    lines.append(_fetch_advice(source, root))
    return "\n".join(lines)


def _wanted_name(names: tuple[str, ...]) -> str:
    return f"{names[0]} (or .gz)" if f"{names[0]}.gz" in names else names[0]


def _fetch_advice(source: Source, root: Path) -> str:
    if len(source.archives) == 4:
        return (
            f"Try fetching {', '.join(source.archives)} from {source.url} into "
            f"{root / 'MNIST' / 'raw'}."
        )
    return (
        f"Try fetching {' or '.join(source.archives)} from {source.url} and unpacking it in {root}."
    )


def _download(name: str, folder: Path) -> None:
    import torchvision.datasets  # Slow to import, and only a download needs it.

    source = SOURCES[name]
    logger.info("downloading %s from %s into %s", name, source.url, folder)
    download_class = getattr(torchvision.datasets, source.download_class)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # torchvision draws its progress bar on stderr but prints to stdout, which belongs to us.
        with contextlib.redirect_stdout(sys.stderr), _socket_timeout(30.0):
            download_class(root=str(folder), train=True, download=True)
    # URLError is an OSError; a wrong checksum and an unreachable mirror are RuntimeErrors; a
    # connection that breaks is an HTTPException, a damaged archive a TarError.
    except (OSError, RuntimeError, http.client.HTTPException, tarfile.TarError) as error:
        raise DataNotFoundError(
            f"{name} was found nowhere and could not be downloaded: {error}\n"
            f"{_fetch_advice(source, folder)}\n"
            "Files elsewhere are found through --data-root (`data_root`) or $ODEVISION_DATA."
        ) from error


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    # urllib waits forever where a firewall swallows packets; torchvision has no option for this.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
