"""Random changes to training images, a whole batch at a time, on the device that holds it."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64, Num
from torch import Tensor
from torch.nn import functional as F

from odevision.data.hashing import hash_indices


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Which random changes to make; the defaults make none.

    Args:
        crop_padding: Largest shift up, down, left or right, in pixels; the image is continued by
            reflection.
        flip: "random" mirrors each image left to right with probability 1/2. "alternating" decides
            once for each image and then mirrors every image in every other epoch, so that two
            epochs in a row show both sides of each (Jordan 2024, arXiv 2404.00498).
        cutout: Side of a square that is blanked at a random place inside the image, in pixels.
        rotation_degrees: Largest rotation to either side, in degrees.
        scale: Largest zoom: factors are uniform in [1 - scale, 1 + scale].
    """

    crop_padding: int = 0
    flip: Literal["none", "random", "alternating"] = "none"
    cutout: int = 0
    rotation_degrees: float = 0.0
    scale: float = 0.0

    def __post_init__(self) -> None:
        """Validate."""
        if self.crop_padding < 0:
            raise ValueError(f"`crop_padding` must be 0 or more pixels, got {self.crop_padding}.")
        if self.flip not in ("none", "random", "alternating"):
            raise ValueError(
                f"`flip` must be 'none', 'random' or 'alternating', got {self.flip!r}."
            )
        if self.cutout < 0:
            raise ValueError(f"`cutout` must be 0 or more pixels, got {self.cutout}.")
        if not 0 <= self.rotation_degrees <= 180:
            raise ValueError(
                f"`rotation_degrees` must be in [0, 180], got {self.rotation_degrees}."
            )
        if not 0 <= self.scale < 1:
            raise ValueError(f"`scale` must be in [0, 1), got {self.scale}. Try 0.1.")

    def check_image_size(self, height: int, width: int) -> None:
        """Refuse images that are too small for these changes.

        Args:
            height: Of the images, in pixels.
            width: Of the images, in pixels.

        Raises:
            ValueError: If the padding cannot be reflected or the cutout does not fit.
        """
        side = min(height, width)
        if self.crop_padding >= side:
            raise ValueError(
                f"`crop_padding` must be smaller than the image ({side} pixels), "
                f"got {self.crop_padding}."
            )
        if self.cutout > side:
            raise ValueError(
                f"`cutout` must be at most the image's side ({side} pixels), got {self.cutout}."
            )


def augment(
    images: Num[Tensor, "batch channels height width"],
    augmentation: Augmentation,
    generator: torch.Generator,
    epoch: int,
    indices: Int64[Tensor, " batch"],
    *,
    seed: int = 0,
    fill: Sequence[float] | None = None,
) -> Num[Tensor, "batch channels height width"]:
    """Change a batch of training images at random: shift, mirror, rotate and zoom, cut out.

    Args:
        images: uint8 or floating point, on any device.
        augmentation: Which changes.
        generator: Source of all randomness but the alternating flip's. A CPU generator serves any
            device, and gives the same changes on each.
        epoch: Counted from 0; for the alternating flip.
        indices: Position of each image in the data set; for the alternating flip.
        seed: Selects the first side of each image in the alternating flip.
        fill: Value of each channel in the cutout, in the images' units; 0 by default.

    Returns:
        Images of the same shape, dtype and device; the argument is left as it is.
    """
    augmentation.check_image_size(images.shape[2], images.shape[3])
    # One table of numbers in [0, 1), always of the same width: switching one change on or off
    # leaves the randomness of the others alone, and one copy brings it to the device.
    uniform = torch.rand(len(images), 7, generator=generator, device=generator.device)
    uniform = uniform.to(images.device, non_blocking=True)
    is_flipped = None
    if augmentation.flip == "random":
        is_flipped = uniform[:, 2] < 0.5
    elif augmentation.flip == "alternating":
        is_flipped = alternating_flip(indices.to(images.device), epoch, seed=seed)
    changed = images
    if augmentation.crop_padding or is_flipped is not None:
        changed = _shift_and_flip(images, augmentation.crop_padding, uniform[:, :2], is_flipped)
    if augmentation.rotation_degrees or augmentation.scale:
        changed = _rotate_and_zoom(changed, augmentation, uniform[:, 3:5])
    if augmentation.cutout:
        changed = changed.clone() if changed is images else changed
        _cut_out(changed, augmentation.cutout, uniform[:, 5:7], fill)
    return changed


