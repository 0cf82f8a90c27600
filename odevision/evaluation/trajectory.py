"""Paths of the features through each ODE block, projected on their two main directions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from odevision.nn.ode_block import ODEBlock

LARGEST_GRID = 8
"""Feature maps with more pixels a side are averaged to this many: enough to see where the state
goes, small enough to hold all times of all images."""


@dataclass(frozen=True, kw_only=True)
class BlockTrajectories:
    """The paths of several images through one ODE block.

    Args:
        name: what to call the block in a picture.
        ts: times along the block, in the ODE's own unit.
        paths: coordinates on the two main directions of the features.
        explained: share of the features' variance along each direction, 0 to 1.
    """

    name: str
    ts: Float[Tensor, " times"]
    paths: Float[Tensor, "times num 2"]
    explained: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class FeatureTrajectories:
    """The paths of several images through all ODE blocks of a model.

    Args:
        blocks: one entry a block, in the order of the forward pass.
        labels: true class index of each image.
        class_names: names in index order.
    """

    blocks: tuple[BlockTrajectories, ...]
    labels: Int64[Tensor, " num"]
    class_names: tuple[str, ...]


def principal_plane(
    points: Float[Tensor, "times num features"],
) -> tuple[Float[Tensor, "times num 2"], tuple[float, float]]:
    """Project paths on the two directions of largest variance.

    The directions are those of five evenly spaced times, first and last included: neighboring
    times say the same again, and the decomposition grows with the cube of the points.

    Args:
        points: the paths; two features or more.

    Returns:
        The coordinates, and the share of the variance along each direction. The sign of a
        direction is chosen so that its largest entry is positive: the same weights give the
        same picture on every machine.
    """
    times = torch.linspace(0, len(points) - 1, min(5, len(points))).round().long()
    chosen = points[times].flatten(0, 1).double()
    center = chosen.mean(dim=0)
    _, singular_values, directions = torch.linalg.svd(chosen - center, full_matrices=False)
    plane = directions[:2].T
    largest = plane.abs().argmax(dim=0)
    plane = plane * plane[largest, [0, 1]].sign()
    variances = singular_values.square()
    shares = variances / variances.sum().clamp_min(torch.finfo(torch.float64).tiny)
    coordinates = (points - center.float()) @ plane.float()
    return coordinates, (float(shares[0]), float(shares[1]))


def _features(states: Float[Tensor, "times num ..."]) -> Float[Tensor, "times num features"]:
    """Flatten states, large feature maps averaged over a grid of patches."""
    if states.ndim == 5 and max(states.shape[-2:]) > LARGEST_GRID:
        num_times, num = states.shape[:2]
        height, width = (min(side, LARGEST_GRID) for side in states.shape[-2:])
        states = functional.adaptive_avg_pool2d(states.flatten(0, 1), (height, width))
        states = states.reshape(num_times, num, -1)
    return states.flatten(2)


def choose_evenly(
    labels: Int64[Tensor, " num"], number: int, *, max_classes: int
) -> Int64[Tensor, " chosen"]:
    """Choose images so that every class has about the same number of them.

    Args:
        labels: class indices of the images there are.
        number: how many to choose; fewer if there are not enough, and one a class at least.
        max_classes: only the first so many of the classes that occur.

    Returns:
        Their indices, the first ones of each class.
    """
    classes = torch.unique(labels)[:max_classes]
    share = max(1, number // len(classes))
    return torch.cat([torch.nonzero(labels == label).flatten()[:share] for label in classes])


def block_inputs(model: nn.Module, blocks: Sequence[ODEBlock], images: Tensor) -> list[Tensor]:
    """Return the state that enters each block when the model sees the images."""
    inputs: dict[int, Tensor] = {}

    def keep(index: int) -> Any:
        def hook(_module: nn.Module, arguments: tuple[Any, ...]) -> None:
            inputs[index] = arguments[0]

        return hook

    handles = [block.register_forward_pre_hook(keep(i)) for i, block in enumerate(blocks)]
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    return [inputs[index] for index in range(len(blocks))]


@torch.no_grad()
def feature_trajectories(
    model: nn.Module,
    blocks: Sequence[ODEBlock],
    images: Float[Tensor, "num channels height width"],
    labels: Int64[Tensor, " num"],
    class_names: Sequence[str],
    *,
    num_times: int = 25,
    batch_size: int = 32,
) -> FeatureTrajectories:
    """Follow images through the ODE blocks of a model.

    The whole state is projected. Its channel means, though cheaper, would not do: the paper's
    vector field ends in a GroupNorm, so that they hardly move.

    Args:
        model: in evaluation mode.
        blocks: its ODE blocks, in the order of its forward pass.
        images: normalized, on the model's device.
        labels: true class indices.
        class_names: names in index order.
        num_times: points along each path; 25 look smooth.
        batch_size: images followed at once; whole states of all times are held for this many.

    Returns:
        The paths, one entry a block.
    """
    features: list[list[Tensor]] = [[] for _ in blocks]
    times = [torch.linspace(block.t0, block.t1, num_times) for block in blocks]
    for batch in images.split(batch_size):
        for index, state in enumerate(block_inputs(model, blocks, batch)):
            states = blocks[index].trajectory(state, times[index].to(state))
            features[index].append(_features(states).cpu())

    found = []
    for index, (ts, parts) in enumerate(zip(times, features, strict=True), start=1):
        paths, explained = principal_plane(torch.cat(parts, dim=1))
        name = "ODE block" if len(blocks) == 1 else f"ODE block {index} of {len(blocks)}"
        found.append(BlockTrajectories(name=name, ts=ts, paths=paths, explained=explained))
    return FeatureTrajectories(
        blocks=tuple(found), labels=labels.cpu(), class_names=tuple(class_names)
    )
