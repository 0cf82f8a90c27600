"""Which numbers the clips of a split have, of sets whose clips are made from a number."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Int64
from torch import Tensor


def made_clips(
    split: Literal["train", "validation", "test"],
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
