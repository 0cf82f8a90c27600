"""The one path from a picture to a network's input, shared by validation, evaluation, predict."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import PIL.Image
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from odevision.data.crops import square_boxes
from odevision.data.image import to_gray_or_rgb


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a picture becomes a network's input; stored with the weights, so that it cannot differ.

    Args:
        image_size: Height and width of the network's images, in pixels.
        num_channels: 1 for grayscale, 3 for color.
        mean: Mean of each channel over the training set, as a fraction of white; subtracted.
        std: Standard deviation of each channel, likewise; divided by.
        bright_on_dark: Whether the training images are bright strokes on black (MNIST). Then a
            picture whose border is brighter than its middle, such as ink on paper, is inverted.
    """

    image_size: int
    num_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bright_on_dark: bool = False

    def __post_init__(self) -> None:
        """Validate."""
        if self.image_size < 1:
            raise ValueError(f"`image_size` must be at least 1 pixel, got {self.image_size}.")
        if self.num_channels not in (1, 3):
            raise ValueError(f"`num_channels` must be 1 or 3, got {self.num_channels}.")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.num_channels or not all(map(math.isfinite, values)):
                raise ValueError(
                    f"`{name}` must have one finite number a channel ({self.num_channels}), "
                    f"got {values}."
                )
        if min(self.std) <= 0:
            raise ValueError(f"`std` must be positive, got {self.std}.")

    def to_uint8(self, image: PIL.Image.Image) -> UInt8[Tensor, "channels height width"]:
        """Bring a picture to the network's size and number of channels.

        The largest centered square is cut out and resized with an antialiased bicubic filter: the
        short side fits, and nothing is stretched. A picture that has the right size and mode
        already is returned bit by bit, so a data set's own images go through unchanged.

        Args:
            image: A picture of any size and mode.

        Returns:
            Values 0 to 255, shape (num_channels, image_size, image_size), on the CPU.
        """
        return self.to_crops(image, num=1)[0]

    def to_crops(
        self, image: PIL.Image.Image, *, num: int | None = None
    ) -> UInt8[Tensor, "crops channels height width"]:
        """Bring several squares of a picture to the network's size, as `to_uint8` does with one.

        Args:
            image: A picture of any size and mode.
            num: How many squares at most, 1 to 9, see `square_boxes`; the first one is that of
                `to_uint8`. None chooses by the picture's size, but always one where the images are
                `bright_on_dark`: a stroke that is cut off is another sign.

        Returns:
            Values 0 to 255, shape (crops, num_channels, image_size, image_size), on the CPU.

        Raises:
            ValueError: If `num` is out of range.
        """
        if num is None and self.bright_on_dark:
            num = 1
        image = to_gray_or_rgb(image).convert("L" if self.num_channels == 1 else "RGB")
        size = (self.image_size, self.image_size)
        boxes = square_boxes(*image.size, num=num, image_size=self.image_size)
        # One call cuts and resizes: the whole picture at the new size is never made, which for a
        # 1 x 10,000 strip would be large.
        squares = [
            image
            if image.size == size and box == (0, 0, *size)
            else image.resize(size, PIL.Image.Resampling.BICUBIC, box=box)
            for box in boxes
        ]
        pixels = torch.stack([torch.from_numpy(np.array(square)) for square in squares])
        pixels = pixels[:, None] if self.num_channels == 1 else pixels.permute(0, 3, 1, 2)
        pixels = pixels.contiguous()
        # The whole square tells ink from paper; a part of it may be all ink.
        if self.bright_on_dark and _border_is_brighter(pixels[0]):
            pixels = 255 - pixels
        return pixels

    def normalize(
        self, images: UInt8[Tensor, "batch channels height width"]
    ) -> Float32[Tensor, "batch channels height width"]:
        """Scale 8-bit images to (images / 255 - mean) / std.

        Args:
            images: Values 0 to 255, on any device.

        Returns:
            float32 on the same device, contiguous, with a single channel too.
        """
        return normalized(images, self.mean, self.std)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types; `from_dict` is the inverse."""
        fields = dataclasses.asdict(self)
        return fields | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Preprocessing":
        """Rebuild what `to_dict` returned.

        Args:
            fields: All fields of this class, and no other key.

        Returns:
            An equal object.

        Raises:
            ValueError: If a field is missing, unknown or out of range.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        if set(fields) != names:
            wrong = sorted(names.symmetric_difference(fields))
            raise ValueError(
                f"`fields` must have the keys {sorted(names)}; missing or new: {wrong}."
            )
        values = {name: fields[name] for name in names}
        try:
            values["mean"] = tuple(float(value) for value in fields["mean"])
            values["std"] = tuple(float(value) for value in fields["std"])
        except TypeError:
            raise ValueError(f"`fields` must hold lists for mean and std, got {fields}.") from None
        return cls(**values)


def normalized(
    images: UInt8[Tensor, "batch channels height width"],
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Float32[Tensor, "batch channels height width"]:
    """Return (images / 255 - mean) / std as float32, contiguous, on the images' device."""
    scale, shift = _scale_and_shift(mean, std, images.device)
    # An `images.float()` would keep whatever strides the images have, and convolutions choose
    # their layout by strides; a fresh tensor has those of a contiguous one.
    result = torch.empty(images.shape, dtype=torch.float32, device=images.device)
    result.copy_(images)
    return result.mul_(scale).add_(shift)


@functools.cache  # A copy to the device at each batch would make the host wait for the device.
def _scale_and_shift(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[Float32[Tensor, "1 channels 1 1"], Float32[Tensor, "1 channels 1 1"]]:
    with torch.inference_mode(False):  # Kept beyond the mode of whoever asks first.
        scale = torch.tensor([1 / (255 * s) for s in std], dtype=torch.float32)
        shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], dtype=torch.float32)
        return scale.view(1, -1, 1, 1).to(device), shift.view(1, -1, 1, 1).to(device)


def _border_is_brighter(pixels: UInt8[Tensor, "channels height width"]) -> bool:
    height, width = pixels.shape[1:]
    border = max(1, min(height, width) // 14)  # 2 of MNIST's 28 pixels: digits keep off it.
    if min(height, width) <= 2 * border:
        return False
    values = pixels.to(torch.float64)
    middle = values[:, border:-border, border:-border]
    border_mean = (values.sum() - middle.sum()) / (values.numel() - middle.numel())
    return bool(border_mean > middle.mean())
