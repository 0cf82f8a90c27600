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
        self._fell_from: tuple[float, float] | None = None
        self._latest_stated: float | None = None
        self._latest: float | None = None
        self.num_repaired = 0

    def repair(self, seconds: float | None) -> float:
        """Return the time of the next frame.

        Args:
            seconds: What the file says; None if nothing.

        Returns:
            That, if it is later than the frame before. A time that is missing, repeated or earlier
            becomes the frame before plus one frame's duration, or plus what the file's clock rose
            by if that is less. If the file's clock fell by more than `JUMP_SECONDS`, it started
            anew: all later times are shifted along, unless the next goes on where the clock had
            been, as after a single wrong time.
        """
        stated = seconds if seconds is not None and math.isfinite(seconds) else None
        rose_by = 0.0
        if stated is not None:
            rose_by = 0.0 if self._latest_stated is None else stated - self._latest_stated
            self._latest_stated = stated
        if self._latest is None:
            self.num_repaired += stated is None
            self._latest = 0.0 if stated is None else stated
            return self._latest
        due = self._latest + (min(self._gap, rose_by) if rose_by > 0 else self._gap)
        if stated is not None:
            if rose_by < -JUMP_SECONDS:
                self._fell_from = self._shift, self._latest
                self._shift = due - stated
            elif self._fell_from is not None:
                shift, latest = self._fell_from
                if 0 < stated + shift - latest <= JUMP_SECONDS + 2 * self._gap:
                    self._shift = shift
                self._fell_from = None
        if stated is not None and rose_by >= -JUMP_SECONDS and stated + self._shift > self._latest:
            self._latest = stated + self._shift
        else:
            self.num_repaired += 1
            self._latest = due
        return self._latest
