"""The times of frames, made finite and rising however broken those in a file are."""

import math

from odevision.types import Number

JUMP_SECONDS = 1.0
"""A time that falls back further than this is a clock that started anew, not jitter."""


def check_rate(rate: Number, name: str = "rate") -> None:
    """Refuse a rate that is not a positive number of frames a second."""
    if not 0 < rate < math.inf:
        raise ValueError(f"`{name}` must be above 0 frames a second, got {rate}. Try 25.")


class RisingTimes:
    """Repairs the times of frames one by one, as they come.

    Args:
        rate: Frames a second, by which a missing or repeated time is made up.

    Attributes:
        num_repaired: Times so far that were missing or did not rise.
    """

    def __init__(self, rate: Number) -> None:
        """Start before the first frame."""
        self._gap = 1 / rate
        self._shift = 0.0
        self._latest_stated: float | None = None
        self._latest: float | None = None
        self.num_repaired = 0

    def repair(self, seconds: float | None) -> float:
        """Return the time of the next frame.

        Args:
            seconds: What the file says; None if nothing.

        Returns:
            That, if it is later than the frame before. A time that is missing, repeated or earlier
            becomes the frame before plus one frame's duration. If the file's clock fell by more
            than `JUMP_SECONDS`, it started anew: all later times are shifted along.
        """
        stated = seconds if seconds is not None and math.isfinite(seconds) else None
        fell_by = 0.0
        if stated is not None:
            fell_by = 0.0 if self._latest_stated is None else self._latest_stated - stated
            self._latest_stated = stated
        if self._latest is None:
            self.num_repaired += stated is None
            self._latest = 0.0 if stated is None else stated
            return self._latest
        due = self._latest + self._gap
        if stated is not None and fell_by > JUMP_SECONDS:
            self._shift = due - stated
        if stated is not None and stated + self._shift > self._latest and fell_by <= JUMP_SECONDS:
            self._latest = stated + self._shift
        else:
            self.num_repaired += 1
            self._latest = due
        return self._latest
