"""How a trained network's answers hold under the usual corruptions of images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from odevision.data.corruptions import BLOCK, CORRUPTIONS, SEVERITIES, corrupt
from odevision.data.folder import decode_images
from odevision.data.image_set import ImageSet
from odevision.evaluation.answers import Answers, class_probabilities
from odevision.training.checkpoint import LoadedModel

_IMAGES_AT_ONCE = 16 * BLOCK
"""Images of a set that are held in memory together; files are decoded once."""


@dataclass(frozen=True, kw_only=True)
class CorruptionResult:
    """Accuracy under corruptions.

    Args:
        accuracy: for each corruption, the share of right answers at each of `severities`, 0 to 1.
        severities: 1 (slight) to 5.
        mean_error: share of wrong answers, mean over corruptions and severities. It is not divided
            by a reference network's errors, unlike the mCE of ImageNet-C.
        clean_accuracy: share of right answers to the same images as they are.
        num_samples: images answered at each severity of each corruption.
        seed: of the corruptions.
    """

    accuracy: dict[str, list[float]]
    severities: tuple[int, ...]
    mean_error: float
    clean_accuracy: float
    num_samples: int
    seed: int


def check_corruptions(
    loaded: LoadedModel,
    image_set: ImageSet,
    answers: Answers,
    *,
    names: Sequence[str] = tuple(CORRUPTIONS),
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
    batch_size: int = 256,
    on_batch: Callable[[int, int], None] | None = None,
) -> CorruptionResult:
    """Let a model answer corrupted images.

    Args:
        loaded: the model.
        image_set: images that fit its preprocessing.
        answers: its answers to them as they are.
        names: which corruptions.
        severities: how strong, each 1 to 5.
        seed: of the corruptions.
        batch_size: images at once.
        on_batch: called with (answers given, answers in all).

    Returns:
        The accuracies.

    Raises:
        ValueError: there is no such corruption or severity, or the images do not suit.
    """
    right = {name: [0] * len(severities) for name in names}
    total = len(image_set) * len(names) * len(severities)
    num_done = 0
    for first, images in _parts(loaded, image_set):
        labels = image_set.labels[first : first + len(images)]
        for name in names:
            for place, severity in enumerate(severities):
                corrupted = corrupt(images, name, severity, seed=seed, first=first)
                right[name][place] += _count_right(loaded, corrupted, labels, batch_size)
                num_done += len(images)
                if on_batch is not None:
                    on_batch(num_done, total)
    num = len(image_set)
    accuracy = {name: [count / num for count in counts] for name, counts in right.items()}
    errors = [1 - share for shares in accuracy.values() for share in shares]
    return CorruptionResult(
        accuracy=accuracy,
        severities=tuple(severities),
        mean_error=sum(errors) / len(errors),
        clean_accuracy=answers.accuracy,
        num_samples=num,
        seed=seed,
    )


def _count_right(loaded: LoadedModel, images: Tensor, labels: Tensor, batch_size: int) -> int:
    answered = [
        class_probabilities(loaded, batch).argmax(dim=1) for batch in images.split(batch_size)
    ]
    return int((torch.cat(answered) == labels).sum())


def _parts(
    loaded: LoadedModel, image_set: ImageSet
) -> Iterator[tuple[int, UInt8[Tensor, "part channels height width"]]]:
    """The images part by part, each with the place of its first."""
    for first in range(0, len(image_set), _IMAGES_AT_ONCE):
        last = first + _IMAGES_AT_ONCE
        if image_set.images is not None:
            yield first, image_set.images[first:last]
        else:
            assert image_set.paths is not None
            yield first, decode_images(image_set.paths[first:last], loaded.preprocessing)
