"""The state's path through each ODE block, in the plane of its two main directions."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from odevision.evaluation.trajectory import BlockTrajectories, FeatureTrajectories
from odevision.visual.image_grid import shorten
from odevision.visual.theme import CLASS_COLORS, GRAY, drawing_style, new_figure

END_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
"""One shape a class, so that classes differ by more than color."""

_MARKER_AREAS = {"P": 45.0, "X": 45.0, "*": 80.0}


def _draw_block(axes: Axes, block: BlockTrajectories, labels: np.ndarray, shown: list[int]) -> None:
    paths = block.paths.numpy()
    for rank, label in enumerate(shown):
        color = CLASS_COLORS[rank % len(CLASS_COLORS)]
        marker = END_MARKERS[rank % len(END_MARKERS)]
        members = np.flatnonzero(labels == label)
        for index in members:
            axes.plot(
                paths[:, index, 0],
                paths[:, index, 1],
                color=color,
                linewidth=0.7,
                alpha=0.45,
            )
        starts, ends = paths[0, members], paths[-1, members]
        axes.scatter(
            starts[:, 0],
            starts[:, 1],
            s=14,
            facecolors="white",
            edgecolors=GRAY,
            linewidths=0.7,
            zorder=3,
        )
        axes.scatter(
            ends[:, 0],
            ends[:, 1],
            s=_MARKER_AREAS.get(marker, 32.0),
            marker=marker,
            color=color,
            edgecolors="white",
            linewidths=0.5,
            zorder=4,
        )
    axes.set_title(f"{block.name}, t from {block.ts[0]:g} to {block.ts[-1]:g}")
    axes.set_xlabel(f"first direction ({block.explained[0]:.0%} of the variance)")
    axes.set_ylabel(f"second direction ({block.explained[1]:.0%})")
    axes.margins(0.06)


def _legend_handles(names: list[str]) -> list[Line2D]:
    start = Line2D(
        [],
        [],
        linestyle="none",
        marker="o",
        markerfacecolor="white",
        markeredgecolor=GRAY,
        markersize=5,
        label="start of a path",
    )
    ends = [
        Line2D(
            [],
            [],
            color=CLASS_COLORS[rank % len(CLASS_COLORS)],
            marker=END_MARKERS[rank % len(END_MARKERS)],
            markeredgecolor="white",
            markersize=8,
            linewidth=1.2,
            label=f"end: {name}",
        )
        for rank, name in enumerate(names)
    ]
    return [start, *ends]


def plot_trajectories(trajectories: FeatureTrajectories, *, title: str = "") -> Figure:
    """Draw the features' paths through each ODE block, colored by true class.

    Args:
        trajectories: at least one block.
        title: which model and data.

    Returns:
        The figure, one panel a block. With more than ten classes the first ten that occur
        are drawn: more could not be told apart.

    Raises:
        ValueError: the model has no ODE block.
    """
    if not trajectories.blocks:
        raise ValueError("`trajectories` must have at least one ODE block, got none.")
    labels = trajectories.labels.numpy()
    occurring = [int(label) for label in np.unique(labels)]
    shown = occurring[: len(CLASS_COLORS)]
    names = [shorten(trajectories.class_names[label], 16) for label in shown]
    num_blocks = len(trajectories.blocks)
    with drawing_style():
        figure = new_figure(4.9 * num_blocks + 1.9, 5.2)
        for axes, block in zip(
            figure.subplots(1, num_blocks, squeeze=False)[0],
            trajectories.blocks,
            strict=True,
        ):
            _draw_block(axes, block, labels, shown)
        note = f" (first {len(shown)} of {len(occurring)})" if len(shown) < len(occurring) else ""
        figure.legend(
            handles=_legend_handles(names),
            loc="outside right center",
            title=f"true class{note}",
            fontsize=9.5,
        )
        prefix = f"{title}: " if title else ""
        figure.suptitle(f"{prefix}paths of the state through the ODE", fontsize=13)
        figure.supxlabel(
            "One path an image; the two main directions (PCA) of the state, "
            f"at {len(trajectories.blocks[0].ts)} times.",
            fontsize=9,
            color=GRAY,
        )
    return figure
