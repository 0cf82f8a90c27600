"""Random changes of training clips: every frame of a clip is changed in the same way."""

import dataclasses
from typing import Literal

import torch
from jaxtyping import UInt8
from torch import Tensor

from odevision.data import color, geometric

_SHIFT, _FLIP, _TURN, _COLOR, _CUTOUT = slice(0, 2), 2, slice(3, 5), slice(5, 9), slice(9, 11)
_IS_GRAY, _IS_INVERTED, _NUM_COLUMNS = 11, 12, 13


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipAugmentation:
    """Which random changes to make; the defaults make none. In the order in which they stand here.

    Args:
        reverse: Probability that a clip runs backwards. Not where the classes are about before and
            after.
        crop_padding: Largest shift up, down, left or right, in pixels; continued by reflection.
        flip: "random" mirrors each clip left to right with probability 1/2. Not where left and
            right are what the classes are about.
        rotation_degrees: Largest rotation to either side, in degrees.
        scale: Largest zoom: factors are uniform in [1 - scale, 1 + scale].
        brightness: Largest change: factors are uniform in [1 - brightness, 1 + brightness].
        contrast: Likewise.
        saturation: Likewise.
        hue: Largest turn of the colors, as a share of the color circle, at most 0.5.
        grayscale: Probability to lose the colors.
        invert: Probability to become a negative, so that only contrast tells figures from ground.
        cutout: Side of a square that is blanked at a random place, in pixels.
    """

    reverse: float = 0.0
    crop_padding: int = 0
    flip: Literal["none", "random"] = "none"
    rotation_degrees: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grayscale: float = 0.0
    invert: float = 0.0
    cutout: int = 0

    def __post_init__(self) -> None:
        """Validate."""
        for name in ("crop_padding", "cutout"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must be 0 or more pixels, got {getattr(self, name)}.")
        if self.flip not in ("none", "random"):
            raise ValueError(f"`flip` must be 'none' or 'random', got {self.flip!r}.")
        if not 0 <= self.scale < 1:
            raise ValueError(f"`scale` must be in [0, 1), got {self.scale}. Try 0.1.")
        names = ("brightness", "contrast", "saturation", "reverse", "grayscale", "invert")
        for name, most in {"rotation_degrees": 180, "hue": 0.5, **dict.fromkeys(names, 1)}.items():
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"`{name}` must be in [0, {most}], got {getattr(self, name)}.")

    @property
    def changes_color(self) -> bool:
        """Whether brightness, contrast, saturation or hue changes."""
        return bool(self.brightness or self.contrast or self.saturation or self.hue)

    def check_frames(self, height: int, width: int) -> None:
        """Refuse frames that these changes do not suit.

        Args:
            height: Of the frames, in pixels.
            width: Likewise.

        Raises:
            ValueError: If the padding cannot be reflected, or the cutout does not fit.
        """
        side = min(height, width)
        if self.crop_padding >= side:
            raise ValueError(
                f"`crop_padding` must be smaller than the frames ({side} pixels), "
                f"got {self.crop_padding}."
            )
        if self.cutout > side:
            raise ValueError(
                f"`cutout` must be at most the frames' side ({side} pixels), got {self.cutout}."
            )


def augment_clips(
    frames: UInt8[Tensor, "batch time 3 height width"],
    augmentation: ClipAugmentation,
    generator: torch.Generator,
    *,
    fill: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> UInt8[Tensor, "batch time 3 height width"]:
    """Change a batch of training clips at random; see `ClipAugmentation` for how.

    All but `reverse`: what runs backwards has other times too, so the loader does that.

    Args:
        frames: On any device.
        augmentation: Which changes.
        generator: Source of all randomness, on the CPU.
        fill: Value of each channel in the cutout.

    Returns:
        Clips of the same shape; the argument is left as it is.
    """
    batch, time = frames.shape[:2]
    # One table of numbers, always of the same width: switching one change on or off leaves the
    # randomness of the others alone.
    uniform = torch.rand(batch, _NUM_COLUMNS, generator=generator)
    uniform = uniform.to(frames.device, non_blocking=True)
    # The frames of a clip as channels of one picture: what moves pixels then moves all alike.
    pictures = frames.flatten(1, 2)
    is_flipped = uniform[:, _FLIP] < 0.5 if augmentation.flip == "random" else None
    if augmentation.crop_padding or is_flipped is not None:
        pictures = geometric.shift_and_flip(
            pictures, augmentation.crop_padding, uniform[:, _SHIFT], is_flipped
        )
    if augmentation.rotation_degrees or augmentation.scale:
        pictures = geometric.rotate_and_zoom(
            pictures, augmentation.rotation_degrees, augmentation.scale, uniform[:, _TURN]
        )
    if augmentation.changes_color:
        # One below the other as one tall picture: contrast has one pivot a clip, else a pixel that
        # stands still would flicker wherever something bright comes in.
        tall = pictures.unflatten(1, (time, 3)).transpose(1, 2).flatten(2, 3)
        changed = color.jitter(
            tall.float(),
            brightness=augmentation.brightness,
            contrast=augmentation.contrast,
            saturation=augmentation.saturation,
            hue=augmentation.hue,
            uniform=uniform[:, _COLOR],
        )
        changed = changed.round_().to(torch.uint8).unflatten(2, (time, -1))
        pictures = changed.transpose(1, 2).reshape(pictures.shape)
    if augmentation.grayscale:
        single = pictures.view(batch * time, 3, *frames.shape[3:])
        gray = color.to_gray(single.float()).round_().to(torch.uint8).view(pictures.shape)
        is_gray = uniform[:, _IS_GRAY] < augmentation.grayscale
        pictures = torch.where(is_gray[:, None, None, None], gray, pictures)
    if augmentation.invert:
        is_inverted = uniform[:, _IS_INVERTED] < augmentation.invert
        pictures = torch.where(is_inverted[:, None, None, None], 255 - pictures, pictures)
    if augmentation.cutout:
        pictures = pictures.clone() if pictures.data_ptr() == frames.data_ptr() else pictures
        geometric.cut_out(pictures, augmentation.cutout, uniform[:, _CUTOUT], [*fill] * time)
    return pictures.view(frames.shape)
