"""Data sets by name or folder: what they are, and their splits.

A name or a folder goes in, an `ImageSet` comes out. The validation split is always carved out of
the training files; the test files are read for the test split only.
"""

import dataclasses
import difflib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from odevision.data import cifar, folder
from odevision.data.idx import read_idx
from odevision.data.image_set import ImageSet, carve_validation, to_picture
from odevision.data.locate import (
    MNIST_LAYOUT,
    DataNotFoundError,
    Layout,
    find_official_files,
    find_test_folder,
)
from odevision.data.preprocessing import Preprocessing
from odevision.data.registry import DATASETS, DatasetInfo, list_datasets, preprocessing_for

__all__ = [
    "DATASETS",
    "DataNotFoundError",
    "DatasetInfo",
    "ImageSet",
    "dataset_info",
    "list_datasets",
    "load_split",
    "preprocessing_for",
]

logger = logging.getLogger(__name__)

FOLDER_IMAGE_SIZE = 64
"""Image size of folders unless another is asked for, in pixels: enough to tell photos apart, small
enough to train on a CPU."""

IN_MEMORY_BYTES = 2 * 1024**3
"""Image folders whose decoded images are smaller than this are held in memory."""


def dataset_info(
    name: str | Path, *, data_root: str | Path | None = None, image_size: int | None = None
) -> DatasetInfo:
    """Describe a data set.

    Args:
        name: A name of `list_datasets`, or a folder laid out as DIR/train/CLASS/IMAGE.
        data_root: Folder to which a relative DIR may be relative.
        image_size: Height and width to resize images to; by default the data set's own, and
            `FOLDER_IMAGE_SIZE` for folders.

    Returns:
        Its facts; of a folder, with the class names found in it.

    Raises:
        ValueError: If the name is unknown or the folder is laid out otherwise.
        DataNotFoundError: If it looks like a folder that does not exist.
    """
    if image_size is not None and image_size < 1:
        raise ValueError(f"`image_size` must be at least 1 pixel, got {image_size}.")
    if str(name) in DATASETS:
        info = DATASETS[str(name)]
        return dataclasses.replace(info, image_size=image_size or info.image_size)
    path = _dataset_folder(name, data_root)
    class_names = folder.class_names_of(path)
    return DatasetInfo(
        name=str(name),
        description=f"image folder of {len(class_names)} classes",
        class_names=class_names,
        image_size=image_size or FOLDER_IMAGE_SIZE,
        num_channels=3,
        # The customary ImageNet statistics: those of ordinary photos.
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )


def has_test_split(name: str | Path, *, data_root: str | Path | None = None) -> bool:
    """Whether a data set has a test split: a folder may hold training images alone.

    Args:
        name: As for `dataset_info`. No image is read.
        data_root: Folder to which a relative DIR may be relative.
    """
    if str(name) in DATASETS:
        return True
    places = (path for path in _own_places(name, data_root) if (path / "train").is_dir())
    own = next(places, None)
    return own is not None and find_test_folder(own) is not None


def check_limit(limit: int | None) -> None:
    """Refuse a number of images below 1."""
    if limit is not None and limit < 1:
        raise ValueError(f"`limit` must be at least 1 image, got {limit}.")


