"""Which files are meant by files, folders and glob patterns."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path


def find_files(
    paths: Sequence[str | Path], suffixes: tuple[str, ...], *, kind: str = "images"
) -> list[Path]:
    """List the files of a kind that are meant by files, folders and glob patterns.

    Args:
        paths: Files are listed as they are, also missing or unreadable ones, so that whoever reads
            them can report them by name. A folder stands for all files of the kind in and below it,
            sorted; a glob pattern (`*`, `?`, `[...]`, `**` for any depth) for the files and the
            folders that match it. Hidden files are left out of folders.
        suffixes: Endings of the kind, in lower case.
        kind: What they are, for messages.

    Returns:
        Files in the order of `paths`.

    Raises:
        ValueError: If a folder or a pattern holds no such file.
    """
    found: list[Path] = []
    for path in paths:
        if os.path.isdir(path):
            files = list_files(path, suffixes)
        elif glob.has_magic(str(path)) and not os.path.exists(path):
            matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
            folders = [] if "**" in str(path) else [match for match in matches if match.is_dir()]
            files = [m for m in matches if _has_ending(m.name, suffixes) and m.is_file()]
            files += [file for folder in folders for file in list_files(folder, suffixes)]
            if "**" in str(path):
                files = _once(files)
        else:
            files = [Path(path)]
        if not files:
            what = "folder" if os.path.isdir(path) else "pattern"
            raise ValueError(
                f"`paths` must name {kind}, got the {what} {str(path)!r}, which holds none. "
                f"Try a {what} with files that end in {', '.join(suffixes)}."
            )
        found += files
    return found


def list_files(folder: str | Path, suffixes: tuple[str, ...]) -> list[Path]:
    """List the files of a kind in and below a folder, sorted; hidden ones are left out.

    Args:
        folder: An existing folder.
        suffixes: Endings of the kind, in lower case.

    Returns:
        Paths that begin with `folder`; empty if there is none.

    Raises:
        OSError: If a folder cannot be read.
    """
    files: list[Path] = []

    def refuse(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [Path(parent, name) for name in names if _has_ending(name, suffixes)]
    return sorted(files)


def _once(files: list[Path]) -> list[Path]:
    """Without the longer of two ways to a file through linked folders, which may make circles."""
    place = lambda file: (os.path.realpath(file.parent), file.name)
    shortest_last = sorted(reversed(files), key=lambda file: -len(file.parts))
    kept = {place(file): file for file in shortest_last}
    return [file for file in files if kept[place(file)] is file]


def _has_ending(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes) and not name.startswith(".")
