"""Frames of a video above what a network is shown of them: changes in gray, flow in colors."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from torch import Tensor

from odevision.visual.image_grid import show_image
from odevision.visual.theme import drawing_style, new_figure

_MOST_CHANGE = 3.0
"""Change of a normalized channel that is drawn black or white."""
_MOST_FLOW = 3.0
"""Pixels a frame that are drawn in full color."""

Pictures = UInt8[Tensor, "frames 3 height width"]


def change_pictures(changes: Float[Tensor, "frames 3 height width"]) -> Pictures:
    """Draw differences of normalized frames: gray where nothing changed, brighter, darker."""
    shares = (changes.nan_to_num(0.0) / _MOST_CHANGE).clamp(-1, 1)
    return ((shares + 1) * 127.5).round().to(torch.uint8)


def flow_pictures(flow: Float[Tensor, "frames 2 height width"]) -> Pictures:
    """Draw motion: white where there is none, the hue says where to, the saturation how far.

    Args:
        flow: pixels to the right and down.
    """
    flow = flow.nan_to_num(0.0)
    right, down = flow.unbind(1)
    hue = torch.atan2(down, right) / (2 * torch.pi) % 1
    share = (flow.norm(dim=1) / _MOST_FLOW).clamp(max=1)
    colors = hsv_to_rgb(np.stack([hue, share, torch.ones_like(hue)], axis=-1))
    return torch.from_numpy(colors * 255).round().to(torch.uint8).permute(0, 3, 1, 2)


def plot_seen_frames(
    rows: Mapping[str, Pictures], seconds: Sequence[float], *, title: str = ""
) -> Figure:
    """Draw a row a kind of picture, a column a frame.

    Args:
        rows: what a row shows -> its pictures, of as many frames in every row.
        seconds: times of the frames.
        title: of which video.

    Returns:
        The figure.
    """
    height, width = next(iter(rows.values())).shape[2:]
    columns = len(seconds)
    with drawing_style():
        heights = [8.0 / columns * height / width + 0.25] * len(rows)
        heights[-1] += 0.2  # for the times
        figure = new_figure(8.6, sum(heights) + 0.4)
        parts = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=heights)
        for part, (name, pictures) in zip(parts[:, 0], rows.items(), strict=True):
            part.suptitle(name, fontsize=8.5, x=0.01, ha="left")
            row = part.subplots(1, columns, squeeze=False)[0]
            for axes, picture in zip(row, pictures, strict=True):
                show_image(axes, picture)
        for axes, time in zip(parts[-1, 0].axes, seconds, strict=True):
            axes.set_xlabel(f"{time:.1f} s", fontsize=7.5, labelpad=2)
        if title:
            figure.suptitle(title, fontsize=12)
    return figure
