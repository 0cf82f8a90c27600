"""Add what was measured later to a checkpoint that is there already."""

import contextlib
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from odevision.training.atomic import TEMPORARY_PREFIX, sync_directory, write_synced
from odevision.training.checkpoint import CARD_FILE, Card, CheckpointWriteError


def annotate_checkpoint(path: Path, card: Card, files: Mapping[str, bytes | None]) -> None:
    """Replace a checkpoint's card and small files; whatever else is there stays as it is.

    All is written beside the old files first, then renamed into place one by one. Until the last
    rename the card has no calibration, so that a crash at any moment leaves a card and files that
    belong together.

    Args:
        path: checkpoint directory.
        card: the new card.
        files: name -> content of further files, added or replaced; None deletes one.

    Raises:
        CheckpointWriteError: if it cannot be written; the checkpoint is unchanged then.
    """
    bare = dataclasses.replace(card, calibration={})
    contents = [(name, content) for name, content in files.items() if content is not None]
    contents = [
        (CARD_FILE, bare.to_json().encode()), *contents, (CARD_FILE, card.to_json().encode())
    ]  # fmt: skip
    names = [f"{TEMPORARY_PREFIX}{index}-{name}" for index, (name, _) in enumerate(contents)]
    try:
        for name, (_, content) in zip(names, contents, strict=True):
            write_synced(path / name, content)
        os.replace(path / names[0], path / CARD_FILE)
        for name in (name for name, content in files.items() if content is None):
            (path / name).unlink(missing_ok=True)
        for name, (target, _) in zip(names[1:], contents[1:], strict=True):
            os.replace(path / name, path / target)
        sync_directory(path)
    except OSError as error:
        raise CheckpointWriteError(
            f"Cannot add to the checkpoint {path}: {error.strerror or error}. It is unchanged. "
            "Copy it to a place that can be written, and give the copy."
        ) from error
    finally:
        for name in names:
            with contextlib.suppress(OSError):
                (path / name).unlink(missing_ok=True)
