"""`exercises`: labeled clips of drawn people, made when asked for, with the classes of `ucf5`."""

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from odevision.data.exercises.body import draw_body
from odevision.data.exercises.drawing import draw_clip, draw_view
from odevision.data.exercises.draws import Draws
from odevision.data.exercises.movements import MOVEMENTS
from odevision.data.made_clips import MadeClips, Split, made_clips

EXERCISE_CLASSES = tuple(MOVEMENTS)

NUM_EXERCISES = {"train": 1_000, "test": 200}
"""Clips of each official split."""

_IS_CLOSE = (0.05, 0.6, 0.75, 0.2, 0.05)
"""How likely only the upper half of a person is to be seen, by class."""

_SEEN_FROM = ("anywhere", "side", "front", "anywhere", "anywhere")
"""Where most cameras stand, by class: jugglers face them, boxers face their bag."""


class ExerciseSet(MadeClips):
    """Clips of drawn people; a `ClipSource`.

    Args:
        split: As for `MadeClips`.
        indices: Likewise.
        size: Height and width of a frame, in pixels.
    """

    name: str = "exercises"
    class_names: tuple[str, ...] = EXERCISE_CLASSES
    num_frames = 64
    frames_per_second = 12.5

    def __init__(self, split: Split, indices: Int64[Tensor, " num"], size: tuple[int, int]) -> None:
        """Keep them; clips are drawn when asked for."""
        super().__init__(split, indices)
        self.size = size

    def frames(
        self, index: int, chosen: Int64[Tensor, " chosen"]
    ) -> UInt8[Tensor, "chosen 3 height width"]:
        """Draw some frames of a clip."""
        label, draws = int(self.labels[index]), Draws(self.seed(index))
        seconds = self.seconds(index)[chosen].float()
        body = draw_body(draws)
        limbs = MOVEMENTS[EXERCISE_CLASSES[label]](draws, seconds, body)
        view = draw_view(
            draws,
            seconds,
            body.height,
            self.size,
            seen_from=_SEEN_FROM[label] if draws.chance(0.85) else "anywhere",
            close=draws.chance(_IS_CLOSE[label]),
        )
        return draw_clip(draws, limbs, view, seconds)


def load_exercises(
    split: Split,
    size: tuple[int, int],
    *,
    validation_fraction: float = 0.1,
    limit: int | None = None,
) -> ExerciseSet:
    """Return a split.

    Args:
        split: "train" and "validation" divide the 1,000 training clips; "test" has 200.
        size: Height and width of a frame, in pixels.
        validation_fraction: Share of the training clips, the last of them, for validation, in
            (0, 1).
        limit: At most this many clips.

    Raises:
        ValueError: If the fraction is out of range.
    """
    numbers = made_clips(split, NUM_EXERCISES, validation_fraction=validation_fraction, limit=limit)
    return ExerciseSet(split, numbers, size)


def further_exercises(num: int, size: tuple[int, int], *, epoch: int) -> ExerciseSet:
    """Return training clips that are in no split, to be trained on beside videos.

    Args:
        num: How many.
        size: Height and width of a frame, in pixels.
        epoch: Counted from 0; each has clips of its own.
    """
    first = NUM_EXERCISES["train"] + epoch * num
    return ExerciseSet("train", torch.arange(first, first + num), size)
