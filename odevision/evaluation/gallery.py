"""Answered test images, ready to be shown: a plain sample and the most confident mistakes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class GalleryItem:
    """One image with its true class and the model's answer.

    Args:
        image: the picture as the model sees it before normalization, 0 to 255.
        true_label: name of the true class.
        label: name of the predicted class.
        probability: the model's probability of `label`, 0 to 1.
    """

    image: UInt8[Tensor, "channels height width"]
    true_label: str
    label: str
    probability: float

    @property
    def is_correct(self) -> bool:
        """Whether the prediction is the true class."""
        return self.label == self.true_label


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Answered images of one data set.

    Args:
        sample: the first images of a fixed shuffle of the split, right or wrong as they come,
            so that the eye sees a fair picture of the model.
        mistakes: wrong answers, the most confident first.
        num_mistakes: wrong answers in the whole split.
        num_samples: images in the whole split.
        data: name of the data set.
        split: which part of it.
    """

    sample: tuple[GalleryItem, ...]
    mistakes: tuple[GalleryItem, ...]
    num_mistakes: int
    num_samples: int
    data: str
    split: str


def make_gallery(
    image_at: Callable[[int], UInt8[Tensor, "channels height width"]],
    probabilities: Float[Tensor, "num classes"],
    labels: Int64[Tensor, " num"],
    class_names: Sequence[str],
    *,
    num_sample: int = 16,
    num_mistakes: int = 16,
    data: str = "",
    split: str = "test",
    seed: int = 0,
) -> Gallery:
    """Choose what to show of an answered split.

    Args:
        image_at: gives the image of an index at the model's size; called for what is shown only,
            since a split may be files.
        probabilities: the model's answers.
        labels: true class indices.
        class_names: names in index order.
        num_sample: size of the plain sample; 16 fills two rows.
        num_mistakes: at most this many mistakes; 16 fills two rows.
        data: name of the data set, for the title.
        split: part of the data set, for the title.
        seed: of the shuffle that picks the plain sample; a split sorted by class would
            otherwise show one class only.

    Returns:
        The gallery; with fewer images or mistakes than asked for, all there are.
    """
    confidence, predicted = probabilities.max(dim=1)

    def item(index: int) -> GalleryItem:
        return GalleryItem(
            image=image_at(index),
            true_label=class_names[int(labels[index])],
            label=class_names[int(predicted[index])],
            probability=float(confidence[index]),
        )

    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(labels), generator=generator)[:num_sample]
    wrong = torch.nonzero(predicted != labels).flatten()
    by_confidence = wrong[confidence[wrong].argsort(descending=True, stable=True)]
    return Gallery(
        sample=tuple(item(int(index)) for index in order),
        mistakes=tuple(item(int(index)) for index in by_confidence[:num_mistakes]),
        num_mistakes=len(wrong),
        num_samples=len(labels),
        data=data,
        split=split,
    )
