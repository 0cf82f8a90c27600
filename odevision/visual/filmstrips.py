"""Test videos as strips of frames, with the true class and what the model said."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from matplotlib.figure import Figure
from torch import Tensor

from odevision.visual.image_grid import shorten, show_image
from odevision.visual.theme import BLUE, VERMILION, drawing_style, new_figure


@dataclass(frozen=True, kw_only=True)
class Filmstrip:
    """One video.

    Args:
        frames: a few of its frames, 0 to 255, in order.
        seconds: their times.
        true_label: its class.
        label: the predicted one.
        probability: of the predicted class, 0 to 1.
    """

    frames: UInt8[Tensor, "frames 3 height width"]
    seconds: Sequence[float]
    true_label: str
    label: str
    probability: float


def plot_filmstrips(strips: Sequence[Filmstrip], *, title: str = "") -> Figure:
    """Draw one row a video.

    Args:
        strips: at least one, all with the same number of frames or fewer.
        title: what was answered.

    Returns:
        The figure. A wrong answer carries a cross and bold type; a right one a check mark.
    """
    columns = max(len(strip.frames) for strip in strips)
    height, width = strips[0].frames.shape[2:]
    with drawing_style():
        row_height = 8.0 / columns * height / width + 0.42
        figure = new_figure(8.6, row_height * len(strips) + 0.5)
        parts = figure.subfigures(len(strips), 1, squeeze=False)
        for part, strip in zip(parts[:, 0], strips, strict=True):
            row = part.subplots(1, columns, squeeze=False)[0]
            is_right = strip.label == strip.true_label
            mark, color = ("✓", BLUE) if is_right else ("✗", VERMILION)
            for index, axes in enumerate(row):
                if index >= len(strip.frames):
                    axes.set_axis_off()
                    continue
                show_image(axes, torch.as_tensor(strip.frames[index]))
                axes.set_xlabel(f"{strip.seconds[index]:.1f} s", fontsize=7.5, labelpad=2)
            part.suptitle(
                f"{mark} {shorten(strip.label, 24)} ({strip.probability:.0%})    "
                f"true: {shorten(strip.true_label, 24)}",
                fontsize=8.5,
                color=color,
                fontweight="normal" if is_right else "bold",
                x=0.01,
                ha="left",
            )
        if title:
            figure.suptitle(title, fontsize=12)
    return figure
