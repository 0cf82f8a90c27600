"""How sure a model was of each class while a video went on."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from odevision.visual.image_grid import shorten
from odevision.visual.theme import (
    CLASS_COLORS,
    LIGHT_GRAY,
    drawing_style,
    legend_name,
    light_grid,
    new_figure,
)

_NUM_LINES = 6
"""Classes drawn: those that came highest at some time."""


def plot_class_probabilities(
    seconds: Sequence[float],
    probabilities: NDArray[np.float64],
    class_names: Sequence[str],
    *,
    title: str = "",
) -> Figure:
    """Draw the probability of each class against the time of the video.

    Args:
        seconds: time of each answer, rising.
        probabilities: of shape (answers, classes).
        class_names: names in index order.
        title: what was watched.

    Returns:
        The figure, with a line for each of the six classes that were the most probable at some
        time, named beside it.

    Raises:
        ValueError: there is no answer.
    """
    if not len(seconds):
        raise ValueError("`seconds` must hold the time of an answer, got none.")
    order = np.argsort(probabilities.max(axis=0))[::-1][:_NUM_LINES]
    with drawing_style():
        figure = new_figure(7.5, 3.6)
        axes = figure.subplots()
        light_grid(axes)
        for position, index in enumerate(order):
            axes.plot(
                seconds,
                probabilities[:, index],
                color=CLASS_COLORS[position],
                linestyle=("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))[position],
                marker="o" if len(seconds) < 40 else None,
                markersize=3,
                label=legend_name(shorten(class_names[int(index)], 24)),
            )
        axes.axhline(1 / len(class_names), color=LIGHT_GRAY, linewidth=1.0, zorder=0)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("seconds of the video")
        axes.set_ylabel("probability")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        if title:
            axes.set_title(title)
    return figure
