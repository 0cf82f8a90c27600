"""One frame of a video, and the size that all frames of a source are brought to."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import interpolate


@dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """One frame.

    Args:
        image: Its pixels, upright, 0 to 255.
        seconds: Its time; the first frame of a source is at 0.
    """

    image: UInt8[Tensor, "3 height width"]
    seconds: float


def rgb_image(pixels: np.ndarray | Tensor, *, name: str) -> UInt8[Tensor, "3 height width"]:
    """Bring an image that is in memory to the form of a `Frame`'s.

    Args:
        pixels: Values 0 to 255 in uint8, grayscale or RGB. As is the custom, the channels of arrays
            come last and those of tensors first: (height, width, 3) and (3, height, width).
        name: Of the argument, for the message.

    Raises:
        ValueError: If it has another shape or type.
    """
    is_array = isinstance(pixels, np.ndarray)
    is_bytes = pixels.dtype == (np.uint8 if is_array else torch.uint8)
    if is_bytes and pixels.ndim in (2, 3) and 0 not in pixels.shape:
        if isinstance(pixels, Tensor):
            image = pixels if pixels.ndim == 3 else pixels[None]
        else:  # One copy, which also takes arrays that are mirrored or cannot be written.
            channels_last = pixels if pixels.ndim == 3 else pixels[:, :, None]
            image = torch.from_numpy(channels_last.transpose(2, 0, 1).copy())
        if image.shape[0] in (1, 3):
            return image.expand(3, -1, -1).contiguous()
    wanted = "arrays of shape (height, width, 3)" if is_array else "tensors of (3, height, width)"
    raise ValueError(
        f"`{name}` must be uint8 {wanted}, got {pixels.dtype} of shape {tuple(pixels.shape)}. "
        "Try moving the channels, or 255 * image as uint8."
    )


@dataclass(frozen=True, kw_only=True)
class FrameSize:
    """The size that frames are brought to; with neither argument they keep their own.

    Args:
        exact: Height and width that every frame gets, whatever its aspect.
        cover: Height and width that frames must cover: larger ones are scaled down, their aspect
            kept, until they just do; smaller ones stay.
    """

    exact: tuple[int, int] | None = None
    cover: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Validate."""
        for name, pair in (("size", self.exact), ("cover", self.cover)):
            if pair is not None and min(pair) < 1:
                raise ValueError(
                    f"`{name}` must be a height and a width of at least 1 pixel, got {pair}. "
                    "Try (52, 68)."
                )
        if self.exact is not None and self.cover is not None:
            raise ValueError(
                f"`size` and `cover` must not both be given, got {self.exact} and {self.cover}. "
                "Try `cover`, which keeps the aspect, then a crop."
            )

    def of(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width that an upright frame of this height and width gets."""
        if self.exact is not None:
            return self.exact
        return (height, width) if self.cover is None else covering_size(height, width, self.cover)


def covering_size(height: int, width: int, cover: tuple[int, int]) -> tuple[int, int]:
    """Return the smallest size of the same aspect that covers another, never a larger one.

    Args:
        height: Of the frames.
        width: Of the frames.
        cover: Height and width to cover.
    """
    scale = min(1.0, max(cover[0] / height, cover[1] / width))
    # A hair below a whole number is rounding.
    return math.ceil(scale * height - 1e-6), math.ceil(scale * width - 1e-6)


class ImageFitter:
    """Brings images to one size, which the first of them decides.

    Attributes:
        has_changed: Whether an image had another size than the first.
    """

    def __init__(self, frame_size: FrameSize) -> None:
        """Start before the first image."""
        self._frame_size = frame_size
        self._source: tuple[int, int] | None = None
        self._target: tuple[int, int] = (0, 0)
        self.has_changed = False

    def fit(
        self, image: UInt8[Tensor, "3 height width"]
    ) -> UInt8[Tensor, "3 new_height new_width"]:
        """Return the image in the size of this source; scaled down without aliasing."""
        height, width = image.shape[1:]
        if self._source is None:
            self._source, self._target = (height, width), self._frame_size.of(height, width)
        self.has_changed |= (height, width) != self._source
        if (height, width) == self._target:
            return image
        return interpolate(image[None], self._target, mode="bilinear", antialias=True)[0]


class PictureConverter:
    """Turns PyAV's pictures into upright images of one size, which the first of them decides.

    The scaling happens in FFmpeg, on the way from the codec's colors to RGB: that is far cheaper
    than making the large image first.

    Attributes:
        source_size: Height and width of the first picture, upright, in square pixels.
        size: Height and width of the images.
        has_changed: Whether a picture had another size than the first.
    """

    def __init__(self, first: Any, frame_size: FrameSize, pixel_aspect: float = 1.0) -> None:
        """Look at the first picture; it is not converted yet.

        Args:
            first: As `convert` takes it.
            frame_size: Of the images.
            pixel_aspect: Width to height of a pixel as the camera held it; images have square ones.
        """
        from av.video.reformatter import Interpolation, VideoReformatter

        # One for all pictures: a fresh one has to work out its filters first.
        self._reformatter = VideoReformatter()
        self._interpolation = Interpolation.AREA
        self._pixel_aspect = pixel_aspect
        self.source_size = self._upright_size(first)
        self.size = frame_size.of(*self.source_size)
        self.has_changed = False

    def convert(self, picture: Any) -> UInt8[Tensor, "3 height width"]:
        """Return a picture as an image.

        Args:
            picture: A decoded `av.VideoFrame`; its display matrix says how a camera was held.
        """
        self.has_changed |= self._upright_size(picture) != self.source_size
        turns = _quarter_turns(picture)
        height, width = self.size[::-1] if turns % 2 else self.size
        is_scaled = (picture.height, picture.width) != (height, width)
        rgb = self._reformatter.reformat(
            picture,
            width=width,
            height=height,
            format="rgb24",
            # Without scaling, only the color planes are enlarged: averaging would make blocks.
            interpolation=self._interpolation if is_scaled else None,
        )
        image = torch.from_numpy(rgb.to_ndarray()).permute(2, 0, 1)
        # A copy in any case: the memory is the decoder's.
        return torch.rot90(image, turns, dims=(1, 2)).clone(memory_format=torch.contiguous_format)

    def _upright_size(self, picture: Any) -> tuple[int, int]:
        """Height and width in square pixels."""
        height, width = picture.height, max(1, round(picture.width * self._pixel_aspect))
        return (width, height) if _quarter_turns(picture) % 2 else (height, width)


def _quarter_turns(picture: Any) -> int:
    """Turns to the left that put a picture upright."""
    return round(picture.rotation / 90) % 4
