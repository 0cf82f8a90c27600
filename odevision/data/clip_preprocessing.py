"""The one path from a video to a network's input, shared by training, evaluation and streams."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.nn import functional as F

from odevision.data.preprocessing import normalized
from odevision.data.video_times import check_rate

CLIP_KIND = "clips"
"""What the plain form of a `ClipPreprocessing` has under `kind`; that of images has no kind."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipPreprocessing:
    """How the frames of a video become a network's input; stored with the weights.

    Args:
        height: Of the network's frames, in pixels.
        width: Likewise.
        rate: Frames a second that the network looks at; of a faster video, the first frame of each
            1 / rate seconds.
        mean: Mean of each channel, as a fraction of white; subtracted.
        std: Standard deviation of each channel, likewise; divided by.
    """

    height: int
    width: int
    rate: float
    mean: tuple[float, ...] = (0.45, 0.45, 0.45)
    std: tuple[float, ...] = (0.225, 0.225, 0.225)

    def __post_init__(self) -> None:
        """Validate."""
        for name in ("height", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1 pixel, got {getattr(self, name)}.")
        check_rate(self.rate)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3 or not all(map(math.isfinite, values)):
                raise ValueError(f"`{name}` must have three finite numbers, got {values}.")
        if min(self.std) <= 0:
            raise ValueError(f"`std` must be positive, got {self.std}.")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width; a reader's `cover`, so that FFmpeg does most of the scaling."""
        return self.height, self.width

    def to_uint8(
        self, image: UInt8[Tensor, "3 height width"]
    ) -> UInt8[Tensor, "3 new_height new_width"]:
        """Bring a frame to the network's size.

        The largest centered rectangle of the network's aspect is cut out and resized, with
        antialiasing: nothing is stretched. A frame of the right size is returned as it is.

        Args:
            image: Values 0 to 255, of any size.
        """
        height, width = image.shape[1:]
        scale = min(height / self.height, width / self.width)
        rows = min(height, max(1, round(scale * self.height)))
        columns = min(width, max(1, round(scale * self.width)))
        top, left = (height - rows) // 2, (width - columns) // 2
        image = image[:, top : top + rows, left : left + columns]
        if (rows, columns) == self.size:
            return image
        return F.interpolate(image[None], self.size, mode="bilinear", antialias=True)[0]

    def normalize(
        self, frames: UInt8[Tensor, "*many channels height width"]
    ) -> Float32[Tensor, "*many channels height width"]:
        """Scale 8-bit frames to (frames / 255 - mean) / std.

        Args:
            frames: Values 0 to 255, on any device.

        Returns:
            float32 on the same device, contiguous.
        """
        flat = normalized(frames.reshape(-1, *frames.shape[-3:]), self.mean, self.std)
        return flat.view(frames.shape)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types; `from_dict` is the inverse."""
        fields = dataclasses.asdict(self)
        return {"kind": CLIP_KIND} | fields | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "ClipPreprocessing":
        """Rebuild what `to_dict` returned.

        Args:
            fields: All fields of this class and the kind, and no other key.

        Raises:
            ValueError: If a field is missing, unknown or out of range.
        """
        values = {name: value for name, value in fields.items() if name != "kind"}
        names = {field.name for field in dataclasses.fields(cls)}
        if set(values) != names or fields.get("kind") != CLIP_KIND:
            wrong = sorted(names.symmetric_difference(values))
            raise ValueError(
                f"`fields` must have the keys {sorted(names)} and kind = {CLIP_KIND!r}; missing or "
                f"new: {wrong}."
            )
        try:
            values["mean"] = tuple(float(value) for value in fields["mean"])
            values["std"] = tuple(float(value) for value in fields["std"])
        except TypeError:
            raise ValueError(f"`fields` must hold lists for mean and std, got {fields}.") from None
        return cls(**values)
