"""`odevision train`: a recipe, its fields overridden at will, to a trained model."""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from odevision.training.checkpoint import LoadedModel
    from odevision.training.config import DataConfig, TrainConfig
    from odevision.training.loop import TrainResult

logger = logging.getLogger(__name__)

_USAGE = """\
usage: odevision train RECIPE [--data-root DIR] [--out RUN] [--resume] [--config F] [--FIELD VALUE]

Train a network. `odevision train RECIPE --help` lists every field with its value in that recipe.

recipes:
{recipes}

common options:
  --out RUN             directory of the run; by default runs/RECIPE, runs/RECIPE-2, ...
  --resume              go on with the run in --out (or the recipe's newest) where it was saved
  --config FILE         take the fields of a YAML file, such as the config.yaml of a run
  --data NAME|DIR       another data set; a folder of images or videos, DIR/train/CLASS/FILE;
                        a CSV list of videos
  --data.image-size N   size of a folder's images; `train folder` scales the network with it
  --data-root DIR       folder where data sets lie
  --model.name NAME     another network (see `odevision models`)
  --epochs N            passes over the training images
  --max-minutes X       stop in time and save
  --device NAME         auto, cpu, cuda or mps
  --seed N              of weights, order and augmentation
  --precision NAME      fp32 or bf16

examples:
  odevision train mnist-mini
  odevision train mnist --data-root data --epochs 3 --optimizer.learning-rate 0.002
  odevision train folder --data photos --data.image-size 96
  odevision train folder --data photos --model.name backbone-ode --model.freeze-backbone
  odevision train --config runs/mnist/config.yaml --out runs/again
  odevision train mnist --out runs/mnist --resume
"""

_DESCRIPTION = """\
Train by the recipe {recipe}. Beside the fields below: --config FILE, --resume, --data NAME|DIR,
--model.name NAME; see `odevision train --help`.
"""


_CALIBRATION_LIMIT = 10_000
"""Validation images that the end of a training is calibrated on: more change little, and take long
at the size of ImageNet."""


def _print_usage() -> None:
    from odevision.cli.listing import list_recipes

    entries = list_recipes()
    width = max(map(len, entries), default=0)
    lines = [f"  {name:<{width}}  {text}" for name, text in entries.items()]
    print(_USAGE.format(recipes="\n".join(lines)), end="")


def _write_examples(config: "TrainConfig", data: "DataConfig", run_dir: Path) -> Path | None:
    """Write a few validation images into the run, so that `predict` can be tried at once."""
    from odevision.data.sources import load_split
    from odevision.evaluation.examples import write_examples

    folder = run_dir / "examples"
    try:
        image_set = load_split(
            data.name,
            "validation",
            data_root=config.data_root,
            validation_fraction=data.validation_fraction,
            image_size=data.image_size,
            limit=5,
        )
        return folder if write_examples(image_set, folder) else None
    except (OSError, ValueError) as error:
        # The run is trained and saved: examples are not worth a failure.
        logger.warning("No example images were written: %s", error)
        return None


def _calibrate(config: "TrainConfig", loaded: "LoadedModel") -> None:
    """Calibrate the trained network on its validation images; say what came of it."""
    from odevision.cli.calibrate import CalibrateOptions, calibrate_and_write

    options = CalibrateOptions(
        model=str(loaded.path),
        data_root=config.data_root,
        limit=min(config.data.limit or _CALIBRATION_LIMIT, _CALIBRATION_LIMIT),
        device=config.device,
        batch_size=min(config.data.batch_size, CalibrateOptions.batch_size),
    )
    try:
        calibration = calibrate_and_write(loaded, options)[1].calibration
    except (OSError, ValueError, RuntimeError) as error:  # the latter for memory, and for solves
        # The run is trained and saved: it is usable as it is.
        logger.info("The model was not calibrated: %s", error)
        return
    print(
        f"Calibrated: calibration error {calibration.ece_before:.2%}, now "
        f"{calibration.ece_after:.2%}; `unknown` below {calibration.unknown_score} "
        f"{calibration.unknown_threshold:.3g}."
    )


