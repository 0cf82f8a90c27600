"""Reasons to stop early: Ctrl-C, a request to terminate, the end of the time that was given."""

import logging
import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any

logger = logging.getLogger(__name__)


class StopRequest:
    """Inside `with`, Ctrl-C (SIGINT) and SIGTERM ask the loop to stop after the present step.

    A second signal acts at once, as it would without this. In a thread other than the main one
    signals cannot be caught; there it never asks.
    """

    def __init__(self) -> None:
        """Nothing was asked for yet."""
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopRequest":
        """Catch the signals."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        self._restore()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()
        logger.info("%s: stopping after this step", signal.Signals(number).name)

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)


class Deadline:
    """The end of the time that was given, counted from now.

    Args:
        max_minutes: None means no end.
    """

    def __init__(self, max_minutes: float | None) -> None:
        """Start the clock."""
        self._started = time.monotonic()
        self._seconds = None if max_minutes is None else max_minutes * 60

    def allows(self, seconds: float) -> bool:
        """Tell whether something can still be done in time.

        Args:
            seconds: how long it will take.

        Returns:
            True if it would end before the deadline.
        """
        if self._seconds is None:
            return True
        return time.monotonic() - self._started + seconds <= self._seconds
