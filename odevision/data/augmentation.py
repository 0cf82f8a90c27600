"""Random changes to training images, a whole batch at a time, on the device that holds it."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from odevision.data import color, geometric
from odevision.data.geometric import Pictures
from odevision.data.hashing import hash_indices
from odevision.data.rand_augment import LARGEST_MAGNITUDE, rand_augment


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Which random changes to make; the defaults make none.

    They are made in the order in which they stand here. Changes of color take pixels as values from
    0 to 255.

    Args:
        crop_scale: Smallest and largest share of the area that a random rectangle keeps; it is
            stretched to the network's size (random resized crop). (0.08, 1) is usual for ImageNet,
            (0.35, 1) where objects fill the image. None makes no such crop. A folder that is not
            held in memory is cropped from the files' own resolution.
        crop_ratio: Smallest and largest width to height of that rectangle.
        crop_padding: Largest shift up, down, left or right, in pixels; the image is continued by
            reflection.
        flip: "random" mirrors each image left to right with probability 1/2. "alternating" decides
            once for each image and then mirrors every image in every other epoch, so that two
            epochs in a row show both sides of each (Jordan 2024, arXiv 2404.00498).
        rotation_degrees: Largest rotation to either side, in degrees.
        scale: Largest zoom: factors are uniform in [1 - scale, 1 + scale].
        rand_augment: RandAugment operations for each image, drawn from fourteen (arXiv 1909.13719).
        rand_augment_magnitude: Their strength, 0 to 30; 9 is usual for ImageNet.
        brightness: Largest change: factors are uniform in [1 - brightness, 1 + brightness].
        contrast: Likewise.
        saturation: Likewise; for color images.
        hue: Largest turn of the colors, as a share of the color circle, at most 0.5.
        grayscale: Probability to lose the colors; for color images.
        blur: Probability of a Gaussian blur.
        blur_sigma: Its smallest and largest standard deviation, in pixels of the network's image.
        jpeg: Probability to be written as a JPEG and read again, by a real encoder; on a GPU each
            batch waits for it.
        jpeg_quality: Its lowest and highest quality, 1 to 100.
        cutout: Side of a square that is blanked at a random place inside the image, in pixels.
        erasing: Probability that a rectangle of 2 to 33 % of the area is blanked.
    """

    crop_scale: tuple[float, float] | None = None
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    crop_padding: int = 0
    flip: Literal["none", "random", "alternating"] = "none"
    rotation_degrees: float = 0.0
    scale: float = 0.0
    rand_augment: int = 0
    rand_augment_magnitude: float = 9.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale: float = 0.0
    blur: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 1.0)
    jpeg: float = 0.0
    jpeg_quality: tuple[int, int] = (30, 95)
    cutout: int = 0
    erasing: float = 0.0

    def __post_init__(self) -> None:
        """Validate."""
        for name in ("crop_padding", "cutout"):
            value = getattr(self, name)
            if value < 0:
                raise ValueError(f"`{name}` must be 0 or more pixels, got {value}.")
        if self.flip not in ("none", "random", "alternating"):
            raise ValueError(
                f"`flip` must be 'none', 'random' or 'alternating', got {self.flip!r}."
            )
        if self.rand_augment < 0:
            raise ValueError(
                f"`rand_augment` must be 0 or more operations, got {self.rand_augment}. Try 2."
            )
        if not 0 <= self.scale < 1:
            raise ValueError(f"`scale` must be in [0, 1), got {self.scale}. Try 0.1.")
        self._check_at_most(180, "rotation_degrees")
        self._check_at_most(LARGEST_MAGNITUDE, "rand_augment_magnitude")
        self._check_at_most(0.5, "hue")
        self._check_at_most(1, "brightness", "contrast", "saturation")
        self._check_at_most(1, "grayscale", "blur", "jpeg", "erasing")
        if self.crop_scale is not None:
            self._check_limits("crop_scale", most=1, example="0.35 1")
        self._check_limits("crop_ratio", example="0.75 1.3333")
        self._check_limits("blur_sigma", example="0.1 1")
        self._check_limits("jpeg_quality", most=100, example="30 95")

    def _check_at_most(self, most: int | float, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise ValueError(f"`{name}` must be in [0, {most}], got {value}.")

    def _check_limits(self, name: str, *, most: int | float = math.inf, example: str) -> None:
        low, high = getattr(self, name)
        if not 0 < low <= high <= most:
            bound = "" if most == math.inf else f" of at most {most}"
            raise ValueError(
                f"`{name}` must be two positive numbers{bound}, the smaller one first, "
                f"got {low} {high}. Try {example}."
            )

    @property
    def changes_color(self) -> bool:
        """Whether any change works on the values of pixels, as floating point numbers."""
        return bool(self.rand_augment or self.grayscale or self.blur or self._jitters)

    @property
    def _jitters(self) -> bool:
        return bool(self.brightness or self.contrast or self.saturation or self.hue)

    @property
    def _needs_second_table(self) -> bool:
        return bool(self.crop_scale or self.changes_color or self.jpeg or self.erasing)

    def check_images(self, num_channels: int, height: int, width: int) -> None:
        """Refuse images that these changes do not suit.

        Args:
            num_channels: Of the images.
            height: Of the images, in pixels.
            width: Of the images, in pixels.

        Raises:
            ValueError: If the padding cannot be reflected, the cutout does not fit, or gray images
                would have their colors changed.
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
        for name in ("saturation", "hue", "grayscale"):
            if num_channels == 1 and getattr(self, name):
                raise ValueError(
                    f"`{name}` must be 0 for grayscale images, got {getattr(self, name)}."
                )


def augment(
    images: Pictures,
    augmentation: Augmentation,
    generator: torch.Generator,
    epoch: int,
    indices: Int64[Tensor, " batch"],
    *,
    seed: int = 0,
    fill: Sequence[float] | None = None,
) -> Pictures:
    """Change a batch of training images at random; see `Augmentation` for how.

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
    augmentation.check_images(*images.shape[1:])
    # One table of numbers in [0, 1), always of the same width: switching one change on or off
    # leaves the randomness of the others alone, and one copy brings it to the device. The changes
    # that came later have a second one, so that runs without them stay as they were.
    uniform = torch.rand(len(images), 7, generator=generator, device=generator.device)
    uniform = uniform.to(images.device, non_blocking=True)
    more = torch.zeros(len(images), _NUM_COLUMNS)
    if augmentation._needs_second_table:
        more = torch.rand(more.shape, generator=generator, device=generator.device).cpu()
    is_flipped = _flips(augmentation, uniform[:, 2], epoch, indices, seed)
    changed = _move(images, augmentation, uniform, is_flipped, more[:, _CROP])
    if augmentation.changes_color:
        changed = _change_colors(changed, augmentation, generator, more)
    if augmentation.jpeg:
        is_coded = more[:, _IS_JPEG] < augmentation.jpeg
        changed = _change_some(
            changed,
            is_coded,
            lambda some, rows: color.jpeg(some, augmentation.jpeg_quality, more[rows, _QUALITY]),
        )
    if augmentation.cutout:
        changed = changed.clone() if changed is images else changed
        geometric.cut_out(changed, augmentation.cutout, uniform[:, 5:7], fill)
    if augmentation.erasing:
        changed = _change_some(
            changed,
            more[:, _IS_ERASED] < augmentation.erasing,
            lambda some, rows: geometric.erase(some, _on(some, more[rows, _ERASED]), fill),
        )
    return changed


# Columns of the second table of random numbers.
_CROP, _JITTER, _IS_GRAY, _IS_BLURRED, _SIGMA = slice(0, 4), slice(4, 8), 8, 9, 10
_IS_JPEG, _QUALITY, _IS_ERASED, _ERASED = 11, 12, 13, slice(14, 18)
_NUM_COLUMNS = 18


def _on(images: Pictures, values: Tensor) -> Tensor:
    return values.to(images.device, non_blocking=True)


def _move(
    images: Pictures,
    augmentation: Augmentation,
    uniform: Float[Tensor, "batch 7"],
    is_flipped: Bool[Tensor, " batch"] | None,
    crop: Float[Tensor, "batch 4"],
) -> Pictures:
    changed = images
    if augmentation.crop_scale is not None:
        changed = geometric.resized_crop(
            changed, augmentation.crop_scale, augmentation.crop_ratio, _on(images, crop)
        )
    if augmentation.crop_padding or is_flipped is not None:
        changed = geometric.shift_and_flip(
            changed, augmentation.crop_padding, uniform[:, :2], is_flipped
        )
    if augmentation.rotation_degrees or augmentation.scale:
        changed = geometric.rotate_and_zoom(
            changed, augmentation.rotation_degrees, augmentation.scale, uniform[:, 3:5]
        )
    return changed


def _flips(
    augmentation: Augmentation,
    uniform: Float[Tensor, " batch"],
    epoch: int,
    indices: Int64[Tensor, " batch"],
    seed: int,
) -> Bool[Tensor, " batch"] | None:
    if augmentation.flip == "random":
        return uniform < 0.5
    if augmentation.flip == "alternating":
        return alternating_flip(indices.to(uniform.device), epoch, seed=seed)
    return None


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


_Change = Callable[[Tensor, Int64[Tensor, " chosen"]], Tensor]
"""From the chosen images, and their rows on the host, to what becomes of them."""


def _change_some(images: Pictures, is_chosen: Bool[Tensor, " batch"], change: _Change) -> Pictures:
    # `is_chosen` lies on the host: the number of chosen images is known without waiting for a GPU.
    rows = is_chosen.nonzero().flatten()
    if len(rows) == 0:
        return images
    rows_there = rows.to(images.device, non_blocking=True)
    changed = change(images.index_select(0, rows_there), rows)
    return images.index_copy(0, rows_there, changed.to(images.dtype))


def _change_colors(
    images: Pictures,
    augmentation: Augmentation,
    generator: torch.Generator,
    uniform: Float[Tensor, "batch 18"],
) -> Pictures:
    # In floating point from the first change of color to the last, rounded once at the end.
    changed = images if images.is_floating_point() else images.float()
    if augmentation.rand_augment:
        shape = (len(images), augmentation.rand_augment, 2)
        choices = torch.rand(shape, generator=generator, device=generator.device).cpu()
        changed = rand_augment(changed, augmentation.rand_augment_magnitude, choices)
    if augmentation._jitters:
        changed = color.jitter(
            changed,
            brightness=augmentation.brightness,
            contrast=augmentation.contrast,
            saturation=augmentation.saturation,
            hue=augmentation.hue,
            uniform=_on(images, uniform[:, _JITTER]),
        )
    if augmentation.grayscale:
        changed = _change_some(
            changed,
            uniform[:, _IS_GRAY] < augmentation.grayscale,
            lambda some, _: color.to_gray(some),
        )
    if augmentation.blur:
        changed = _change_some(
            changed,
            uniform[:, _IS_BLURRED] < augmentation.blur,
            lambda some, rows: color.blur(
                some, augmentation.blur_sigma, _on(some, uniform[rows, _SIGMA])
            ),
        )
    return changed if images.is_floating_point() else changed.round_().to(images.dtype)
