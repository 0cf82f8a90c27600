"""Add what was measured later to a checkpoint that is there already."""

from collections.abc import Mapping
from pathlib import Path

from odevision.training.atomic import write_directory
from odevision.training.checkpoint import CARD_FILE, Card, CheckpointWriteError


def annotate_checkpoint(path: Path, card: Card, files: Mapping[str, bytes | None]) -> None:
    """Replace a checkpoint's card and small files; its weights and its state stay as they are.

    The directory is written anew and renamed into place, so that a crash at any moment leaves a
    card and files that belong together.

    Args:
        path: checkpoint directory.
        card: the new card.
        files: name -> content of further files, added or replaced; None deletes one.

    Raises:
        CheckpointWriteError: if it cannot be written; the checkpoint is unchanged then.
    """
    try:
        content = {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}
        content.update({name: new for name, new in files.items() if new is not None})
        kept = {name: old for name, old in content.items() if files.get(name, b"") is not None}
        write_directory(path, {**kept, CARD_FILE: card.to_json().encode()})
    except OSError as error:
        raise CheckpointWriteError(
            f"Cannot add to the checkpoint {path}: {error.strerror or error}. It is unchanged. "
            "Copy it to a place that can be written, and give the copy."
        ) from error
