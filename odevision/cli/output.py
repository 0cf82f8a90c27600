"""Where words go: results to stdout, everything else to stderr."""

import contextlib
import json
import logging
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.logging import RichHandler

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


def set_up_logging() -> None:
    """Show the library's log messages on stderr; called once, more calls change nothing."""
    logger = logging.getLogger("odevision")
    if not any(isinstance(handler, RichHandler) for handler in logger.handlers):
        handler = RichHandler(
            console=notes_console(), show_time=False, show_path=False, markup=False
        )
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
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