def _note_consistency(config: "TrainConfig", loaded: "LoadedModel") -> None:
    """Write to the card how the answers hold under finer solves; say what came of it."""
    from odevision.cli.progress import batch_progress
    from odevision.evaluation.held_out import note_consistency

    try:
        with batch_progress("solving more finely") as on_batch:
            variants = note_consistency(
                loaded,
                data_root=config.data_root,
                cache_dir=getattr(config.data, "cache_dir", None),
                limit=config.data.limit,
                # Videos are answered whole, whatever part of them was trained on.
                batch_size=min(config.data.batch_size, 8 if loaded.takes_videos else 256),
                on_batch=on_batch,
            )
    except (OSError, ValueError, RuntimeError) as error:
        logger.info("The model was not solved more finely: %s", error)
        return
    if variants:
        changed = ", ".join(f"{one.changed_share:.1%} under {one.name}" for one in variants)
        print(f"Validation answers that change: {changed}.")


def _next_video_commands(config: "TrainConfig", run_dir: Path) -> list[str]:
    run = shlex.quote(str(run_dir))
    root = f" --data-root {shlex.quote(config.data_root)}" if config.data_root else ""
    return [
        f"odevision evaluate {run}{root} --rates --watched",
        f"odevision predict {run} video.mp4",
    ]


def _next_commands(config: "TrainConfig", data: "DataConfig", run_dir: Path) -> list[str]:
    from odevision.data.sources import has_test_split

    run = shlex.quote(str(run_dir))
    root = f" --data-root {shlex.quote(config.data_root)}" if config.data_root else ""
    examples = _write_examples(config, data, run_dir)
    pictures = "photo.jpg" if examples is None else shlex.quote(str(examples))
    predict = f"odevision predict {run} {pictures}"
    if not has_test_split(data.name, data_root=config.data_root):
        return [predict]
    return [f"odevision evaluate {run}{root}", predict, f"odevision plot {run}{root}"]


def _finish(config: "TrainConfig", result: "TrainResult") -> int:
    """Say how the run ended and what can be done next."""
    from odevision.cli.model import load_model
    from odevision.training.config import DataConfig

    run_dir = Path(result.run_dir)
    minutes, seconds = divmod(round(result.seconds), 60)
    print(f"Epochs trained: {result.epochs} in {minutes} min {seconds} s.")
    if "validation_accuracy" in result.metrics:
        print(
            f"Validation: accuracy {result.metrics['validation_accuracy']:.2%}, "
            f"loss {result.metrics['validation_loss']:.4f}."
        )
    print(f"Saved: {result.checkpoint_dir}")
    if result.stopped == "interrupted":
        return 130  # the loop has said where it was saved and how to go on
    loaded = load_model(str(run_dir), device=config.device)
    if result.stopped == "done":
        _note_consistency(config, loaded)
    if isinstance(config.data, DataConfig):
        _calibrate(config, loaded)
        commands = _next_commands(config, config.data, run_dir)
    else:
        commands = _next_video_commands(config, run_dir)
    print("Next:")
    for command in commands:
        print(f"  {command}")
    return 0


def _check_data(config: "TrainConfig") -> None:
    """Refuse the recipe of folders while no folder is named."""
    from odevision.cli.errors import UsageError
    from odevision.recipes.folder import FOLDER_PLACEHOLDER

    if config.data.name == FOLDER_PLACEHOLDER:
        raise UsageError(
            f"`--data` is missing: the recipe {config.recipe} needs the folder of your images, "
            "laid out as DIR/train/CLASS/IMAGE.jpg"
        )


def run(words: Sequence[str], *, verb: str = "train") -> int:
    """Train, then say what came out and what to try next.

    Args:
        words: the words after the verb.
        verb: its name.

    Returns:
        The exit code.
    """
    if not words or list(words) in (["--help"], ["-h"]):
        _print_usage()
        return 0 if words else 2
    from odevision.cli.train_config import read_request

    request = read_request(words, description=_DESCRIPTION)
    _check_data(request.config)
    from odevision.training.loop import train
    from odevision.training.progress import choose_progress

    result = train(request.config, resume=request.resume, progress=choose_progress())
    return _finish(request.config, result)
