"""Where words go: results to stdout, everything else to stderr."""

import contextlib
import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from odevision.cli.errors import UsageError

_PLAIN_WIDTH = 140
"""Columns of a table written to a file or a pipe, where there is no screen to fit."""


def results_console() -> Console:
    """Return the console for results (stdout)."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)


def notes_console() -> Console:
    """Return the console for progress, notes and errors (stderr)."""
    return Console(stderr=True, highlight=False)


def say_error(message: str) -> None:
    """Write an error to stderr, as plain text: no wrapping, so that it can be searched."""
    print(f"error: {message}", file=sys.stderr)


class _NotesHandler(logging.Handler):
    """Writes a log message to stderr in one line, so that it can be searched."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            level = Text(f"{record.levelname:8}", f"logging.level.{record.levelname.lower()}")
            notes_console().print(level.append(f" {record.getMessage()}", ""), soft_wrap=True)
        except Exception:
            self.handleError(record)


def set_up_logging() -> None:
    """Show the library's log messages on stderr; called once, more calls change nothing."""
    logger = logging.getLogger("odevision")
    if not any(isinstance(handler, _NotesHandler) for handler in logger.handlers):
        logger.addHandler(_NotesHandler())
        logger.setLevel(logging.INFO)


def _finite(value: Any) -> Any:
    """Replace numbers that JSON does not have (nan, infinities) by null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def folder_to_write(path: str | Path) -> Path:
    """Make a folder for results, before the work whose results it takes.

    Args:
        path: of the folder.

    Raises:
        UsageError: it cannot be made, or not be written.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"`--out` must be a folder that can be made, got {folder}: {error.strerror}"
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"`--out` must be a folder that can be written, got {folder}")
    return folder


def write_json(document: Any) -> None:
    """Write one JSON document to stdout; nan and infinities become null."""
    text = json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False)
    # Bytes, so that a path with unusual letters is right under any locale; bytes of a name that are
    # no letters become escapes of JSON, which os.fsencode turns back.
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:
        print(text)
        return
    sys.stdout.flush()
    buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    buffer.flush()


@contextlib.contextmanager
def only_results_on_stdout() -> Iterator[None]:
    """Send to stderr what libraries print, so that stdout holds the document alone."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def unused_names() -> Callable[[str], str]:
    """Return a function from a name to one that it has not given before: a, a-2, a-3."""
    used: set[str] = set()

    def choose(name: str) -> str:
        number, free = 1, name
        while free in used:
            number += 1
            free = f"{name}-{number}"
        used.add(free)
        return free

    return choose
