"""Optimizer, parameter groups and the learning rate over the run."""

import math
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from odevision.training.config import OptimizerConfig, ScheduleConfig
from odevision.training.muon import Muon, is_filter_bank


def parameter_groups(model: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """Split the trained parameters into weights, and biases and norm gains.

    What has one dimension at most is a bias or a gain: no weight decay, a learning rate of its
    own. Gains a channel that are stored as (1, C, 1, 1) are decayed like weights. Frozen
    parameters (`requires_grad` false) are left out.

    A network may offer `learning_rate_scale(name)`: a factor on the rate of the parameter of that
    name, such as a small one for a pretrained part. Each factor makes groups of its own.

    Args:
        model: the network.
        config: rates of the two groups.

    Returns:
        One or two groups for torch.optim a factor, factor 1 and the weights first; for muon the
        filter banks before them.
    """
    scale_of = getattr(model, "learning_rate_scale", lambda name: 1.0)
    by_scale: dict[float, list[nn.Parameter]] = {1.0: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            by_scale.setdefault(scale_of(name), []).append(parameter)
    groups: list[dict[str, Any]] = []
    for scale, trained in by_scale.items():
        rate = scale * config.learning_rate
        if config.name == "muon":
            filters = [p for p in trained if is_filter_bank(p)]
            trained = [p for p in trained if not is_filter_bank(p)]
            groups.append(
                {
                    "params": filters,
                    "lr": scale * config.filter_learning_rate,
                    "is_filters": True,
                }
            )
        groups += [
            {
                "params": [p for p in trained if p.ndim > 1],
                "lr": rate,
                "weight_decay": config.weight_decay,
            },
            {
                "params": [p for p in trained if p.ndim <= 1],
                "lr": rate * config.norm_bias_learning_rate_scale,
                "weight_decay": 0.0,
            },
        ]
    return [group for group in groups if group["params"]]


def build_optimizer(
    model: nn.Module, config: OptimizerConfig, *, is_bf16: bool = False
) -> Optimizer:
    """Build the optimizer of a model's trained parameters.

    Args:
        model: the network, already on its device.
        config: which optimizer, and its rates.
        is_bf16: whether the network is trained in bf16; muon then makes its updates in it, too.

    Returns:
        A torch.optim optimizer.

    Raises:
        ValueError: if nothing of the model is trained.
    """
    groups = parameter_groups(model, config)
    if not groups:
        raise ValueError("`model` must have a parameter with requires_grad, got none.")
    if config.name == "muon":
        groups = [{"is_filters": False, **group} for group in groups]
        return Muon(
            groups,
            momentum=config.momentum,
            filter_momentum=config.filter_momentum,
            dtype=torch.bfloat16 if is_bf16 else None,
        )
    if config.name == "sgd":
        # Nesterov without momentum is refused by torch, and would be plain SGD.
        return SGD(groups, momentum=config.momentum, nesterov=config.momentum > 0)
    return AdamW(groups, betas=(config.momentum, 0.999))


def learning_rate_factor(step: int, num_steps: int, config: ScheduleConfig) -> float:
    """Learning rate of a step, as a fraction of the peak.

    Args:
        step: steps already taken, from 0.
        num_steps: planned steps of the whole run.
        config: shape of the schedule.

    Returns:
        A factor in [0, 1].
    """
    num_warmup = round(config.warmup_fraction * num_steps)
    if step < num_warmup:
        return config.start_fraction + (1 - config.start_fraction) * step / num_warmup
    if config.name == "constant":
        return 1.0
    done = min(1.0, (step - num_warmup) / max(1, num_steps - num_warmup))
    left = 1 - done if config.name == "triangular" else (1 + math.cos(math.pi * done)) / 2
    return config.final_fraction + (1 - config.final_fraction) * left


def build_schedule(optimizer: Optimizer, config: ScheduleConfig, num_steps: int) -> LambdaLR:
    """Attach the schedule to the optimizer.

    The rate is a function of the planned steps, never of the wall time, so that a run that was
    stopped and resumed has the rates of one that was not.

    Args:
        optimizer: its groups' present rates are the peaks.
        config: shape of the schedule.
        num_steps: planned steps of the whole run.

    Returns:
        The scheduler; its `step()` follows the optimizer's.
    """
    return LambdaLR(optimizer, lambda step: learning_rate_factor(step, num_steps, config))
