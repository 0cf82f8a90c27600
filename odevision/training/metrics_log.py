"""metrics.jsonl and TensorBoard of a run."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
    """Appends events to `metrics.jsonl`, one JSON object a line, and their numbers to TensorBoard.

    A checkpoint stores how long the file was; a resumed run cuts it there, so that no step occurs
    twice however the first run ended.

    Args:
        run_dir: directory of the run.
        num_bytes: cut an existing file to this length first.
        step: steps taken so far; TensorBoard hides what an earlier run wrote after it.
    """

    def __init__(self, run_dir: Path, *, num_bytes: int = 0, step: int = 0) -> None:
        """Open both."""
        self.path = run_dir / METRICS_FILE
        self._file = open(self.path, "ab")
        self._file.truncate(min(num_bytes, self._file.tell()))
        self._file.seek(0, os.SEEK_END)
        from torch.utils.tensorboard.writer import SummaryWriter  # slow to import

        self._board = SummaryWriter(str(run_dir / "tensorboard"), purge_step=step + 1)

    def write(self, event: str, *, step: int, **values: Any) -> None:
        """Append one event.

        Args:
            event: `train` or `epoch`.
            step: steps taken.
            **values: numbers; None for what was not measured.

        Raises:
            OSError: naming the file, if it cannot be written.
        """
        line = json.dumps({"event": event, "step": step, **values}, allow_nan=False)
        try:
            self._file.write(line.encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise OSError(error.errno, f"Cannot write: {error.strerror}", str(self.path)) from error
        for name, value in values.items():
            if value is not None and name != "epoch":
                self._board.add_scalar(f"{event}/{name}", value, step)

    def sync(self) -> int:
        """Wait until the disk has all events.

        Returns:
            The length of metrics.jsonl in bytes.

        Raises:
            OSError: if the disk does not take them.
        """
        os.fsync(self._file.fileno())
        self._board.flush()
        return self._file.tell()

    def close(self) -> None:
        """Close both files; never raises OSError.

        What has to be on the disk was waited for by `sync`; a disk that is full has been reported
        by then, and a second error would hide that one.
        """
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._board.close()
