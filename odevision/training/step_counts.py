"""Training over random numbers of steps, with a penalty on the error of a step.

Both make one network answer at any budget: its weights then belong to the ODE, not to a step size.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from odevision.data.hashing import hash_integer
from odevision.models.registry import Model
from odevision.training.config import TrainConfig

_STEP_COUNT = 4  # Keeps this use of a seed apart from those of the loader and of mixing, 0 to 3.


def set_step_count(model: Model, config: TrainConfig, epoch: int, batch: int) -> None:
    """Give every ODE block the number of steps of a batch, a function of seed, epoch and batch.

    Args:
        model: the network; left alone where `config.step_counts` is empty.
        config: of the run.
        epoch: counted from 0.
        batch: counted from 0 in the epoch.
    """
    if not config.step_counts:
        return
    key = hash_integer(config.seed, epoch, _STEP_COUNT, batch)
    for block in model.ode_blocks():
        block.num_steps = config.step_counts[key % len(config.step_counts)]


def measure_step_error(model: Model, config: TrainConfig) -> None:
    """Let every ODE block measure its step error if the loss has a term for it."""
    for block in model.ode_blocks():
        block.measures_step_error = config.step_error_weight > 0


def step_error(model: Model) -> Float[Tensor, ""]:
    """Sum of the blocks' step errors in the latest forward pass, with a graph."""
    errors = [block.last_step_error for block in model.ode_blocks()]
    return torch.stack([error for error in errors if error is not None]).sum()
