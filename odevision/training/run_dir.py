"""The directory of a run: opened fresh, or opened again to resume."""

import contextlib
import dataclasses
import itertools
import logging
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from odevision.training.atomic import write_synced
from odevision.training.checkpoint import newest_checkpoint
from odevision.training.config import TrainConfig, from_yaml, to_yaml

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
LOCK_FILE = ".lock"
MAY_CHANGE = (
    "device",
    "data_root",
    "data.num_workers",
    "data.cache_dir",
    "log_every_steps",
    "max_minutes",
    "checkpoint_every_minutes",
    "out",
)
"""Fields that a resumed run may change: none of them changes the weights of a run on one device."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """An open run.

    Args:
        path: its directory.
        checkpoint: where to go on from; None starts at the beginning.
    """

    path: Path
    checkpoint: Path | None


def default_run_dir(recipe: str, root: str | Path = "runs") -> Path:
    """Choose a new directory for a run.

    Args:
        recipe: name of the recipe.
        root: folder of all runs.

    Returns:
        root/RECIPE, or root/RECIPE-2 and so on if it is taken.
    """
    candidates = (f"{recipe}-{i}" if i > 1 else recipe for i in itertools.count(1))
    return next(path for name in candidates if not (path := Path(root) / name).exists())


def resume_command(config: TrainConfig, run_dir: Path) -> str:
    """Write the command that goes on with a run.

    Args:
        config: of the run.
        run_dir: its directory.

    Returns:
        A shell command.
    """
    return (
        f"odevision train {shlex.quote(config.recipe)} --out {shlex.quote(str(run_dir))} --resume"
    )


def read_run_config(run_dir: str | Path) -> TrainConfig:
    """Read the config that a run was started with.

    Args:
        run_dir: its directory.

    Returns:
        The config.

    Raises:
        ValueError: if the directory holds no run, or its config is broken.
    """
    file = Path(run_dir) / CONFIG_FILE
    try:
        return from_yaml(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(
            f"`out` must be the directory of a run to resume it, got {run_dir}, which has no "
            f"{CONFIG_FILE}. Leave out --resume to start one."
        ) from None
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _flat_fields(config: Any, prefix: str = "") -> dict[str, object]:
    """Return a config's fields by dotted names, as options have them, whatever they hold.

    Args:
        config: a dataclass.
        prefix: before the names.
    """
    fields: dict[str, object] = {}
    for field in dataclasses.fields(config):
        name, value = f"{prefix}{field.name}", getattr(config, field.name)
        if dataclasses.is_dataclass(value):  # two kinds may have the same fields
            fields |= {name: type(value).__name__, **_flat_fields(value, f"{name}.")}
        else:
            fields[name] = value
    return fields


def open_run(config: TrainConfig, *, resume: bool) -> Run:
    """Choose a run's directory, or find where an existing run goes on. Writes nothing.

    Args:
        config: of the run.
        resume: go on with the run in `config.out`.

    Returns:
        The run.

    Raises:
        ValueError: if there is nothing to resume, the config differs from the run's in more than
            `MAY_CHANGE`, or the directory of a new run is in use.
    """
    if config.out == "":
        raise ValueError("`out` must be a directory, got ''. Try --out runs/NAME, or leave it out.")
    if not resume:
        path = Path(config.out) if config.out else default_run_dir(config.recipe)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ValueError(
                f"`out` must be a new or empty directory, got {path}. Go on with the run in it by "
                "--resume, or choose another --out."
            )
        return Run(path=path, checkpoint=None)
    if config.out is None:
        raise ValueError("`out` must be given to resume, got None. Try --out runs/NAME --resume.")
    path = Path(config.out)
    stored = read_run_config(path)
    before, now = _flat_fields(stored), _flat_fields(config)
    changed = [
        name
        for name in before | now
        if name not in MAY_CHANGE and before.get(name) != now.get(name)
    ]
    if changed:
        name = changed[0]
        raise ValueError(
            f"`{name}` must stay as it was to resume {path}: it was {before.get(name)}, got "
            f"{now.get(name)}. Only {', '.join(MAY_CHANGE)} may change; start a new run "
            "with another --out instead."
        )
    checkpoint = newest_checkpoint(path)
    if checkpoint is None:
        logger.warning("%s has no checkpoint yet: starting at the first step", path)
    return Run(path=path, checkpoint=checkpoint)


@contextlib.contextmanager
def claim_run(run: Run, config: TrainConfig, *, resume: bool) -> Iterator[Run]:
    """Hold the run's directory for this process alone; a new one is made, with its config.yaml.

    Called when data and model are ready: a mistake found before leaves no directory behind.

    Args:
        run: from `open_run`.
        config: of the run.
        resume: as for `open_run`.

    Yields:
        The run; in another directory of the recipe's name where a run that was started at the same
        time was faster.

    Raises:
        OSError: if the directory cannot be written.
        ValueError: if another training works in it, or did since `open_run` looked at it.
    """
    if not resume:
        run = _make_directory(run, config)
    with _lock(run.path):
        if newest_checkpoint(run.path) != run.checkpoint:
            raise ValueError(
                f"`out` must be the directory of a run that nobody goes on with, got {run.path}, "
                "in which another training saved meanwhile. Try the same command again."
            )
        yield run


@contextlib.contextmanager
def _lock(run_dir: Path) -> Iterator[None]:
    lock = FileLock(run_dir / LOCK_FILE)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ValueError(
            f"`out` must be the directory of a run that nobody goes on with, got {run_dir}, in "
            "which another training is at work. Stop that one first, or choose another --out."
        ) from None
    except NotImplementedError:
        logger.warning("%s: files cannot be locked there; keep other trainings out", run_dir)
    try:
        yield
    finally:
        lock.release()


def _make_directory(run: Run, config: TrainConfig) -> Run:
    """Make the directory of a new run with its config, in one go; the first one there has it."""
    while True:
        run.path.mkdir(parents=True, exist_ok=True)
        file = run.path / CONFIG_FILE
        try:
            file.touch(exist_ok=False)
        except FileExistsError:
            if config.out is not None:
                raise ValueError(
                    f"`out` must be a new or empty directory, got {run.path}, in which another run "
                    "began meanwhile. Try another --out."
                ) from None
            run = dataclasses.replace(run, path=default_run_dir(config.recipe))
            continue
        try:
            write_synced(file, to_yaml(config).encode())
        except OSError:  # a full disk: the directory can be used once there is room
            file.unlink(missing_ok=True)
            raise
        return run