def alternating_flip(
    indices: Int64[Tensor, " batch"], epoch: int, *, seed: int = 0
) -> Bool[Tensor, " batch"]:
    """Decide which images are mirrored in an epoch: half of them, the other half in the next one.

    Args:
        indices: Position of each image in the data set.
        epoch: Counted from 0.
        seed: Selects which half begins.

    Returns:
        True where the image is to be mirrored.
    """
    return (hash_indices(indices, seed=seed) >> 32) % 2 == epoch % 2


def _shift_and_flip(
    images: Num[Tensor, "batch channels height width"],
    padding: int,
    uniform: Float[Tensor, "batch 2"],
    is_flipped: Bool[Tensor, " batch"] | None,
) -> Num[Tensor, "batch channels height width"]:
    # One gather from computed positions: padding first and slicing then copies twice as much.
    batch, channels, height, width = images.shape
    shifts = (uniform * (2 * padding + 1)).long().clamp(max=2 * padding) - padding
    rows = _reflect(torch.arange(height, device=images.device) + shifts[:, :1], height)
    columns = torch.arange(width, device=images.device).expand(batch, width)
    if is_flipped is not None:
        columns = torch.where(is_flipped[:, None], width - 1 - columns, columns)
    columns = _reflect(columns + shifts[:, 1:], width)
    positions = rows[:, :, None] * width + columns[:, None, :]
    positions = positions.view(batch, 1, height * width).expand(batch, channels, height * width)
    return images.flatten(2).gather(2, positions).view(images.shape)


def _reflect(positions: Int64[Tensor, "batch side"], side: int) -> Int64[Tensor, "batch side"]:
    return (side - 1) - ((side - 1) - positions.abs()).abs()


def _rotate_and_zoom(
    images: Num[Tensor, "batch channels height width"],
    augmentation: Augmentation,
    uniform: Float[Tensor, "batch 2"],
) -> Num[Tensor, "batch channels height width"]:
    signed = 2 * uniform - 1
    angles = torch.deg2rad(signed[:, 0] * augmentation.rotation_degrees)
    zooms = 1 + signed[:, 1] * augmentation.scale
    height, width = images.shape[2:]
    # The grid's coordinates run from -1 to 1 along each side, so of an image that is not square
    # a rotation must be stretched.
    cosine, sine = torch.cos(angles) / zooms, torch.sin(angles) / zooms
    zero = torch.zeros_like(angles)
    row_x = torch.stack([cosine, -sine * height / width, zero], dim=1)
    row_y = torch.stack([sine * width / height, cosine, zero], dim=1)
    grid = F.affine_grid(
        torch.stack([row_x, row_y], dim=1), list(images.shape), align_corners=False
    )
    source = images if images.is_floating_point() else images.float()
    # Between "reflection" pixels and a black margin there is no difference for digits; for photos
    # the reflection is the more natural one, as in the crop.
    sampled = F.grid_sample(
        source, grid.to(source.dtype), padding_mode="reflection", align_corners=False
    )
    return sampled if images.is_floating_point() else sampled.round_().to(images.dtype)


def _cut_out(
    images: Num[Tensor, "batch channels height width"],
    side: int,
    uniform: Float[Tensor, "batch 2"],
    fill: Sequence[float] | None,
) -> None:
    # Changes `images`. Written as a scatter of the few pixels blanked: a mask costs ten times more.
    batch, channels, height, width = images.shape
    offsets = torch.arange(side, device=images.device)
    top = (uniform[:, :1] * (height - side + 1)).long().clamp(max=height - side)
    left = (uniform[:, 1:] * (width - side + 1)).long().clamp(max=width - side)
    rows, columns = top + offsets, left + offsets
    positions = (rows[:, :, None] * width + columns[:, None, :]).view(batch, 1, side * side)
    values = torch.tensor([0.0] * channels if fill is None else list(fill))
    if not images.is_floating_point():
        values = values.round()
    values = values.to(images.dtype).view(1, channels, 1).to(images.device, non_blocking=True)
    shape = (batch, channels, side * side)
    images.view(batch, channels, height * width).scatter_(
        2, positions.expand(shape), values.expand(shape)
    )
