"""Predict the classes of image files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from odevision.data.image import ImageReadError, find_images, read_image
from odevision.evaluation.answers import class_probabilities
from odevision.training.checkpoint import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The model's answer for one file.

    Args:
        path: the file.
        label: name of the most probable class.
        probability: its probability, 0 to 1.
        top: the most probable classes, best first, with their probabilities.
    """

    path: str
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]


def top_classes(
    probabilities: Float[Tensor, " classes"], class_names: Sequence[str], top: int
) -> tuple[tuple[str, float], ...]:
    """Return the `top` most probable classes, best first (all of them if there are fewer)."""
    values, indices = probabilities.topk(min(top, len(class_names)))
    return tuple(
        (class_names[int(index)], float(value))
        for index, value in zip(indices, values, strict=True)
    )


def _find(paths: Sequence[str | Path]) -> tuple[list[Path], list[tuple[str, str]]]:
    """Expand folders and globs one by one, so that an empty one does not stop the others."""
    files: list[Path] = []
    errors: list[tuple[str, str]] = []
    for path in paths:
        try:
            files.extend(find_images([path]))
        except (ValueError, FileNotFoundError) as error:
            errors.append((str(path), str(error)))
    return files, errors


def predict_images(
    loaded: LoadedModel,
    paths: Sequence[str | Path],
    *,
    top: int = 5,
    batch_size: int = 64,
) -> tuple[list[Prediction], list[tuple[str, str]]]:
    """Predict the classes of files, of the images in folders, and of globs.

    Args:
        loaded: the model with its preprocessing and class names.
        paths: files, folders (searched recursively) and globs.
        top: how many classes to list for each file, at least 1.
        batch_size: images answered at once.

    Returns:
        The predictions in the order of the paths, and (path, message) for each path that has
        none because it could not be read.

    Raises:
        ValueError: `top` or `batch_size` is below 1.
    """
    for name, value in (("top", top), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    files, errors = _find(paths)
    class_names = loaded.card.class_names
    predictions: list[Prediction] = []
    waiting: list[tuple[Path, UInt8[Tensor, "channels height width"]]] = []

    def answer_waiting() -> None:
        if not waiting:
            return
        images = torch.stack([image for _, image in waiting])
        for (path, _), row in zip(waiting, class_probabilities(loaded, images), strict=True):
            best = top_classes(row, class_names, top)
            predictions.append(
                Prediction(path=str(path), label=best[0][0], probability=best[0][1], top=best)
            )
        waiting.clear()

    for path in files:
        try:
            waiting.append((path, loaded.preprocessing.to_uint8(read_image(path))))
        except ImageReadError as error:
            errors.append((str(path), error.message))
        if len(waiting) == batch_size:
            answer_waiting()
    answer_waiting()
    return predictions, errors