def load_split(
    name: str | Path,
    split: Literal["train", "validation", "test"],
    *,
    data_root: str | Path | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    image_size: int | None = None,
    limit: int | None = None,
    preprocessing: Preprocessing | None = None,
    in_memory_bytes: int = IN_MEMORY_BYTES,
) -> ImageSet:
    """Load a split of a data set.

    Named data sets are sought under `data_root` or, if none is given, under $ODEVISION_DATA, in the
    user's cache folder, and on the web (in this order).

    Args:
        name: A name of `list_datasets`, or a folder laid out as DIR/train/CLASS/IMAGE.
        split: "train" and "validation" divide the official training files; "test" is the official
            test files (DIR/test, or DIR/val if there is none).
        data_root: The only place to look for the files, if given.
        validation_fraction: Share of each class that is carved out for validation, in (0, 1).
        seed: Selects the division. Leave it alone between trainings that are compared.
        image_size: Height and width to resize images to; by default the data set's own.
        limit: At most this many images: the first ones in the official order; of a folder, which
            is sorted by class, evenly spaced ones.
        preprocessing: A trained network's, to prepare the images for it whatever the data set's
            own size and channels are; by default `preprocessing_for(dataset_info(...))`.
        in_memory_bytes: A folder is decoded into memory if its images, resized, need less.

    Returns:
        The split. Its `images` are None for a folder that does not fit in memory.

    Raises:
        ValueError: If an argument is out of range, or a file is damaged; the message names it.
        DataNotFoundError: If the files are nowhere; the message says what to do.
    """
    if split not in ("train", "validation", "test"):
        raise ValueError(f"`split` must be 'train', 'validation' or 'test', got {split!r}.")
    check_limit(limit)
    if preprocessing is not None and image_size not in (None, preprocessing.image_size):
        raise ValueError(
            f"`image_size` must be that of `preprocessing` ({preprocessing.image_size}), "
            f"got {image_size}. Try leaving it out."
        )
    info = dataset_info(name, data_root=data_root, image_size=image_size)
    preprocessing = preprocessing or preprocessing_for(info)
    official = "test" if split == "test" else "train"
    is_folder = info.name not in DATASETS
    if is_folder:
        image_set = _list_folder(info, official, data_root)
    else:
        image_set = _read_official(info, official, data_root)
    if split != "test":
        parts = carve_validation(image_set.labels, fraction=validation_fraction, seed=seed)
        image_set = image_set.select(parts[split == "validation"], split=split)
    if len(image_set) == 0:
        raise ValueError(f"{name}: has no images for {split}; each class needs two or more.")
    if limit is not None and limit < len(image_set):
        image_set = image_set.select(_limited(len(image_set), limit, spread=is_folder))
    return _prepared(image_set, preprocessing, in_memory_bytes)


def lone_test_folder(name: str | Path, *, data_root: str | Path | None = None) -> Path | None:
    """Find labeled images of one's own that are there to test on, without any to train on.

    Args:
        name: DIR with DIR/test/CLASS/IMAGE (or val), or with DIR/CLASS/IMAGE, and no DIR/train.
        data_root: Folder to which a relative DIR may be relative.

    Returns:
        The folder that holds the classes; None if `name` means something else.
    """
    if str(name) in DATASETS:
        return None
    places = [path for path in _own_places(name, data_root) if path.is_dir()]
    if not places or any((path / "train").is_dir() for path in places):
        return None
    roots = [find_test_folder(place) or place for place in places]
    return next((root for root in roots if folder.folder_classes(root)), roots[0])


def load_test_folder(
    root: Path, class_names: Sequence[str], preprocessing: Preprocessing, *, limit: int | None
) -> ImageSet:
    """Load labeled images for a network that has been trained.

    Args:
        root: Holds CLASS/IMAGE, for some classes or all.
        class_names: Of the network, in its order.
        preprocessing: Of the network.
        limit: At most this many images, evenly spaced.

    Returns:
        A test split with the network's classes, in memory if it needs less than 2 GiB.

    Raises:
        ValueError: If there is no image of any class, or a file is damaged; the message names it.
    """
    check_limit(limit)
    files = folder.list_images_of_classes(root, class_names)
    image_set = _set_of_files(*files, class_names=class_names, name=str(root), split="test")
    if limit is not None and limit < len(image_set):
        image_set = image_set.select(_limited(len(image_set), limit, spread=True))
    return _prepared(image_set, preprocessing, IN_MEMORY_BYTES)


def _own_places(name: str | Path, data_root: str | Path | None) -> list[Path]:
    return [Path(name)] if data_root is None else [Path(name), Path(data_root) / name]


