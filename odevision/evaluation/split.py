"""The images a model is evaluated on, brought to its size and its order of classes."""

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from odevision.data.folder import folder_classes
from odevision.data.image_set import ImageSet
from odevision.data.locate import DataNotFoundError
from odevision.data.sources import (
    DATASETS,
    dataset_info,
    load_split,
    load_test_folder,
    lone_test_folder,
)
from odevision.data.video_sources import VIDEO_DATASETS
from odevision.training.checkpoint import LoadedModel


def class_mapping(
    data: str, data_names: Sequence[str], model_names: Sequence[str]
) -> Int64[Tensor, " data_classes"]:
    """Return the model's class index for each class of a data set, matched by name.

    Args:
        data: name of the data set, for the message.
        data_names: the data set's classes.
        model_names: the model's classes.

    Returns:
        Indices; a data set may have fewer classes than the model, and in another order.

    Raises:
        ValueError: a class of the data set is none of the model's.
    """
    positions = {name: index for index, name in enumerate(model_names)}
    missing = [name for name in data_names if name not in positions]
    if missing:
        raise ValueError(
            f"`data` must have classes of the model, got {data} with {len(data_names)} classes, "
            f"of which the model does not know {_some(missing)}. The model's {len(model_names)} "
            f"classes are {_some(model_names)}. Try the data set it was trained on."
        )
    return torch.tensor([positions[name] for name in data_names], dtype=torch.int64)


def _some(names: Sequence[str], number: int = 10) -> str:
    listed = ", ".join(names[:number])
    return listed if len(names) <= number else f"{listed}, ... ({len(names)} in all)"


@contextlib.contextmanager
def explain_missing(
    loaded: LoadedModel, data: str | None, data_root: str | Path | None
) -> Iterator[None]:
    """Say of a folder that only the model's card names, and that is not there, where it comes from.

    Args:
        loaded: the model.
        data: what the user named instead, if anything.
        data_root: where it may lie, too.

    Raises:
        DataNotFoundError: in place of what was raised inside.
    """
    try:
        yield
    except (ValueError, DataNotFoundError) as error:
        name = loaded.card.dataset
        is_folder = name not in DATASETS and name not in VIDEO_DATASETS
        places = [Path(name), *([Path(data_root) / name] if data_root is not None else [])]
        if data is not None or not is_folder or any(place.exists() for place in places):
            raise
        raise DataNotFoundError(
            f"The model was trained on the folder {name}, which is not in {Path.cwd()}. Try "
            "--data-root with the folder that it lies in."
        ) from error


def load_test_images(
    loaded: LoadedModel,
    *,
    data: str | None = None,
    data_root: str | Path | None = None,
    limit: int | None = None,
) -> ImageSet:
    """Load the test images for a model: its preprocessing, its order of classes.

    Args:
        loaded: the model.
        data: name of a data set or an image folder; None takes what the model was trained on. A
            folder need not have images to train on: DIR/test/CLASS/IMAGE or DIR/CLASS/IMAGE do.
        data_root: where data sets lie; None searches the usual places.
        limit: only the first so many images in the order of the files; of a folder, which is
            sorted by class, as many evenly spaced ones.

    Returns:
        The test split, with the model's class names.

    Raises:
        ValueError: the data set has a class that the model does not know.
        DataNotFoundError: the data set is not there.
    """
    preprocessing = loaded.preprocessing  # refuses a network of videos
    name = data if data is not None else loaded.card.dataset
    model_names = tuple(loaded.card.class_names)
    alone = lone_test_folder(name, data_root=data_root)
    if alone is not None:
        class_mapping(name, folder_classes(alone), model_names)
        return load_test_folder(alone, model_names, preprocessing, limit=limit)
    with explain_missing(loaded, data, data_root):
        info = dataset_info(name, data_root=data_root)
    mapping = class_mapping(name, info.class_names, model_names)
    image_set = load_split(
        name,
        "test",
        data_root=data_root,
        limit=limit,
        preprocessing=preprocessing,
    )
    return dataclasses.replace(image_set, labels=mapping[image_set.labels], class_names=model_names)


def has_one_size(loaded: LoadedModel) -> bool:
    """Whether the images that a model was trained on have the very size that it takes.

    Args:
        loaded: a network of images.
    """
    info = DATASETS.get(loaded.card.dataset)
    return info is not None and info.image_size == loaded.preprocessing.image_size
