"""The global random generators: seeded at the start of a run, saved and restored with it."""

import random
from typing import Any

import numpy as np
import torch


def seed_generators(seed: int) -> None:
    """Seed python, numpy and torch on all devices.

    The one place of the library with a global effect: layers draw their initial weights, and
    dropout its masks, from torch's global generator, and take no other.

    Args:
        seed: in [0, 2**32).
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def generator_states() -> dict[str, Any]:
    """Take the state of every global generator but that of an Apple GPU.

    Returns:
        Tensors, numbers and tuples only, which `torch.load(weights_only=True)` can read.
    """
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (str(name), torch.from_numpy(np.asarray(keys, dtype=np.int64)), position),
        "numpy_gauss": (int(has_gauss), float(cached)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_generators(states: dict[str, Any]) -> None:
    """Put every global generator back to a state taken before.

    Args:
        states: from `generator_states`. The number of GPUs may have changed; what does not fit is
            left as it is.
    """
    version, keys, gauss = states["python"]
    random.setstate((version, tuple(keys), gauss))
    name, numpy_keys, position = states["numpy"]
    numpy_keys = numpy_keys.numpy().astype(np.uint32)
    np.random.set_state((name, numpy_keys, position, *states["numpy_gauss"]))
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