def _dataset_folder(name: str | Path, data_root: str | Path | None) -> Path:
    candidates = _own_places(name, data_root)
    for path in candidates:
        if (path / "train").is_dir():
            return path
    for path in candidates:
        if path.is_dir():
            raise ValueError(
                f"`name` must be a data set, got the folder {path}, which has no train folder. "
                f"Try the layout {path / 'train'}/CLASS/IMAGE.jpg."
            )
    if len(Path(name).parts) > 1:
        raise DataNotFoundError(f"{name}: no such folder. Try DIR with DIR/train/CLASS/IMAGE.jpg.")
    close = difflib.get_close_matches(str(name), DATASETS, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else f". Try one of {', '.join(DATASETS)}."
    raise ValueError(
        "the data set must be a known one or a folder laid out as DIR/train/CLASS/IMAGE.jpg, "
        f"got {str(name)!r}{hint}"
    )


def _read_official(
    info: DatasetInfo, split: Literal["train", "test"], data_root: str | Path | None
) -> ImageSet:
    if info.name == "mnist-mini":
        if data_root is not None:
            logger.warning("mnist-mini ships with the package; nothing is read from %s", data_root)
        layout = MNIST_LAYOUT
        sample = Path(__file__).parent / "mnist_mini"
        paths = [sample / f"{names[0]}.gz" for names in layout.files(split)]
    else:
        layout, paths = find_official_files(info.name, split, data_root=data_root)
    images, labels = _read_files(layout, paths, num_classes=len(info.class_names))
    expected = info.num_train if split == "train" else info.num_test
    if len(labels) != expected:
        logger.warning(
            "%s: has %d %s images; the official files have %d",
            paths[0].parent,
            len(labels),
            split,
            expected,
        )
    return ImageSet(
        images=torch.from_numpy(np.ascontiguousarray(images)),
        labels=torch.from_numpy(labels),
        class_names=info.class_names,
        name=info.name,
        split=split,
    )


def _read_files(
    layout: Layout, paths: Sequence[Path], *, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    if layout.reader == "cifar-python":
        key = "labels" if num_classes == 10 else "fine_labels"
        return cifar.read_python(paths, label_key=key, num_classes=num_classes)
    if layout.reader == "cifar-binary":
        label_bytes = 1 if num_classes == 10 else 2
        return cifar.read_binary(paths, label_bytes=label_bytes, num_classes=num_classes)
    images, labels = (read_idx(path) for path in paths)
    if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{paths[0]}: images of shape {images.shape} and labels of shape {labels.shape} are "
            "not those of MNIST. Try fetching both files again."
        )
    if labels.size and labels.max() >= num_classes:
        raise ValueError(f"{paths[1]}: labels must be 0 to {num_classes - 1}, got {labels.max()}.")
    # The arrays lie on a file's read-only bytes; torch wants memory of its own.
    return images[:, None].copy(), labels.astype(np.int64)


def _list_folder(
    info: DatasetInfo, split: Literal["train", "test"], data_root: str | Path | None
) -> ImageSet:
    path = _dataset_folder(info.name, data_root)
    files = folder.list_labeled_images(path, split, info.class_names)
    return _set_of_files(*files, class_names=info.class_names, name=info.name, split=split)


def _set_of_files(
    paths: Sequence[Path],
    labels: Sequence[int],
    *,
    class_names: Sequence[str],
    name: str,
    split: str,
) -> ImageSet:
    return ImageSet(
        images=None,
        paths=tuple(paths),
        labels=torch.tensor(labels, dtype=torch.int64),
        class_names=tuple(class_names),
        name=name,
        split=split,
    )


def _limited(num_images: int, limit: int, *, spread: bool) -> Int64[Tensor, " limit"]:
    positions = torch.arange(limit)
    return positions * num_images // limit if spread else positions


def _prepared(image_set: ImageSet, preprocessing: Preprocessing, in_memory_bytes: int) -> ImageSet:
    channels, size = preprocessing.num_channels, preprocessing.image_size
    if image_set.paths is not None:
        if len(image_set) * channels * size**2 >= in_memory_bytes:
            folder.check_headers(image_set.paths)
            return image_set
        logger.info("%s: decoding %d images into memory", image_set.name, len(image_set))
        images = folder.decode_images(image_set.paths, preprocessing)
        return dataclasses.replace(image_set, images=images, paths=None)
    assert image_set.images is not None
    if image_set.images.shape[1:] == (channels, size, size):
        return image_set
    # Through Pillow one by one, though slower, so that a saved image given to predict becomes
    # exactly the same input.
    resized = torch.empty(len(image_set), channels, size, size, dtype=torch.uint8)
    for place, image in zip(resized, image_set.images, strict=True):
        place.copy_(preprocessing.to_uint8(to_picture(image)))
    return dataclasses.replace(image_set, images=resized)
