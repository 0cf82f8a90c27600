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
    rename the card has no calibration, and files are deleted behind it, so that a crash at any
    moment leaves a card with all that belongs to it.

    Args:
        path: checkpoint directory.
        card: the new card.
        files: name -> content of further files, added or replaced; None deletes one.

    Raises:
        CheckpointWriteError: if it cannot be written; the checkpoint is as it was then, or without
            its calibration.
    """
    bare = dataclasses.replace(card, calibration={})
    contents = [
        (CARD_FILE, bare.to_json().encode()),
        *((name, content) for name, content in files.items() if content is not None),
        (CARD_FILE, card.to_json().encode()),
    ]
    new = [
        (path / f"{TEMPORARY_PREFIX}{index}-{name}", path / name, content)
        for index, (name, content) in enumerate(contents)
    ]
    left = "It is unchanged"
    try:
        for temporary, _, content in new:
            write_synced(temporary, content)
        left = "It may have lost its calibration"
        for temporary, target, _ in new:
            os.replace(temporary, target)
        for name in (name for name, content in files.items() if content is None):
            (path / name).unlink(missing_ok=True)
        sync_directory(path)
    except OSError as error:
        raise CheckpointWriteError(
            f"Cannot add to the checkpoint {path}: {error.strerror or error}. {left}. Copy "
            "it to a place that can be written, and give the copy."
        ) from error
    finally:
        for temporary, _, _ in new:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
