"""What a model answers: the one forward pass behind evaluation, prediction and pictures."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from odevision.data.image_set import ImageSet
from odevision.data.loader import BatchLoader
from odevision.models.registry import ImageModel, Model, total_nfe
from odevision.nn.ode_block import ODEBlock
from odevision.training.checkpoint import LoadedModel
from odevision.types import Clips


@dataclass(frozen=True, kw_only=True)
class Answers:
    """A model's answers to the images of a split.

    Args:
        probabilities: of each class for each image; rows sum to 1.
        logits: the class scores they are the softmax of.
        labels: true class indices.
        loss: mean cross-entropy in nats, without label smoothing.
        nfe: vector field evaluations of all ODE blocks in a forward pass, mean over the images;
            0 for a model without ODE blocks.
        seconds: wall time of all forward passes, reading of files included.
    """

    probabilities: Float[Tensor, "num classes"]
    logits: Float[Tensor, "num classes"]
    labels: Int64[Tensor, " num"]
    loss: float
    nfe: float
    seconds: float

    @property
    def accuracy(self) -> float:
        """Share of the images whose most probable class is the true one, 0 to 1."""
        return float((self.probabilities.argmax(dim=1) == self.labels).double().mean())


def ode_blocks(loaded: LoadedModel) -> list[ODEBlock]:
    """Return the ODE blocks of a network of images in order; none for a ResNet."""
    return cast(ImageModel, loaded.model).ode_blocks()


def device_of(loaded: LoadedModel) -> torch.device:
    """Return the device a model's parameters are on."""
    return next(loaded.model.parameters()).device


def model_logits(
    model: nn.Module,
    inputs: Float[Tensor, "batch channels height width"] | Clips,
    *,
    mirror: bool = False,
) -> Float[Tensor, "batch classes"]:
    """Return class scores of images or clips in float32, on their device.

    Args:
        model: in evaluation mode.
        inputs: normalized images, or clips, on the model's device.
        mirror: average the scores with those of the mirrored ones (test-time augmentation).
    """
    logits = model(inputs).float()
    if not mirror:
        return logits
    if isinstance(inputs, Tensor):
        mirrored = inputs.flip(3)
    else:
        mirrored = inputs._replace(frames=inputs.frames.flip(4))
    return (logits + model(mirrored).float()) / 2


@torch.inference_mode()
def class_logits(
    loaded: LoadedModel,
    images: UInt8[Tensor, "batch channels height width"],
    mirror: bool = False,
) -> Float[Tensor, "batch classes"]:
    """Return the class scores of images, on the CPU.

    Args:
        loaded: the model.
        images: at the model's size, 0 to 255, as `loaded.preprocessing.to_uint8` makes them.
        mirror: average the scores with those of the mirrored images; twice the work.

    Returns:
        Logits. With adaptive steps the step size serves the whole batch, so the company an image
        is in can change them by about the solver's tolerance.
    """
    normalized = loaded.preprocessing.normalize(images.to(device_of(loaded)))
    return model_logits(loaded.model, normalized, mirror=mirror).cpu()


def class_probabilities(
    loaded: LoadedModel, images: UInt8[Tensor, "batch channels height width"]
) -> Float[Tensor, "batch classes"]:
    """Return the class probabilities of images, on the CPU; not calibrated.

    Args:
        loaded: the model.
        images: as for `class_logits`.

    Returns:
        Probabilities.
    """
    return class_logits(loaded, images).softmax(dim=1)


@torch.inference_mode()
def answer_split(
    loaded: LoadedModel,
    image_set: ImageSet,
    *,
    batch_size: int = 256,
    num_workers: int = 0,
    mirror: bool = False,
    on_batch: Callable[[int, int], None] | None = None,
) -> Answers:
    """Let a model answer every image of a split, in order.

    Args:
        loaded: the model.
        image_set: images that fit its preprocessing, labels in the order of its classes.
        batch_size: images at once.
        num_workers: processes that decode files of sets too large for memory.
        mirror: average the class scores with those of the mirrored images; twice the work, which
            `seconds` counts and `nfe`, of one pass, does not.
        on_batch: called after each batch with (images answered, images in all).

    Returns:
        The answers.
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
    started = time.perf_counter()
    parts: list[Tensor] = []
    nfe_sum, num_done = 0, 0
    for images, labels in loader.epoch(0):
        logits = model_logits(loaded.model, images, mirror=mirror)
        nfe_sum += total_nfe(cast(Model, loaded.model)) * len(labels)
        parts.append(logits.cpu())
        num_done += len(labels)
        if on_batch is not None:
            on_batch(num_done, len(image_set))
    logits = torch.cat(parts)
    return Answers(
        probabilities=logits.softmax(dim=1),
        logits=logits,
        labels=image_set.labels,
        loss=float(functional.cross_entropy(logits, image_set.labels)),
        nfe=nfe_sum / num_done,
        seconds=time.perf_counter() - started,
    )
