"""Read many files on several threads (decoders release the interpreter lock), and name the bad."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from odevision.data.image import ImageReadError


def read_many(
    paths: Sequence[Path],
    read: Callable[[int, Path], object],
    *,
    kind: str,
    total: int | None = None,
) -> None:
    """Call `read` with the position and the path of each file.

    Args:
        paths: The files.
        read: Raises an `ImageReadError` for a file that cannot be read.
        kind: What the files are, for the message.
        total: Files of the set they are from, for the message; None if they are all of it.

    Raises:
        ValueError: If any cannot be read; all such files are named.
    """

    def attempt(position: int) -> ImageReadError | None:
        try:
            read(position, paths[position])
        except ImageReadError as error:
            return error
        return None

    with ThreadPoolExecutor(max_workers=min(16, os.cpu_count() or 1)) as pool:
        errors = [error for error in pool.map(attempt, range(len(paths))) if error is not None]
    # Skipping them was rejected: the split would depend on which files happen to be readable, and
    # a run could not be resumed exactly after a repair.
    if errors:
        names = "\n".join(f"  {error}" for error in errors)
        raise ValueError(
            f"{len(errors)} of {total or len(paths)} {kind} cannot be read:\n{names}\n"
            "Try repairing, replacing or removing these files."
        )
