"""Where checkpoints lie: a run's newest one, a given directory, or shipped weights by name."""

import os
import re
from pathlib import Path

from odevision.training.strict import did_you_mean

_NAME = re.compile(r"(\.old-)?step-(\d+)")


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or does not fit."""


class CheckpointWriteError(OSError):
    """A checkpoint could not be written, mostly because the disk is full."""


def checkpoints_folder(run_dir: Path) -> Path:
    """Name the folder with a run's checkpoints.

    Args:
        run_dir: directory of the run.

    Returns:
        The folder, which need not exist.
    """
    return run_dir / "checkpoints"


def checkpoint_directories(run_dir: Path) -> list[Path]:
    """List a run's whole checkpoints.

    Each was renamed into place after it was synced, so its name means that it is whole. A
    checkpoint on its way out (`.old-`) still counts: a crash may have come before its replacement.

    Args:
        run_dir: directory of the run.

    Returns:
        Directories, oldest first.
    """
    folder = checkpoints_folder(run_dir)
    if not folder.is_dir():
        return []
    found = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    ordered = sorted(found, key=lambda item: (int(item[0][2]), item[0][1] is None))
    return [path for _, path in ordered if path.is_dir()]


def newest_checkpoint(run_dir: str | Path) -> Path | None:
    """Find the newest whole checkpoint of a run.

    Args:
        run_dir: directory of the run.

    Returns:
        The checkpoint directory, or None if there is none yet.
    """
    directories = checkpoint_directories(Path(run_dir))
    return directories[-1] if directories else None


def _weights_folder() -> Path:
    return Path(__file__).resolve().parents[1] / "weights"


def list_weights() -> list[str]:
    """List the trained networks that ship with the package.

    Returns:
        Names that `load_checkpoint` takes, sorted.
    """
    folder = _weights_folder()
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if (path / "card.json").is_file())


def find_checkpoint(model_ref: str | Path) -> Path:
    """Find the checkpoint directory that a user means.

    Args:
        model_ref: run directory, checkpoint directory or name of shipped weights. A directory of
            that name wins if there is a checkpoint in it, so that a folder with data called
            `mnist` does not hide the weights `mnist`.

    Returns:
        The checkpoint directory.

    Raises:
        CheckpointError: naming what was looked at and the shipped names.
    """
    path = Path(model_ref)
    if (path / "card.json").is_file():
        return path
    newest = newest_checkpoint(path)
    if newest is not None:
        return newest
    name = str(model_ref)
    shipped = list_weights()
    if name in shipped:
        return _weights_folder() / name
    if path.is_dir():
        inside = "a checkpoint without its card.json" if any(path.glob("*.safetensors")) else ""
        unfinished = "a run that has not saved a checkpoint yet; go on with it by --resume"
        inside = inside or (unfinished if (path / "config.yaml").is_file() else "no checkpoint")
        raise CheckpointError(f"{path} holds {inside}.")
    if path.is_file():
        raise CheckpointError(f"{path} is a file. Give the directory it lies in.")
    if os.sep in name or name.startswith("."):
        raise CheckpointError(f"There is no directory {path}. Give a run or checkpoint directory.")
    raise CheckpointError(
        f'There is no directory "{name}" and no weights of that name. {did_you_mean(name, shipped)}'
    )
