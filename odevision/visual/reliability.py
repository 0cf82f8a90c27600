"""The reliability diagram: how often answers of a stated probability are right."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from odevision.evaluation.calibration import ReliabilityBin
from odevision.visual.theme import (
    BLUE,
    GRAY,
    LIGHT_GRAY,
    VERMILION,
    drawing_style,
    light_grid,
    new_figure,
)


def _draw_bins(axes: Axes, bins: Sequence[ReliabilityBin], title: str) -> None:
    filled = [one for one in bins if one.num_images]
    centers = [(one.low + one.high) / 2 for one in filled]
    width = bins[0].high - bins[0].low
    accuracy = [one.accuracy for one in filled]
    axes.bar(centers, accuracy, width=0.92 * width, color=BLUE, label="share that is right")
    axes.plot(
        centers,
        [one.confidence for one in filled],
        color=VERMILION,
        marker="D",
        markersize=5,
        linestyle="none",
        label="mean probability",
    )
    axes.plot([0, 1], [0, 1], color=GRAY, linestyle="--", linewidth=1)
    axes.set_ylim(0, 1.02)
    axes.set_title(title)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1.0, symbol=""))
    light_grid(axes)


def _draw_counts(axes: Axes, bins: Sequence[ReliabilityBin]) -> None:
    """Show how many images a bar stands for: one of three images says little."""
    total = sum(one.num_images for one in bins)
    width = bins[0].high - bins[0].low
    shares = [one.num_images / total for one in bins]
    axes.bar(
        [(one.low + one.high) / 2 for one in bins], shares, width=0.92 * width, color=LIGHT_GRAY
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1])
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1.0, symbol=""))
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1.0, symbol=""))
    axes.set_xlabel("probability of the best class (%)")


def plot_reliability(
    panels: Sequence[tuple[str, Sequence[ReliabilityBin]]], *, title: str = ""
) -> Figure:
    """Draw a reliability diagram for each set of probabilities, side by side.

    Bars on the dashed diagonal are calibrated; below it the network is too sure, above it too
    careful. Diamonds are the mean probability inside a bin. Below stands each bin's share of the
    images.

    Args:
        panels: title and bins of each diagram, such as ("before, ECE 15.1 %", bins).
        title: of the whole.

    Returns:
        The figure.

    Raises:
        ValueError: if there is no panel, or one without an image.
    """
    if not panels or any(not any(one.num_images for one in bins) for _, bins in panels):
        raise ValueError("`panels` must have bins with images, got none. Try more images.")
    with drawing_style():
        figure = new_figure(4.6 * len(panels) + 0.4, 5.6)
        grid = figure.subplots(2, len(panels), sharex=True, squeeze=False, height_ratios=[3.4, 1])
        for column, (name, bins) in enumerate(panels):
            _draw_bins(grid[0, column], bins, name)
            _draw_counts(grid[1, column], bins)
        grid[0, 0].set_ylabel("right answers (%)")
        grid[1, 0].set_ylabel("images (%)")
        # Outside: bars may stand anywhere on the axes.
        figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        if title:
            figure.suptitle(title, fontsize=13)
    return figure
