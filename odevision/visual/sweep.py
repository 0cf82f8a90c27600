"""Accuracy against evaluations of the vector field, for every solver of a sweep."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator, PercentFormatter, ScalarFormatter

from odevision.evaluation.sweep import SweepPoint
from odevision.visual.theme import CLASS_COLORS, GRAY, drawing_style, light_grid, new_figure

_MARKERS = "os^vDPX*<>hp"


def _draw_solvers(axes: Axes, points: Sequence[SweepPoint]) -> None:
    solvers = list(dict.fromkeys(point.solver for point in points))
    for index, solver in enumerate(solvers):
        of_solver = sorted(
            (point for point in points if point.solver == solver),
            key=lambda point: point.nfe_per_block,
        )
        axes.plot(
            [point.nfe_per_block for point in of_solver],
            [point.accuracy for point in of_solver],
            color=CLASS_COLORS[index % len(CLASS_COLORS)],
            marker=_MARKERS[index % len(_MARKERS)],
            markersize=5.5,
            linewidth=1.3,
            label=solver,
        )


def _mark_own(axes: Axes, point: SweepPoint) -> None:
    axes.plot(
        [point.nfe_per_block],
        [point.accuracy],
        linestyle="none",
        marker="o",
        markersize=14,
        markerfacecolor="none",
        markeredgecolor="black",
        label="the model's own",
    )


def _widen(axes: Axes, accuracies: Sequence[float]) -> None:
    """Show two points of accuracy at least: less would make noise look like a trend."""
    low, high = min(accuracies), max(accuracies)
    margin = max(0.08 * (high - low), (0.02 - (high - low)) / 2, 0.001)
    axes.set_ylim(low - margin, high + margin)


def plot_sweep(points: Sequence[SweepPoint], *, title: str = "") -> Figure:
    """Draw a sweep: constant steps on the left, adaptive steps on the right.

    Args:
        points: of a sweep, at least one.
        title: which model and images.

    Returns:
        The figure. The model's own setting carries a ring; the dotted line is at its accuracy.

    Raises:
        ValueError: there is no point.
    """
    if not points:
        raise ValueError("`points` must have a point of a sweep, got none.")
    own = next((point for point in points if point.is_own), None)
    sides = (
        ("constant steps", [point for point in points if point.tolerance is None]),
        ("adaptive steps", [point for point in points if point.tolerance is not None]),
    )
    with drawing_style():
        figure = new_figure(10.0, 4.6)
        for axes, (name, side) in zip(figure.subplots(1, 2, sharey=True), sides, strict=True):
            _draw_solvers(axes, side)
            if own is not None:
                axes.axhline(own.accuracy, color=GRAY, linewidth=0.9, linestyle=":", zorder=0)
                if own in side:
                    _mark_own(axes, own)
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlabel("evaluations of the vector field a block")
            axes.set_title(name)
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
            light_grid(axes)
            if side:
                axes.legend(
                    loc="lower right", fontsize=8.5, frameon=True, edgecolor="none", framealpha=1
                )
        _widen(figure.axes[0], [point.accuracy for point in points])
        figure.supylabel("accuracy", fontsize=10)
        figure.suptitle(title or "The same weights under other solvers", fontsize=12)
    return figure
