"""A checkpoint is one directory: weights, a card that says what they are, the training state.

weights.safetensors   the weights to use (the EMA's, if there is one); no pickle
card.json             model, preprocessing, classes, solver, metrics, versions
training_state.pt     what a resumed run needs; absent from shipped weights
"""

import dataclasses
import io
import json
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from odevision.data.clip_preprocessing import CLIP_KIND, ClipPreprocessing
from odevision.data.preprocessing import Preprocessing
from odevision.models.registry import build_model
from odevision.training.atomic import TEMPORARY_PREFIX, write_directory
from odevision.training.card import Card, LoadedModel
from odevision.training.config import model_from_dict
from odevision.training.locate import (
    CheckpointError,
    CheckpointWriteError,
    checkpoint_directories,
    checkpoints_folder,
    find_checkpoint,
    list_weights,
    newest_checkpoint,
)
from odevision.training.solver_override import overridden_solver
from odevision.training.strict import dataclass_from_mapping
from odevision.version import __version__

__all__ = [
    "Card",
    "CheckpointError",
    "CheckpointWriteError",
    "LoadedModel",
    "find_checkpoint",
    "list_weights",
    "load_checkpoint",
    "load_training_state",
    "newest_checkpoint",
    "read_card",
    "save_checkpoint",
    "stored_weights",
]

WEIGHTS_FILE = "weights.safetensors"
CARD_FILE = "card.json"
STATE_FILE = "training_state.pt"
NUM_KEPT = 2  # the newest and one before it, should the newest be damaged later
SOLVER_FIELDS = ("solver", "num_steps", "rtol", "atol", "gradient")


