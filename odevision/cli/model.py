"""The trained model that a verb works on."""

from pathlib import Path

from odevision.training.checkpoint import LoadedModel, load_checkpoint


def resolve_device(name: str) -> str:
    """Return the device to use: `auto` takes a GPU if there is one.

    Args:
        name: auto, cpu, cuda or mps.

    Raises:
        ValueError: there is no such device in this machine.
    """
    import torch

    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return next(device for device, is_there in available.items() if is_there)
    if not available[name]:
        there = ", ".join(device for device, is_there in available.items() if is_there)
        raise ValueError(f"`--device` must be a device of this machine ({there}), got {name}.")
    return name


def load_model(
    model: str,
    *,
    device: str,
    solver: str | None = None,
    num_steps: int | None = None,
    nfe: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
) -> LoadedModel:
    """Load the model a user named, under the solver settings he gave.

    Args:
        model: run directory, checkpoint directory or name of shipped weights.
        device: auto, cpu, cuda or mps.
        solver: another solver; None keeps the model's.
        num_steps: constant steps; None keeps the model's setting.
        nfe: evaluations a block in constant steps; None keeps the model's setting.
        rtol: relative tolerance; None keeps the model's.
        atol: absolute tolerance; None keeps the model's.

    Raises:
        ValueError: there is no such model, or a setting does not fit it.
    """
    return load_checkpoint(
        model,
        device=resolve_device(device),
        solver=solver,
        num_steps=num_steps,
        nfe=nfe,
        rtol=rtol,
        atol=atol,
    )


def run_directory(loaded: LoadedModel) -> Path | None:
    """Return the run a checkpoint belongs to, or None (shipped weights, a copied checkpoint)."""
    path = loaded.path
    return path.parent.parent if path.parent.name == "checkpoints" else None


def short_name(loaded: LoadedModel) -> str:
    """Return a short name of the model for titles and folders."""
    run = run_directory(loaded)
    return run.resolve().name if run is not None else loaded.path.resolve().name
