"""RandAugment (Cubuk et al. 2019, arXiv 1909.13719): a few operations drawn for each image.

The operations and their strengths are torchvision's. All images of a batch that drew the same one
are changed in one call. Besides, what comes in from outside an image is its reflection and not
black, pixels are interpolated, shears keep the center in place and not a corner, and sharpness
reaches to the border. All work on values 0 to 255.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from odevision.data.color import Colors, blend, luma
from odevision.data.geometric import rotate, warp

LARGEST_MAGNITUDE = 30
"""Strengths run from 0 to this, as in torchvision."""

Strengths = Float[Tensor, " batch"]
"""Of an operation, one an image, in [-1, 1]; the sign says which way."""


def rand_augment(
    images: Colors, magnitude: int | float, uniform: Float[Tensor, "batch operations 2"]
) -> Colors:
    """Apply a sequence of random operations to each image.

    Args:
        images: Floating point, 0 to 255, on any device.
        magnitude: Strength of each operation, 0 to `LARGEST_MAGNITUDE`.
        uniform: Numbers in [0, 1) on the host: for each operation in turn, which one it is, and its
            direction.

    Returns:
        New images with values from 0 to 255.
    """
    images = images.clone()
    names = list(OPERATIONS)
    chosen = (uniform[:, :, 0] * len(names)).long().clamp(max=len(names) - 1)
    strengths = torch.where(uniform[:, :, 1] < 0.5, -1.0, 1.0) * magnitude / LARGEST_MAGNITUDE
    for turn in range(uniform.shape[1]):
        for position, name in enumerate(names):
            # Chosen on the host, so that a GPU is not waited for.
            indices = (chosen[:, turn] == position).nonzero().flatten()
            if name == "identity" or len(indices) == 0:
                continue
            strength = strengths[indices, turn].to(images.device, non_blocking=True)
            indices = indices.to(images.device, non_blocking=True)
            changed = OPERATIONS[name](images.index_select(0, indices), strength)
            images.index_copy_(0, indices, changed.to(images.dtype))
    return images.clamp_(0, 255)  # Interpolation overshoots by a rounding error.


def _affine(images: Colors, entries: dict[tuple[int, int], Tensor]) -> Colors:
    matrices = torch.zeros(len(images), 2, 3, device=images.device)
    matrices[:, 0, 0] = matrices[:, 1, 1] = 1
    for (row, column), values in entries.items():
        matrices[:, row, column] = values
    return warp(images, matrices)


def _shear_x(images: Colors, strength: Strengths) -> Colors:
    height, width = images.shape[2:]
    return _affine(images, {(0, 1): 0.3 * strength * height / width})


def _shear_y(images: Colors, strength: Strengths) -> Colors:
    height, width = images.shape[2:]
    return _affine(images, {(1, 0): 0.3 * strength * width / height})


def _translate_x(images: Colors, strength: Strengths) -> Colors:
    # 150 of 331 pixels, the size the original was made for; positions span 2 a side.
    return _affine(images, {(0, 2): 2 * 150 / 331 * strength})


def _translate_y(images: Colors, strength: Strengths) -> Colors:
    return _affine(images, {(1, 2): 2 * 150 / 331 * strength})


def _rotate(images: Colors, strength: Strengths) -> Colors:
    return rotate(images, torch.deg2rad(30 * strength), torch.ones_like(strength))


def _brightness(images: Colors, strength: Strengths) -> Colors:
    return blend(images, torch.zeros_like(images[:1]), 1 + 0.9 * strength)


def _color(images: Colors, strength: Strengths) -> Colors:
    return blend(images, luma(images), 1 + 0.9 * strength)


def _contrast(images: Colors, strength: Strengths) -> Colors:
    return blend(images, luma(images).mean(dim=(2, 3), keepdim=True), 1 + 0.9 * strength)


def _sharpness(images: Colors, strength: Strengths) -> Colors:
    # Pillow's smoothing filter: 5 in the middle, 1 around it.
    channels = images.shape[1]
    kernel = torch.ones(channels, 1, 3, 3, device=images.device, dtype=images.dtype)
    kernel[:, :, 1, 1] = 5
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    return blend(images, F.conv2d(padded, kernel / 13, groups=channels), 1 + 0.9 * strength)


def _posterize(images: Colors, strength: Strengths) -> Colors:
    # Drops up to four of eight bits.
    step = 2 ** (4 * strength.abs()).round().view(-1, 1, 1, 1)
    return (images / step).floor_() * step


def _solarize(images: Colors, strength: Strengths) -> Colors:
    threshold = 255 * (1 - strength.abs()).view(-1, 1, 1, 1)
    return torch.where(images >= threshold, 255 - images, images)


def _autocontrast(images: Colors, strength: Strengths) -> Colors:
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    spread = high - low
    return torch.where(spread > 0, (images - low) * (255 / spread.clamp(min=1)), images)


def _equalize(images: Colors, strength: Strengths) -> Colors:
    # Imported where it is used: torchvision takes a second to import.
    from torchvision.transforms.v2.functional import equalize

    return equalize(images.round().to(torch.uint8)).to(images.dtype)


OPERATIONS: dict[str, Callable[[Colors, Strengths], Colors]] = {
    "identity": lambda images, strength: images,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
    "brightness": _brightness,
    "color": _color,
    "contrast": _contrast,
    "sharpness": _sharpness,
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
}
"""By name; each takes images and a strength an image. Those that have no strength ignore it."""
