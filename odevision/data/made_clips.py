"""Sets whose clips are made, each from a number: their splits, labels, times and seeds."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from odevision.data.hashing import hash_integer

Split = Literal["train", "validation", "test"]

_SPLIT_SEED = {"train": 1, "validation": 1, "test": 2}


class MadeClips:
    """What `ClipSource`s have in common whose clips are made when asked for.

    Clip k is the same in every run and on every machine.

    Args:
        split: "train", "validation" (carved out of train) or "test".
        indices: Numbers of its clips within the official split; the class is the number modulo the
            number of classes.
    """

    class_names: tuple[str, ...]
    num_frames: int
    frames_per_second: float

    def __init__(self, split: Split, indices: Int64[Tensor, " num"]) -> None:
        """Keep both."""
        self.split: str = split
        self.indices = indices
        self.labels = indices % len(self.class_names)

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.indices)

    def seconds(self, index: int) -> Float64[Tensor, " frames"]:
        """Return the times of a clip's frames."""
        del index
        return torch.arange(self.num_frames, dtype=torch.float64) / self.frames_per_second

    def seed(self, index: int) -> int:
        """Return the seed of all that is random in a clip."""
        return hash_integer(_SPLIT_SEED[self.split], int(self.indices[index]))


def made_clips(
    split: Split,
    num: Mapping[str, int],
    *,
    validation_fraction: float,
    limit: int | None,
) -> Int64[Tensor, " num"]:
    """Return the numbers of a split's clips within its official split.

    Args:
        split: "train" and "validation" divide the official training clips.
        num: Clips of the official splits "train" and "test".
        validation_fraction: Share of the training clips, the last of them, for validation, in
            (0, 1).
        limit: At most this many clips.

    Raises:
        ValueError: If the fraction is out of range.
    """
    if not 0 < validation_fraction < 1:
        raise ValueError(
            f"`validation_fraction` must be between 0 and 1 (both excluded), got "
            f"{validation_fraction}. Try 0.1."
        )
    numbers = torch.arange(num["test" if split == "test" else "train"])
    if split != "test":
        num_training = round((1 - validation_fraction) * len(numbers))
        numbers = numbers[:num_training] if split == "train" else numbers[num_training:]
    return numbers[:limit]
