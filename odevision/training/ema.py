"""The running average of the weights, which is usually better than the weights."""

import itertools

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def ema_decay_at(num_averaged: int, decay: float) -> float:
    """Decay of the running average after so many updates.

    Args:
        num_averaged: updates so far.
        decay: the decay it rises to.

    Returns:
        min(decay, (1 + n) / (10 + n)): the first steps, far from the end, are soon forgotten.
    """
    return min(decay, (1 + num_averaged) / (10 + num_averaged))


def build_ema(model: nn.Module, decay: float) -> AveragedModel | None:
    """Copy the model into a running average of its parameters and buffers.

    Buffers too, because the statistics of a BatchNorm belong to the weights they were taken with.

    Args:
        model: the network, already on its device and not yet wrapped or compiled (a copy of a
            wrapped `forward` would call the original).
        decay: final decay a step; 0 means no average.

    Returns:
        The average; `update_ema` follows every optimizer step. None for decay 0.
    """
    if decay == 0:
        return None

    return AveragedModel(model, use_buffers=True)


@torch.no_grad()
def update_ema(ema: AveragedModel, model: nn.Module, decay: float) -> None:
    """Move the average towards the model, after an optimizer step; the first update copies.

    `AveragedModel.update_parameters` does the same, but copies its count to the device first, and
    so waits for a GPU at every step. Here the count stays on the host.

    Args:
        ema: from `build_ema`; counts the update.
        model: the network it was built from.
        decay: final decay a step, as given to `build_ema`.
    """
    averages = (*ema.module.parameters(), *ema.module.buffers())
    tensors = (*model.parameters(), *model.buffers())
    num_averaged = int(ema.n_averaged)  # on the host, so this waits for nothing
    is_averaged = [num_averaged > 0 and average.is_floating_point() for average in averages]
    for average, tensor, averaged in zip(averages, tensors, is_averaged, strict=True):
        if not averaged:  # such as BatchNorm's count of batches
            average.copy_(tensor)
    if any(is_averaged):
        average_all = get_ema_multi_avg_fn(ema_decay_at(num_averaged, decay))
        average_all(
            list(itertools.compress(averages, is_averaged)),
            list(itertools.compress(tensors, is_averaged)),
            num_averaged,
        )
    ema.n_averaged += 1
