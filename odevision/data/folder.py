"""Image folders: DIR/train/CLASS/IMAGE and DIR/test/CLASS/IMAGE."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import UInt8
from torch import Tensor

from odevision.data.find_files import list_files
from odevision.data.image import (
    IMAGE_SUFFIXES,
    check_image_header,
    read_image,
)
from odevision.data.locate import DataNotFoundError, find_test_folder
from odevision.data.preprocessing import Preprocessing
from odevision.data.read_many import read_many

logger = logging.getLogger(__name__)


def class_names_of(folder: str | Path) -> tuple[str, ...]:
    """Return the classes of an image folder: the sorted names of the folders in DIR/train.

    Args:
        folder: DIR.

    Returns:
        At least two names.

    Raises:
        ValueError: If DIR/train holds fewer than two folders.
    """
    train = Path(folder) / "train"
    names = folder_classes(train)
    if len(names) < 2:
        raise ValueError(
            f"{train}: must hold a folder of images for each of at least two classes, got "
            f"{list(names)}. Try the layout {train}/CLASS/IMAGE.jpg."
        )
    return names


def list_labeled_images(
    folder: str | Path, split: Literal["train", "test"], class_names: Sequence[str]
) -> tuple[list[Path], list[int]]:
    """List an image folder's files with their classes.

    Args:
        folder: DIR.
        split: "train" reads DIR/train; "test" reads DIR/test or, if there is none, DIR/val.
        class_names: The classes, from `class_names_of`.

    Returns:
        Paths, sorted within a class, and their indices into `class_names`.

    Raises:
        DataNotFoundError: If the split has no folder.
        ValueError: If a class of train has no image, or the split has an unknown class.
    """
    root = _split_folder(Path(folder), split)
    unknown = sorted(set(folder_classes(root)) - set(class_names))
    if unknown:
        raise ValueError(f"{root}: holds classes that train has not: {', '.join(unknown)}.")
    paths, labels = list_images_of_classes(root, class_names)
    if split == "train" and len(set(labels)) < len(class_names):
        empty = root / next(name for i, name in enumerate(class_names) if i not in labels)
        raise ValueError(f"{empty}: a class must have images, got a folder with none.")
    return paths, labels


def list_images_of_classes(root: Path, class_names: Sequence[str]) -> tuple[list[Path], list[int]]:
    """List the files of ROOT/CLASS/IMAGE.

    Args:
        root: Holds a folder for each class, or for some of them.
        class_names: The classes; other folders are left out, with a warning.

    Returns:
        Paths, sorted within a class, and their indices into `class_names`.

    Raises:
        ValueError: If there is no image of any class.
    """
    found = {path.name: path for path in _class_folders(root)}
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(class_names):
        images = list_files(found[name], IMAGE_SUFFIXES) if name in found else []
        paths += images
        labels += [label] * len(images)
    if not paths:
        raise ValueError(
            f"{root}: must hold images, got a folder with none. Try the layout "
            f"{root}/CLASS/IMAGE.jpg."
        )
    _warn_of_other_files(root, paths)
    return paths, labels


def folder_classes(root: Path) -> tuple[str, ...]:
    """Return the sorted names of the folders in one."""
    return tuple(sorted(path.name for path in _class_folders(root)))


def decode_images(
    paths: Sequence[Path], preprocessing: Preprocessing
) -> UInt8[Tensor, "num channels height width"]:
    """Read and preprocess files, on several threads (decoders release the interpreter lock).

    Args:
        paths: At least one file.
        preprocessing: Its `to_uint8` is applied.

    Returns:
        The images, in the order of `paths`.

    Raises:
        ValueError: If any file cannot be read; all such files are named.
    """
    size = preprocessing.image_size
    images = torch.empty(len(paths), preprocessing.num_channels, size, size, dtype=torch.uint8)

    def decode(index: int, path: Path) -> None:
        images[index] = preprocessing.to_uint8(read_image(path))

    read_many(paths, decode, kind="images")
    return images


def check_headers(paths: Sequence[Path]) -> None:
    """Check many files quickly: each must exist and begin like an image.

    Args:
        paths: Image files.

    Raises:
        ValueError: If any fails; all such files are named.
    """
    read_many(paths, lambda _, path: check_image_header(path), kind="images")


def _class_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _split_folder(folder: Path, split: Literal["train", "test"]) -> Path:
    found = folder / "train" if split == "train" else find_test_folder(folder)
    if found is not None and found.is_dir():
        return found
    raise DataNotFoundError(
        f"{folder}: has no {split} data. Try the layout {folder / split}/CLASS/IMAGE.jpg."
    )


def _warn_of_other_files(root: Path, images: Sequence[Path]) -> None:
    known = set(images)
    others = [
        path
        for path in sorted(root.rglob("*"))
        if path not in known and path.is_file() and not path.name.startswith(".")
    ]
    if others:
        names = ", ".join(str(path) for path in others[:5])
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        logger.warning(
            "%d files under %s are no images of a class and are left out: %s%s",
            len(others),
            root,
            names,
            more,
        )
