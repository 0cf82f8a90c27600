"""The registry of video networks: every name, what builds it, and one line about it."""

import dataclasses
import itertools
from typing import Any

import torch

from odevision.models.entry import ModelEntry
from odevision.models.video import (
    RecurrentVideoNet,
    VideoConvGRUConfig,
    VideoConvGRUDtConfig,
    VideoDrivenConfig,
    VideoMeanConfig,
    VideoODERNNConfig,
    VideoOnceConfig,
)
from odevision.models.video_r2plus1d import VideoR2Plus1D, VideoR2Plus1DConfig
from odevision.solve import unknown_name

VideoConfig = (
    VideoODERNNConfig
    | VideoDrivenConfig
    | VideoOnceConfig
    | VideoConvGRUConfig
    | VideoConvGRUDtConfig
    | VideoR2Plus1DConfig
    | VideoMeanConfig
)
VideoModel = RecurrentVideoNet | VideoR2Plus1D


VIDEO_MODELS: dict[str, ModelEntry] = {
    "video-odernn": ModelEntry(
        VideoODERNNConfig,
        RecurrentVideoNet,
        "an ODE after every recurrent layer, over the real gaps between the frames",
    ),
    "video-driven": ModelEntry(
        VideoDrivenConfig,
        RecurrentVideoNet,
        "ODEs that the frames drive while they are solved: fed gradually",
    ),
    "video-once": ModelEntry(
        VideoOnceConfig,
        RecurrentVideoNet,
        "a ConvGRU whose last vector goes through one ODE: once for all",
    ),
    "video-convgru": ModelEntry(
        VideoConvGRUConfig, RecurrentVideoNet, "baseline: a ConvGRU that knows no time"
    ),
    "video-convgru-dt": ModelEntry(
        VideoConvGRUDtConfig, RecurrentVideoNet, "baseline: a ConvGRU with the gap as an input"
    ),
    "video-r2plus1d": ModelEntry(
        VideoR2Plus1DConfig,
        VideoR2Plus1D,
        "baseline: factorized 3D convolutions over the whole clip; cannot stream",
    ),
    "video-mean": ModelEntry(
        VideoMeanConfig, RecurrentVideoNet, "baseline: the mean over the frames, in any order"
    ),
}


def build_video_model(config: VideoConfig) -> VideoModel:
    """Build the network that a configuration describes, with fresh weights."""
    entry = next(entry for entry in VIDEO_MODELS.values() if entry.config is type(config))
    return entry.model(config)


def match_parameters(name: str, num_parameters: int, **fields: Any) -> VideoConfig:
    """The configuration whose number of trained parameters comes closest to a given one.

    Args:
        name: one of `VIDEO_MODELS`.
        num_parameters: that of the network it is to be compared with.
        **fields: other fields of the configuration than `widths`.

    Returns:
        The configuration; `widths` keep about their default ratio, in multiples of 8.

    Raises:
        ValueError: there is no such network, or it would still be too large at its smallest.
    """
    if name not in VIDEO_MODELS:
        raise ValueError(unknown_name("name", name, VIDEO_MODELS))
    default: Any = VIDEO_MODELS[name].config(**fields)
    tried = {
        (*scaled[:-2], *ends)
        for percent in range(20, 401, 5)
        if (scaled := [_in_eights(width * percent / 100) for width in default.widths])
        for ends in itertools.product(*((w - 8, w, w + 8) for w in scaled[-2:]))
        if min(ends) > 0
    }
    counts = {w: count_parameters(dataclasses.replace(default, widths=w)) for w in sorted(tried)}
    best = min(counts, key=lambda widths: abs(counts[widths] - num_parameters))
    if counts[best] > 1.5 * num_parameters:
        raise ValueError(
            f"`num_parameters` must be at least {min(counts.values())} for {name}, got "
            f"{num_parameters}."
        )
    return dataclasses.replace(default, widths=best)


def count_parameters(config: VideoConfig) -> int:
    """Number of trained parameters of the network that a configuration describes."""
    with torch.device("meta"):  # Nothing is drawn, and no memory taken.
        model = build_video_model(config)
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _in_eights(width: float) -> int:
    return max(8, round(width / 8) * 8)
