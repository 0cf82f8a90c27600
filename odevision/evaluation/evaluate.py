"""How well a trained model answers a data set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from odevision.data.clip_source import ClipSource
from odevision.data.image_set import ImageSet
from odevision.evaluation.answers import Answers, answer_split
from odevision.evaluation.split import load_test_images
from odevision.training.checkpoint import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The result of an evaluation; plain values, ready for JSON.

    Args:
        model: registry name of the network.
        data: the data set.
        split: the part of the data set, `test`.
        accuracy: share of right answers, 0 to 1.
        loss: mean cross-entropy in nats, without label smoothing.
        num_samples: images or videos answered.
        num_parameters: parameters of the model.
        nfe: vector field evaluations of all ODE blocks in a forward pass, mean over the images.
        per_class: accuracy for each true class that occurs.
        class_names: names in index order.
        confusion_matrix: counts; rows are true classes, columns predicted ones.
        solver: the solver's settings; empty for a model without ODE blocks.
        seconds: wall time of the forward passes.
        checkpoint: the directory the weights came from.
    """

    model: str
    data: str
    split: str
    accuracy: float
    loss: float
    num_samples: int
    num_parameters: int
    nfe: float
    per_class: dict[str, float]
    class_names: tuple[str, ...]
    confusion_matrix: list[list[int]]
    solver: dict[str, Any]
    seconds: float
    checkpoint: str


@dataclass(frozen=True, kw_only=True)
class MirrorResult:
    """Answers to the mean of each image's (or video's) and its mirror image's class scores.

    Args:
        accuracy: share of right answers, 0 to 1.
        loss: mean cross-entropy in nats.
        nfe: vector field evaluations of both passes together, mean over the images.
        changed_share: share of the images whose predicted class differs from that without mirror.
    """

    accuracy: float
    loss: float
    nfe: float
    changed_share: float


def per_class_accuracy(
    confusion: Int64[Tensor, "classes classes"], class_names: Sequence[str]
) -> dict[str, float]:
    """Return the accuracy for each true class that occurs.

    Args:
        confusion: counts; rows are true classes.
        class_names: names in index order.
    """
    totals = confusion.sum(dim=1).tolist()
    rights = confusion.diagonal().tolist()
    return {
        name: right / total
        for name, right, total in zip(class_names, rights, totals, strict=True)
        if total > 0
    }


def summarize(loaded: LoadedModel, samples: ImageSet | ClipSource, answers: Answers) -> Evaluation:
    """Turn a model's answers into an evaluation.

    Args:
        loaded: the model.
        samples: what was answered.
        answers: its answers.
    """
    class_names = tuple(loaded.card.class_names)
    confusion = multiclass_confusion_matrix(
        answers.probabilities.argmax(dim=1),
        answers.labels,
        num_classes=len(class_names),
    ).to(torch.int64)
    return Evaluation(
        model=loaded.card.model_name,
        data=samples.name,
        split=samples.split,
        accuracy=answers.accuracy,
        loss=answers.loss,
        num_samples=len(answers.labels),
        num_parameters=sum(parameter.numel() for parameter in loaded.model.parameters()),
        nfe=answers.nfe,
        per_class=per_class_accuracy(confusion, class_names),
        class_names=class_names,
        confusion_matrix=confusion.tolist(),
        solver=dict(loaded.card.solver),
        seconds=answers.seconds,
        checkpoint=str(loaded.path),
    )


def evaluate(
    loaded: LoadedModel,
    *,
    data: str | None = None,
    data_root: str | Path | None = None,
    limit: int | None = None,
    batch_size: int = 256,
    num_workers: int = 0,
    on_batch: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Evaluate a trained model on a data set.

    Args:
        loaded: the model; its own preprocessing is used whatever the data set.
        data: name of a data set or an image folder; None takes what the model was trained on.
        data_root: where data sets lie; None searches the usual places.
        limit: only the first so many images in the order of the files (of a folder, as many
            evenly spaced ones).
        batch_size: images at once.
        num_workers: processes that decode files of sets too large for memory.
        on_batch: called after each batch with (images answered, images in all).

    Returns:
        The result.

    Raises:
        ValueError: the data set has classes that the model does not know.
        DataNotFoundError: the data set is not there.
    """
    image_set = load_test_images(loaded, data=data, data_root=data_root, limit=limit)
    answers = answer_split(
        loaded,
        image_set,
        batch_size=batch_size,
        num_workers=num_workers,
        on_batch=on_batch,
    )
    return summarize(loaded, image_set, answers)


def evaluate_mirrored(
    loaded: LoadedModel,
    image_set: ImageSet,
    answers: Answers,
    *,
    batch_size: int = 256,
    num_workers: int = 0,
    on_batch: Callable[[int, int], None] | None = None,
) -> MirrorResult:
    """Evaluate images with test-time mirroring, to be reported apart from the plain accuracy.

    Args:
        loaded: the model.
        image_set: the images.
        answers: its answers without mirror.
        batch_size: images at once.
        num_workers: processes that decode files of sets too large for memory.
        on_batch: called after each batch with (images answered, images in all).

    Returns:
        The result.
    """
    mirrored = answer_split(
        loaded,
        image_set,
        batch_size=batch_size,
        num_workers=num_workers,
        mirror=True,
        on_batch=on_batch,
    )
    return compare_mirrored(answers, mirrored)


def compare_mirrored(answers: Answers, mirrored: Answers) -> MirrorResult:
    """Put together what mirroring changes.

    Args:
        answers: without mirror.
        mirrored: with it, to the same images or videos.
    """
    changed = mirrored.logits.argmax(dim=1) != answers.logits.argmax(dim=1)
    return MirrorResult(
        accuracy=mirrored.accuracy,
        loss=mirrored.loss,
        nfe=2 * mirrored.nfe,
        changed_share=float(changed.double().mean()),
    )
