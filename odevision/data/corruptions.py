"""The fifteen usual corruptions at five severities, generated from any images.

Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common corruptions and
perturbations" (arXiv 1903.12261). The strengths are those of its CIFAR-10-C, in pixels of a 32 x 32
image; at other sizes they are the same number of pixels, or shares of the side where they depend on
it there. Libraries that generate the set (imagecorruptions and its successors) hold the strengths
for 224 x 224 only, with which nothing is left of a small image.
"""

from collections.abc import Callable

import torch
from jaxtyping import UInt8
from torch import Tensor

from odevision.data.corruption_blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from odevision.data.corruption_digital import (
    contrast,
    elastic_transform,
    jpeg_compression,
    pixelate,
)
from odevision.data.corruption_noise import gaussian_noise, impulse_noise, shot_noise
from odevision.data.corruption_weather import brightness, fog, frost, snow
from odevision.data.hashing import hash_integer
from odevision.types import Images

Corruption = Callable[[Images, int, torch.Generator], Images]

CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
}
"""Every corruption by its name in the published set, in the order of its tables."""

SEVERITIES = (1, 2, 3, 4, 5)

BLOCK = 64
"""Images that share a random generator: what happens to one depends on its place in the set only,
not on how many there are or how they are divided into calls."""

SMALLEST_SIDE = 16
"""Below this the filters reach across the whole image."""


def check_shape(channels: int, height: int, width: int) -> None:
    """Refuse images that cannot be corrupted.

    Args:
        channels: of the images.
        height: in pixels.
        width: likewise.

    Raises:
        ValueError: they are not square, gray or color, or too small.
    """
    if channels not in (1, 3) or height != width or height < SMALLEST_SIDE:
        raise ValueError(
            "`images` must be square, gray or color, with a side of at least "
            f"{SMALLEST_SIDE} pixels to be corrupted, got the shape {(channels, height, width)}."
        )


def corrupt(
    images: UInt8[Tensor, "num channels height width"],
    name: str,
    severity: int,
    *,
    seed: int = 0,
    first: int = 0,
) -> UInt8[Tensor, "num channels height width"]:
    """Corrupt images.

    Args:
        images: 0 to 255, square, one or three channels, on the CPU.
        name: a key of `CORRUPTIONS`.
        severity: 1 (slight) to 5.
        seed: of all randomness; the same seed gives the same images.
        first: place of the first image in its set, a multiple of `BLOCK`, where a set is
            corrupted part by part.

    Returns:
        New images, of the same shape.

    Raises:
        ValueError: there is no such corruption or severity, or the images do not suit.
    """
    if name not in CORRUPTIONS:
        raise ValueError(
            f"`name` must be a corruption, got {name!r}. Try one of {', '.join(CORRUPTIONS)}."
        )
    if severity not in SEVERITIES:
        raise ValueError(f"`severity` must be 1 to 5, got {severity}.")
    _, channels, height, width = images.shape
    check_shape(channels, height, width)
    if first % BLOCK:
        raise ValueError(f"`first` must be a multiple of {BLOCK}, got {first}.")
    apply, place = CORRUPTIONS[name], list(CORRUPTIONS).index(name)
    result = torch.empty_like(images)
    for start in range(0, len(images), BLOCK):
        part = images[start : start + BLOCK]
        key = hash_integer(seed, place, severity, (first + start) // BLOCK)
        # A whole block is made even where the set ends within one: the draws are then the same.
        whole = torch.zeros(BLOCK, channels, height, width)
        whole[: len(part)] = part.float() / 255
        changed = apply(whole, severity, torch.Generator().manual_seed(key))[: len(part)]
        # Cut off as in the published set; the margin is for rounding errors in float32.
        result[start : start + BLOCK] = (changed.clamp(0, 1) * 255 + 1e-3).to(torch.uint8)
    return result
