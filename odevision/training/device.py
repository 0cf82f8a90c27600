"""The device of a run, and the memory it takes there."""

import sys

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from odevision.training.config import TrainConfig


def build_accelerator(config: TrainConfig) -> Accelerator:
    """Choose the device and the precision.

    Args:
        config: its fields `device` and `precision`.

    Returns:
        An accelerate.Accelerator.

    Raises:
        ValueError: if the device is not there, or several processes were started.
    """
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(config.device, True):
        raise ValueError(
            f"`device` must be one that this machine has, got {config.device}. Try auto or cpu."
        )
    # accelerate keeps device and precision of a process for good; a second run in the same
    # process (a notebook, a test) may want others.
    if AcceleratorState._shared_state and AcceleratorState().num_processes == 1:
        AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(
        cpu=config.device == "cpu",
        mixed_precision="bf16" if config.precision == "bf16" else "no",
    )
    if accelerator.num_processes > 1:
        raise ValueError(
            f"Training takes one process so far, got {accelerator.num_processes}. Start it with "
            "`odevision train` and not with a launcher."
        )
    return accelerator


def peak_memory_bytes(device: torch.device) -> int:
    """Read the largest memory used so far.

    Args:
        device: where the model lies.

    Returns:
        On a GPU the peak of its tensors, elsewhere the peak of the whole process; 0 where the
        system does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
