"""Scores for "none of the classes", and how well they tell other pictures from a network's own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from jaxtyping import Float, Int64
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional

from odevision.data.image_set import ImageSet
from odevision.data.loader import BatchLoader
from odevision.evaluation.answers import device_of
from odevision.evaluation.calibration import Calibration, calibrate_logits, calibration_of
from odevision.training.checkpoint import CheckpointError, LoadedModel

UNKNOWN_SCORES = ("probability", "energy", "feature")
"""All are high for pictures like the training images:

probability  of the best class, calibrated
energy       temperature * logsumexp(logits / temperature), in units of the logits (Liu et al. 2020)
feature      cosine between the features before the last linear layer and the nearest class center
"""

CENTERS_FILE = "feature_centers.safetensors"
MAX_CENTERS_BYTES = 200_000
"""Above this the score `feature` is not offered: 1,000 classes of 2,048 features take 4 MB."""


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What a network says about images before anything is made of it, on the CPU.

    Args:
        logits: class scores.
        features: what enters the last linear layer; the logits where there is none.
    """

    logits: Float[Tensor, "num classes"]
    features: Float[Tensor, "num features"]


def last_linear(model: nn.Module) -> nn.Linear | None:
    """Return the layer that makes the class scores, or None if it is no linear layer.

    Args:
        model: a network whose head comes last in the order of its modules.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return layers[-1] if layers else None


@torch.inference_mode()
def model_outputs(
    model: nn.Module, images: Float[Tensor, "num channels height width"], *, mirror: bool = False
) -> Outputs:
    """Return logits and features of normalized images.

    Args:
        model: in evaluation mode.
        images: normalized, on the model's device.
        mirror: average both with those of the mirrored images.
    """
    if mirror:
        both = [model_outputs(model, pictures) for pictures in (images, images.flip(3))]
        return Outputs(
            logits=(both[0].logits + both[1].logits) / 2,
            features=(both[0].features + both[1].features) / 2,
        )
    layer = last_linear(model)
    seen: list[Tensor] = []
    handle = (
        None
        if layer is None
        else layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    )
    try:
        logits = model(images).float().cpu()
    finally:
        if handle is not None:
            handle.remove()
    features = seen[-1].flatten(1).float().cpu() if seen else logits
    return Outputs(logits=logits, features=features)


def outputs_of_set(
    loaded: LoadedModel,
    image_set: ImageSet,
    *,
    batch_size: int = 256,
    num_workers: int = 0,
    mirror: bool = False,
    on_batch: Callable[[int, int], None] | None = None,
) -> Outputs:
    """Return logits and features of all images of a set, in order.

    Args:
        loaded: the model.
        image_set: images that fit its preprocessing; the labels are not looked at.
        batch_size: images at once.
        num_workers: processes that decode files of sets too large for memory.
        mirror: average with the mirrored images.
        on_batch: called after each batch with (images done, images in all).
    """
    loader = BatchLoader(
        image_set,
        loaded.preprocessing,
        batch_size=batch_size,
        device=device_of(loaded),
        shuffle=False,
        seed=0,
        num_workers=num_workers,
    )
    parts: list[Outputs] = []
    num_done = 0
    for images, labels in loader.epoch(0):
        parts.append(model_outputs(loaded.model, images, mirror=mirror))
        num_done += len(labels)
        if on_batch is not None:
            on_batch(num_done, len(image_set))
    return Outputs(
        logits=torch.cat([part.logits for part in parts]),
        features=torch.cat([part.features for part in parts]),
    )


def class_centers(
    features: Float[Tensor, "num features"],
    labels: Int64[Tensor, " num"],
    num_classes: int,
) -> Float[Tensor, "classes features"]:
    """Return the mean feature of each class, of length 1; zeros for a class without an image.

    Args:
        features: of labeled images.
        labels: true class indices.
        num_classes: how many classes there are.
    """
    sums = torch.zeros(num_classes, features.shape[1]).index_add_(0, labels, features)
    return functional.normalize(sums, dim=1)


def unknown_scores(
    outputs: Outputs,
    probabilities: Float[Tensor, "num classes"],
    *,
    score: str,
    temperature: float = 1.0,
    centers: Float[Tensor, "classes features"] | None = None,
) -> Float[Tensor, " num"]:
    """Score how much images look like the training images; see `UNKNOWN_SCORES`.

    Args:
        outputs: of the network.
        probabilities: of the classes, calibrated if the network is.
        score: one of `UNKNOWN_SCORES`.
        temperature: of the energy.
        centers: of the classes, for `feature`.

    Returns:
        One number an image; low means none of the classes.

    Raises:
        ValueError: if there is no such score, or `centers` is missing.
    """
    if score == "probability":
        return probabilities.amax(dim=1)
    if score == "energy":
        return temperature * (outputs.logits / temperature).logsumexp(dim=1)
    if score != "feature":
        raise ValueError(f"`score` must be one of {', '.join(UNKNOWN_SCORES)}, got {score!r}.")
    if centers is None:
        raise ValueError("`centers` must be given for the score `feature`, got None.")
    return (functional.normalize(outputs.features, dim=1) @ centers.T).amax(dim=1)


def auroc(inside: Float[Tensor, " num_inside"], outside: Float[Tensor, " num_outside"]) -> float:
    """Return the area under the ROC curve: P(an inside score > an outside one), ties count half.

    Args:
        inside: scores of images with one of the classes.
        outside: scores of other pictures.

    Returns:
        0 to 1; 0.5 is chance.
    """
    inside, outside = inside.double().sort().values, outside.double().contiguous()
    below = torch.searchsorted(inside, outside)
    not_above = torch.searchsorted(inside, outside, right=True)
    return 1 - float((below + not_above).double().mean()) / (2 * len(inside))


def centers_to_bytes(centers: Float[Tensor, "classes features"]) -> bytes:
    """Return the content of the file with class centers, in float16.

    Args:
        centers: of the classes.
    """
    return safetensors.torch.save({"centers": centers.half().contiguous()}, {"format": "pt"})


def read_centers(path: Path) -> Float[Tensor, "classes features"]:
    """Read the class centers of a checkpoint.

    Args:
        path: checkpoint directory.

    Raises:
        CheckpointError: if the file is missing or damaged.
    """
    file = path / CENTERS_FILE
    try:
        return safetensors.torch.load(file.read_bytes())["centers"].float()
    except FileNotFoundError:
        raise CheckpointError(
            f"{file} is missing, but the card asks for it. Copy it too, or calibrate again."
        ) from None
    except (OSError, SafetensorError, KeyError) as error:
        raise CheckpointError(f"Cannot read {file}: {error}. Calibrate again.") from error


def scores_of_set(
    loaded: LoadedModel,
    image_set: ImageSet,
    *,
    batch_size: int = 256,
    num_workers: int = 0,
    on_batch: Callable[[int, int], None] | None = None,
) -> Float[Tensor, " num"]:
    """Return the scores of a set by the model's own score; the energy if it is not calibrated.

    Args:
        loaded: the model.
        image_set: images that fit its preprocessing.
        batch_size: images at once.
        num_workers: processes that decode files of sets too large for memory.
        on_batch: called after each batch with (images done, images in all).
    """
    outputs = outputs_of_set(
        loaded, image_set, batch_size=batch_size, num_workers=num_workers, on_batch=on_batch
    )
    return scores_of_outputs(loaded, outputs, calibration_of(loaded.card))


def scores_of_outputs(
    loaded: LoadedModel, outputs: Outputs, calibration: Calibration | None
) -> Float[Tensor, " num"]:
    """Return the scores of outputs by a calibration's score; the energy without one.

    Args:
        loaded: the model.
        outputs: its outputs.
        calibration: of the model, or None.
    """
    score = "energy" if calibration is None else calibration.unknown_score
    return unknown_scores(
        outputs,
        calibrate_logits(outputs.logits, calibration),
        score=score,
        temperature=1.0 if calibration is None else calibration.temperature,
        centers=read_centers(loaded.path) if score == "feature" else None,
    )
