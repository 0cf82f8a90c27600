"""The running average of the weights, which is usually better than the weights."""

from torch import Tensor, nn
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
        The average; `update_parameters(model)` follows every optimizer step. None for decay 0.
    """
    if decay == 0:
        return None

    def average(
        ema_tensors: tuple[Tensor, ...] | list[Tensor],
        tensors: tuple[Tensor, ...] | list[Tensor],
        num_averaged: Tensor | int,
    ) -> None:
        # num_averaged lies on the host whatever the model's device, so int() waits for nothing.
        update = get_ema_multi_avg_fn(ema_decay_at(int(num_averaged), decay))
        update(ema_tensors, tensors, num_averaged)

    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)
