"""Pictures that show none of a network's classes, to measure whether it notices."""

from pathlib import Path

import torch

from odevision.data.find_files import list_files
from odevision.data.folder import decode_images
from odevision.data.image import IMAGE_SUFFIXES
from odevision.data.image_set import ImageSet
from odevision.data.sources import DATASETS, check_limit, load_split
from odevision.data.textures import texture_set
from odevision.training.checkpoint import LoadedModel


def default_other_sets(loaded: LoadedModel) -> tuple[str, ...]:
    """Name other pictures that need no download: textures, and digits where these are unknown.

    Args:
        loaded: the model.
    """
    knows_digits = set("0123456789") <= set(loaded.card.class_names)
    return ("textures",) if knows_digits else ("textures", "mnist-mini")


def load_other_images(
    loaded: LoadedModel,
    name: str | Path,
    *,
    for_testing: bool = True,
    data_root: str | Path | None = None,
    limit: int | None = None,
) -> ImageSet:
    """Load pictures without the model's classes, prepared for the model.

    Args:
        loaded: the model.
        name: `textures` (generated), a named data set, or any folder with images.
        for_testing: the test images of a named set, and textures that no calibration has seen; else
            the training images, for a calibration.
        data_root: where named data sets lie; None searches the usual places.
        limit: at most this many.

    Returns:
        Images; their labels mean nothing to the model. Whether none of them shows one of its
        classes is up to the caller.

    Raises:
        ValueError: if there is no such set or folder, or `limit` is below 1.
        DataNotFoundError: if a named set's files are nowhere.
    """
    check_limit(limit)
    if str(name) == "textures":
        return texture_set(loaded.preprocessing, num=limit or 1_000, seed=int(for_testing))
    if str(name) in DATASETS:
        return load_split(
            name,
            "test" if for_testing else "train",
            data_root=data_root,
            limit=limit,
            preprocessing=loaded.preprocessing,
        )
    paths = list_files(name, IMAGE_SUFFIXES) if Path(name).is_dir() else []
    if not paths:
        raise ValueError(
            f"`ood` must be `textures`, a data set ({', '.join(DATASETS)}) or a folder with "
            f"images, got {str(name)!r}, which holds none. Try `textures`."
        )
    if limit is not None:
        paths = [paths[index * len(paths) // limit] for index in range(min(limit, len(paths)))]
    return ImageSet(
        images=decode_images(paths, loaded.preprocessing),
        labels=torch.zeros(len(paths), dtype=torch.int64),
        class_names=("other",),
        name=str(name),
        split="test",
    )
