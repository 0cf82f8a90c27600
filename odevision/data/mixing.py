"""Mixup and CutMix: each training image is mixed with another one, and so are their labels."""

import dataclasses

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from odevision.data.hashing import hash_integer
from odevision.types import Images

_MIXING = 3  # Keeps this use of a seed apart from those of the loader, 0 to 2.


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixedBatch:
    """A batch of mixed images.

    Args:
        images: Of the shape of those that were mixed.
        targets: Share of each class in each image; rows sum to 1.
        labels: The class with the larger share, for the accuracy.
    """

    images: Images
    targets: Float[Tensor, "batch classes"]
    labels: Int64[Tensor, " batch"]


def mixing_generator(seed: int, epoch: int, batch: int) -> np.random.Generator:
    """Return the randomness of one batch, so that a resumed run mixes as if never stopped.

    Args:
        seed: Of the run.
        epoch: Counted from 0.
        batch: Of the epoch, counted from 0.

    Returns:
        A generator of its own.
    """
    return np.random.default_rng(hash_integer(seed, epoch, _MIXING, batch))


def mix(
    images: Images,
    labels: Int64[Tensor, " batch"],
    generator: np.random.Generator,
    *,
    num_classes: int,
    mixup_alpha: float = 0.0,
    cutmix_alpha: float = 0.0,
) -> MixedBatch:
    """Mix each image of a batch with the one before it (the first with the last).

    Mixup (arXiv 1710.09412) adds the two with weights lam and 1 - lam; CutMix (arXiv 1905.04899)
    pastes a rectangle of the second, of share 1 - lam, into the first. Each image has a lam of its
    own, drawn from Beta(alpha, alpha). Where both are on, a fair coin chooses for each image.

    Args:
        images: Normalized, in a random order, on any device.
        labels: Of the images.
        generator: Source of all randomness. NumPy's, because torch draws no Beta from a generator.
        num_classes: Number of classes.
        mixup_alpha: Of mixup; 0 turns it off, 0.2 is usual, 1 makes all weights equally likely.
        cutmix_alpha: Of CutMix; 0 turns it off, 1 is usual.

    Returns:
        New images and their targets, on the same device.

    Raises:
        ValueError: If both are off.
    """
    if mixup_alpha <= 0 and cutmix_alpha <= 0:
        raise ValueError(
            "`mixup_alpha` or `cutmix_alpha` must be above 0, got "
            f"{mixup_alpha} and {cutmix_alpha}. Try cutmix_alpha=1."
        )
    weights, boxes = _draw(images, generator, mixup_alpha, cutmix_alpha)
    # All random numbers were drawn on the host; the two tables travel without waiting.
    weights = weights.to(images.device, non_blocking=True)
    boxes = boxes.to(images.device, non_blocking=True)
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=images.device).view(1, 1, 1, -1)
    left, top, right, bottom = boxes.view(-1, 4, 1, 1).split(1, dim=1)
    is_pasted = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
    # Outside of rectangles the first image has its weight, inside none.
    own = weights[:, 0].view(-1, 1, 1, 1).to(images.dtype) * ~is_pasted
    mixed = images.roll(1, dims=0).lerp(images, own)
    share = weights[:, 1:]
    others = labels.roll(1)
    targets = share * F.one_hot(labels, num_classes) + (1 - share) * F.one_hot(others, num_classes)
    heavier = torch.where(share[:, 0] >= 0.5, labels, others)
    return MixedBatch(images=mixed, targets=targets, labels=heavier)


def _draw(
    images: Images, generator: np.random.Generator, mixup_alpha: float, cutmix_alpha: float
) -> tuple[Float[Tensor, "batch 2"], Int64[Tensor, "batch 4"]]:
    """For each image: its weight outside of the rectangle, its share in all; the rectangle."""
    batch, _, height, width = images.shape
    is_cutmix = generator.random(batch) < (0.5 if mixup_alpha > 0 else 1.0)
    if cutmix_alpha <= 0:
        is_cutmix[:] = False
    alphas = np.where(is_cutmix, cutmix_alpha or 1.0, mixup_alpha or 1.0)
    lams = generator.beta(alphas, alphas)
    sides = np.sqrt(1 - lams)
    heights, widths = np.rint(sides * height), np.rint(sides * width)
    # The whole rectangle lies inside; the paper lets it hang over, so that small ones are likelier.
    top = np.floor(generator.random(batch) * (height - heights + 1))
    left = np.floor(generator.random(batch) * (width - widths + 1))
    boxes = np.stack([left, top, left + widths, top + heights], axis=1)
    boxes = np.where(is_cutmix[:, None], boxes, 0).astype(np.int64)
    # The share that was truly pasted, after rounding to pixels.
    shares = np.where(is_cutmix, 1 - heights * widths / (height * width), lams)
    outside = np.where(is_cutmix, 1.0, lams)
    weights = torch.from_numpy(np.stack([outside, shares], axis=1)).float()
    return weights, torch.from_numpy(boxes)
