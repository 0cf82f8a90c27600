"""Predict the classes of image files, or say that they show none of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from odevision.data.crops import MAX_CROPS
from odevision.data.find_files import find_files
from odevision.data.image import IMAGE_SUFFIXES, ImageReadError, read_image
from odevision.evaluation.answers import device_of
from odevision.evaluation.calibration import calibrate_logits, calibration_of
from odevision.evaluation.split import has_one_size
from odevision.evaluation.unknown import model_outputs, scores_of_outputs
from odevision.evaluation.verdict import UNKNOWN, judge_all
from odevision.training.checkpoint import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The model's answer for one file.

    Args:
        path: the file.
        label: name of the most probable class, or `unknown`.
        probability: that of the most probable class, 0 to 1; calibrated if the model is.
        top: the most probable classes, best first, with their probabilities.
        unknown: whether `label` is `unknown`.
        reason: why it is, in words; None if it is not.
        best_label: name of the most probable class, also where `label` is `unknown`.
        score: how much the picture looks like training images, in the units of the model's score;
            None without a calibration.
        num_crops: squares of the picture that were looked at.
    """

    path: str
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]
    unknown: bool = False
    reason: str | None = None
    best_label: str = ""
    score: float | None = None
    num_crops: int = 1


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
            files.extend(find_files([path], IMAGE_SUFFIXES))
        except (ValueError, OSError) as error:
            errors.append((str(path), str(error)))
    return files, errors


Squares = UInt8[Tensor, "crops channels height width"]


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """A picture that has been read."""

    path: Path
    squares: Squares
    is_elsewhere: bool


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """How pictures are to be answered."""

    top: int
    mirror: bool
    abstain: bool


def _batches(
    loaded: LoadedModel,
    files: Sequence[Path],
    errors: list[tuple[str, str]],
    *,
    crops: int | None,
    batch_size: int,
) -> Iterator[list[_Picture]]:
    """Read pictures until their squares fill a batch; what cannot be read goes to `errors`."""
    size = (loaded.preprocessing.image_size, loaded.preprocessing.image_size)
    waiting: list[_Picture] = []
    for path in files:
        try:
            image = read_image(path)
        except ImageReadError as error:
            errors.append((str(path), error.message))
            continue
        squares = loaded.preprocessing.to_crops(image, num=crops)
        waiting.append(_Picture(path=path, squares=squares, is_elsewhere=image.size != size))
        if sum(len(picture.squares) for picture in waiting) >= batch_size:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


@torch.inference_mode()
def _answer(loaded: LoadedModel, pictures: Sequence[_Picture], asked: _Asked) -> list[Prediction]:
    calibration = calibration_of(loaded.card)
    squares = torch.cat([picture.squares for picture in pictures])
    images = loaded.preprocessing.normalize(squares.to(device_of(loaded)))
    outputs = model_outputs(loaded.model, images, mirror=asked.mirror)
    verdicts = judge_all(
        calibrate_logits(outputs.logits, calibration),
        None if calibration is None else scores_of_outputs(loaded, outputs, calibration),
        [len(picture.squares) for picture in pictures],
        calibration,
        loaded.card.class_names,
        are_elsewhere=[picture.is_elsewhere for picture in pictures],
    )
    predictions = []
    for picture, verdict in zip(pictures, verdicts, strict=True):
        best = top_classes(verdict.probabilities, loaded.card.class_names, asked.top)
        reason = verdict.reason if asked.abstain else None
        predictions.append(
            Prediction(
                path=str(picture.path),
                label=best[0][0] if reason is None else UNKNOWN,
                probability=best[0][1],
                top=best,
                unknown=reason is not None,
                reason=reason,
                best_label=best[0][0],
                score=verdict.score,
                num_crops=len(picture.squares),
            )
        )
    return predictions


def predict_images(
    loaded: LoadedModel,
    paths: Sequence[str | Path],
    *,
    top: int = 5,
    batch_size: int = 64,
    crops: int | None = None,
    mirror: bool = False,
    abstain: bool = True,
    on_batch: Callable[[int, int], None] | None = None,
) -> tuple[list[Prediction], list[tuple[str, str]]]:
    """Predict the classes of files, of the images in folders, and of globs.

    A picture that has the network's size is answered as `evaluate` does. So is every picture by a
    network whose training images were resized as this one is, such as those of a folder. By others
    several squares of a larger or oblong one are answered, and their probabilities averaged.

    Args:
        loaded: the model with its preprocessing and class names. Its calibration, if it has one,
            makes the probabilities and decides what is `unknown`.
        paths: files, folders (searched recursively) and globs.
        top: how many classes to list for each file, at least 1.
        batch_size: images or squares of them answered at once.
        crops: squares of each picture, 1 to 9; None chooses as said above.
        mirror: average the class scores with those of the mirrored squares.
        abstain: say `unknown` where the calibration advises it.
        on_batch: called after each batch with (files done, files in all).

    Returns:
        The predictions in the order of the paths, and (path, message) for each path that has
        none because it could not be read.

    Raises:
        ValueError: `top`, `batch_size` or `crops` is out of range.
    """
    for name, value in (("top", top), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    if crops is not None and not 1 <= crops <= MAX_CROPS:
        raise ValueError(f"`crops` must be 1 to {MAX_CROPS}, got {crops}. Try 6.")
    if crops is None and not has_one_size(loaded):
        crops = 1
    files, errors = _find(paths)
    num_missing = len(errors)
    asked = _Asked(top=top, mirror=mirror, abstain=abstain)
    predictions: list[Prediction] = []
    for pictures in _batches(loaded, files, errors, crops=crops, batch_size=batch_size):
        predictions += _answer(loaded, pictures, asked)
        if on_batch is not None:
            on_batch(len(predictions) + len(errors) - num_missing, len(files))
    return predictions, errors
