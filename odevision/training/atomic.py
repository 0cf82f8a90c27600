"""Write a directory so that a crash at any moment leaves either the old one or the new one."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

TEMPORARY_PREFIX = ".tmp-"
REPLACED_PREFIX = ".old-"


def write_directory(target: Path, files: Mapping[str, bytes]) -> None:
    """Write `files` under a temporary name, sync them to the disk, then rename the directory.

    Content comes as bytes, not as writers: the archive writers of torch and safetensors report a
    full disk in words of their own, or from a destructor; a plain write reports it as OSError.

    A directory cannot be renamed over a full one. An existing `target` is therefore moved to
    `.old-NAME` first, which readers accept in its place, and deleted after the rename.

    Args:
        target: final directory; its parent is made if missing.
        files: file name -> content.

    Raises:
        OSError: if the disk is full or not writable; nothing is left behind, `target` unchanged.
    """
    parent = target.parent
    parent.mkdir(parents=True, exist_ok=True)
    temporary = parent / f"{TEMPORARY_PREFIX}{target.name}"
    replaced = parent / f"{REPLACED_PREFIX}{target.name}"
    shutil.rmtree(temporary, ignore_errors=True)  # what a killed process left
    try:
        temporary.mkdir()
        for name, content in files.items():
            write_synced(temporary / name, content)
        sync_directory(temporary)
        if target.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            os.rename(target, replaced)
        os.rename(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if replaced.exists() and not target.exists():
            os.rename(replaced, target)
        raise
    sync_directory(parent)
    shutil.rmtree(replaced, ignore_errors=True)


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it.

    Args:
        path: the file.
        content: its whole content.

    Raises:
        OSError: if the disk is full or not writable.
    """
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Make the names inside a directory durable; without this a rename may be lost on power loss.

    Args:
        path: the directory.
    """
    if os.name == "nt":  # Windows cannot open a directory, and orders renames itself
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
