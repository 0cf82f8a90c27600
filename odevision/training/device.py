"""The device of a run, and the memory it takes there."""

import ctypes
import logging
import platform
import sys

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import is_bf16_available

from odevision.training.config import TrainConfig

logger = logging.getLogger(__name__)


def build_accelerator(config: TrainConfig) -> Accelerator:
    """Choose the device and the precision.

    Where bf16 would be slower than float32 or is refused, a warning says so and float32 is taken.

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
    is_bf16 = config.precision == "bf16"
    reason = why_not_bf16(config.device) if is_bf16 else None
    if reason is not None:
        logger.warning("`precision` bf16 computes in float32 instead, because %s.", reason)
    accelerator = Accelerator(
        cpu=config.device == "cpu",
        mixed_precision="bf16" if is_bf16 and reason is None else "no",
    )
    if accelerator.num_processes > 1:
        raise ValueError(
            f"Training takes one process so far, got {accelerator.num_processes}. Start it with "
            "`odevision train` and not with a launcher."
        )
    return accelerator


def why_not_bf16(device: str) -> str | None:
    """Say why bf16 does not pay on a device.

    Args:
        device: `TrainConfig.device`.

    Returns:
        The reason, or None if bf16 is fine; always None on CUDA.
    """
    is_cpu = device == "cpu" or not torch.accelerator.is_available()
    if not is_cpu and torch.cuda.is_available():
        return None
    if not is_bf16_available(ignore_tpu=True):  # macOS before 14; accelerate would raise
        return "this system does not support it"
    # Private, so perhaps gone one day; without these instructions bf16 is emulated, many times
    # slower than float32.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    if is_cpu and not any(getattr(torch.cpu, name, bool)() for name in names):
        return "this CPU has no instructions for bf16 (AVX-512 BF16 or AMX)"
    return None


def keep_freed_memory(device: torch.device) -> None:
    """Let the C library keep large blocks that are freed, for the next step to take.

    glibc gives them back to the system, which clears each page anew when it hands it out again:
    a sixth of the time of a training step on a CPU. Elsewhere, and on GPUs, nothing is changed.

    Args:
        device: of the training.
    """
    if device.type != "cpu" or platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    for option, value in ((_M_MMAP_THRESHOLD, _LARGEST), (_M_TRIM_THRESHOLD, _LARGEST)):
        if mallopt(option, value) != 1:
            logger.info("mallopt(%d, %d) was refused; steps may be slower.", option, value)


# From malloc.h: larger blocks are mapped apart; more free memory at the end is given back.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _LARGEST = -1, -3, 2**31 - 1


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