def current_versions() -> dict[str, str]:
    """Name the software a checkpoint is written with.

    Returns:
        Versions of odevision, torch and python.
    """
    return {
        "odevision": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def solver_of(model_values: Mapping[str, Any]) -> dict[str, Any]:
    """Pick the solver's fields out of a model config's.

    Args:
        model_values: fields of a model config.

    Returns:
        solver, num_steps, rtol, atol, gradient, as far as the model has them.
    """
    return {name: model_values[name] for name in SOLVER_FIELDS if name in model_values}


def stored_weights(model: nn.Module, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Copy a model's weights to the host as they will lie in the file.

    Args:
        model: the network whose weights are evaluated.
        dtype: storage format of floating point weights; float16 rounds them.

    Returns:
        Name -> contiguous host tensor, sharing no memory with the model.
    """
    return {
        name: tensor.detach()
        .to(device="cpu", dtype=dtype if tensor.is_floating_point() else tensor.dtype, copy=True)
        .contiguous()
        for name, tensor in model.state_dict().items()
    }


def save_checkpoint(
    run_dir: str | Path,
    *,
    weights: Mapping[str, Tensor],
    card: Card,
    training_state: Mapping[str, Any] | None = None,
    num_kept: int = NUM_KEPT,
) -> Path:
    """Write `run_dir/checkpoints/step-00001234` in one go, then delete all but the newest ones.

    Args:
        run_dir: directory of the run.
        weights: from `stored_weights`.
        card: what they are; `card.step` names the directory.
        training_state: tensors, numbers, strings and containers of them (what
            `torch.load(weights_only=True)` can read); None writes no state.
        num_kept: number of checkpoints to keep.

    Returns:
        The checkpoint directory.

    Raises:
        CheckpointWriteError: if the disk is full or not writable; earlier checkpoints
            are untouched.
    """
    target = checkpoints_folder(Path(run_dir)) / f"step-{card.step:08d}"
    # One entry of metadata at most: safetensors writes several in random order, and equal weights
    # should give equal files.
    files = {WEIGHTS_FILE: safetensors.torch.save(dict(weights), {"format": "pt"})}
    if training_state is not None:
        buffer = io.BytesIO()
        torch.save(training_state, buffer)
        files[STATE_FILE] = buffer.getvalue()
    files[CARD_FILE] = card.to_json().encode()
    try:
        write_directory(target, files)
    except OSError as error:
        raise CheckpointWriteError(_cannot_write(target, files, error)) from error
    half_written = target.parent.glob(f"{TEMPORARY_PREFIX}step-*")  # by processes that were killed
    for old in (*checkpoint_directories(Path(run_dir))[:-num_kept], *half_written):
        shutil.rmtree(old, ignore_errors=True)
    return target


def _cannot_write(target: Path, files: Mapping[str, bytes], error: OSError) -> str:
    needed = sum(map(len, files.values())) / 2**20
    try:
        place = next(parent for parent in target.parents if parent.exists())
        free = f"{shutil.disk_usage(place).free / 2**20:.1f} MiB are free"
    except OSError:
        free = "the free space is unknown"
    return (
        f"Cannot save the checkpoint {target}: {error.strerror or error}. It needs "
        f"{needed:.1f} MiB, {free}. Earlier checkpoints are untouched. Free some space and go on "
        "with --resume, or train with --out on another disk."
    )


def read_card(path: str | Path) -> Card:
    """Read the card of a checkpoint directory.

    Args:
        path: checkpoint directory.

    Returns:
        The card.

    Raises:
        CheckpointError: if it is missing, not JSON, or not a card.
    """
    file = Path(path) / CARD_FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        return dataclass_from_mapping(Card, {**values, "class_names": tuple(values["class_names"])})
    except FileNotFoundError:
        raise CheckpointError(f"{file} is missing: {path} is not a whole checkpoint.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"Cannot read the card {file}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{file} is not a card of odevision: {error}") from error


def load_checkpoint(
    model_ref: str | Path,
    *,
    device: str | torch.device = "cpu",
    solver: str | None = None,
    num_steps: int | None = None,
    nfe: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
) -> LoadedModel:
    """Load a trained network, optionally under another solver.

    Args:
        model_ref: a run directory (its newest checkpoint), a checkpoint directory, or the name of
            weights that ship with the package.
        device: where to put the model.
        solver: another solver's name.
        num_steps: another number of constant steps.
        nfe: as many constant steps as take this many evaluations of the vector field a block.
        rtol: another relative tolerance; the step size becomes adaptive.
        atol: another absolute tolerance; the step size becomes adaptive.

    Returns:
        The model in evaluation mode with its card and preprocessing.

    Raises:
        CheckpointError: if there is no such checkpoint, or it is damaged, or its weights belong
            to another model.
        ValueError: for a solver option that the model does not have.
    """
    path = find_checkpoint(model_ref)
    card = read_card(path)
    overrides = {"solver": solver, "num_steps": num_steps, "nfe": nfe, "rtol": rtol, "atol": atol}
    given = {name: value for name, value in overrides.items() if value is not None}
    if given:
        card = _with_solver(card, given)
    try:
        model = build_model(model_from_dict({"name": card.model_name, **card.model}))
        kind = ClipPreprocessing if card.preprocessing.get("kind") == CLIP_KIND else Preprocessing
        preprocessing = kind.from_dict(card.preprocessing)
    except (ValueError, TypeError, KeyError) as error:
        if given:  # an override may be what is wrong
            raise ValueError(f"{path / CARD_FILE} with {given}: {error}") from error
        raise CheckpointError(f"{path / CARD_FILE}: {error}") from error
    num_classes: int = model.config.num_classes  # pyright: ignore[reportAttributeAccessIssue, reportAssignmentType]
    if len(card.class_names) != num_classes:
        raise CheckpointError(
            f"{path / CARD_FILE}: `class_names` must hold {num_classes} names, one a class of the "
            f"model, got {len(card.class_names)}"
        )
    load_weights(model, path / WEIGHTS_FILE, card.model_name)
    return LoadedModel(
        model=model.to(device).eval(), card=card, input_preprocessing=preprocessing, path=path
    )


def _with_solver(card: Card, given: Mapping[str, Any]) -> Card:
    is_warm = bool(card.model.get("warm_start", False))
    fields = overridden_solver(card.model_name, card.solver, given, warm_start=is_warm)
    solver = {name: value for name, value in fields.items() if name in card.solver}
    return dataclasses.replace(
        card, model={**card.model, **fields}, solver={**card.solver, **solver}
    )


def load_weights(model: nn.Module, file: Path, model_name: str) -> None:
    """Copy weights from a file into a model, converting float16 back to the model's format.

    Args:
        model: the network, of the right config.
        file: a safetensors file.
        model_name: for messages.

    Raises:
        CheckpointError: if the file is missing, damaged, or of another model.
    """
    try:
        weights = safetensors.torch.load(file.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(
            f"{file} is missing: {file.parent} is not a whole checkpoint."
        ) from None
    except OSError as error:
        raise CheckpointError(f"Cannot read the weights {file}: {error}") from error
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{file} is truncated or not a safetensors file ({error}). Copy it again, or delete "
            f"{file.parent} to use an earlier checkpoint of the run."
        ) from error
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    # A warm start's step length serves training only; under constant steps there is none.
    spare = [name for name in weights if name.endswith("dt_warm") and name not in expected]
    weights = {name: tensor for name, tensor in weights.items() if name not in spare}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if expected != found:
        raise CheckpointError(
            f"{file} holds the weights of another model than {model_name}, which {CARD_FILE} "
            f"names: {_first_difference(expected, found)}."
        )
    broken = [n for n, t in weights.items() if t.is_floating_point() and not t.isfinite().all()]
    if broken:
        raise CheckpointError(f"{file} holds a weight that is not finite: {broken[0]}.")
    model.load_state_dict(weights)


def _first_difference(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    if missing:
        return f"{len(missing)} of its {len(expected)} tensors are missing, first {missing[0]}"
    if unexpected:
        return f"{len(unexpected)} tensors are unknown to it, first {unexpected[0]}"
    name = next(name for name in expected if expected[name] != found[name])
    return f"{name} has shape {found[name]}, not {expected[name]}"


def load_training_state(path: str | Path) -> dict[str, Any]:
    """Read what a resumed run needs; runs no code from the file.

    Args:
        path: checkpoint directory.

    Returns:
        The mapping given to `save_checkpoint`.

    Raises:
        CheckpointError: if it is missing or damaged.
    """
    file = Path(path) / STATE_FILE
    try:
        return torch.load(io.BytesIO(file.read_bytes()), map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(
            f"{file} is missing: {path} can be evaluated, but its training cannot be resumed."
        ) from None
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, ...
        raise CheckpointError(
            f"{file} is truncated or not a training state ({error}). Delete {path} to resume from "
            "an earlier checkpoint of the run."
        ) from error
