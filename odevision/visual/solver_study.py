"""What training with each solver comes to: accuracy, time, evaluations and memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from odevision.visual.theme import (
    CLASS_COLORS,
    GRAY,
    LIGHT_GRAY,
    drawing_style,
    new_figure,
)

_MARKERS = "osDv^P"
_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class SolverTraining:
    """Training with one solver, as means over the seeds.

    Args:
        name: of the solver and its steps or tolerance.
        group: of trainings that are compared with each other.
        accuracy: on validation images, 0 to 1.
        accuracy_std: its standard deviation over the seeds; 0 with one seed.
        seconds: of training.
        nfe_forward: evaluations of all vector fields in a forward pass.
        nfe_backward: in a backward pass; 0 where the graph of the forward pass is kept.
        peak_bytes: most memory in use.
    """

    name: str
    group: str
    accuracy: float
    accuracy_std: float
    seconds: float
    nfe_forward: float
    nfe_backward: float
    peak_bytes: float


_Value = Callable[[SolverTraining], float]


def plot_solver_study(trainings: Sequence[SolverTraining], *, title: str = "") -> Figure:
    """Draw a row a training and a column a quantity.

    Args:
        trainings: at least one; rows of a group stand together, in the order given.
        title: which network and images.

    Returns:
        The figure. Bars across the accuracies are one standard deviation to either side.

    Raises:
        ValueError: there is no training.
    """
    if not trainings:
        raise ValueError("`trainings` must have a training of a study, got none.")
    groups = list(dict.fromkeys(training.group for training in trainings))
    # A row between two groups holds the name of the second one.
    rows: list[tuple[int, SolverTraining]] = []
    heads: list[tuple[int, str]] = []
    for group in groups:
        heads.append((len(rows) + len(heads), group))
        for training in (one for one in trainings if one.group == group):
            rows.append((len(rows) + len(heads), training))
    columns: tuple[tuple[str, _Value], ...] = (
        ("training time (seconds)", lambda one: one.seconds),
        ("evaluations a training step", lambda one: one.nfe_forward),
        ("peak memory (MiB)", lambda one: one.peak_bytes / _MIB),
    )
    with drawing_style():
        figure = new_figure(12.5, 2.0 + 0.26 * (len(rows) + len(heads)))
        first, *others = figure.subplots(1, 4, sharey=True)
        _draw_accuracies(first, rows, groups)
        for axes, (label, value) in zip(others, columns, strict=True):
            _draw_bars(axes, rows, groups, value)
            axes.set_xlabel(label)
        _draw_backward(others[1], rows)
        first.set_yticks([row for row, _ in rows], [training.name for _, training in rows])
        first.set_ylim(len(rows) + len(heads) - 0.4, -0.6)
        for axes in (first, *others):
            axes.tick_params(axis="y", length=0)
            axes.xaxis.set_major_locator(MaxNLocator(3))
            axes.grid(axis="x", color=LIGHT_GRAY, linewidth=0.6)
            axes.set_axisbelow(True)
        for row, group in heads:
            first.annotate(
                group,
                (0.0, row),
                xycoords=("axes fraction", "data"),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                fontweight="bold",
                color=GRAY,
            )
        figure.suptitle(title or "Training with each solver", fontsize=12)
    return figure


def _draw_accuracies(
    axes: Axes, rows: Sequence[tuple[int, SolverTraining]], groups: Sequence[str]
) -> None:
    for row, training in rows:
        index = groups.index(training.group)
        axes.errorbar(
            training.accuracy,
            row,
            xerr=training.accuracy_std,
            color=CLASS_COLORS[index % len(CLASS_COLORS)],
            marker=_MARKERS[index % len(_MARKERS)],
            markersize=6,
            capsize=3,
        )
    values = [training.accuracy for _, training in rows]
    # Two points of accuracy at least: less would make noise look like a difference.
    margin = max(0.1 * (max(values) - min(values)), (0.02 - (max(values) - min(values))) / 2)
    margin += max(training.accuracy_std for _, training in rows)
    axes.set_xlim(min(values) - margin, max(values) + margin)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=1))
    axes.set_xlabel("validation accuracy")


def _draw_bars(
    axes: Axes, rows: Sequence[tuple[int, SolverTraining]], groups: Sequence[str], value: _Value
) -> None:
    for row, training in rows:
        index = groups.index(training.group)
        axes.barh(row, value(training), height=0.62, color=CLASS_COLORS[index % len(CLASS_COLORS)])
    axes.set_xlim(left=0)


def _draw_backward(axes: Axes, rows: Sequence[tuple[int, SolverTraining]]) -> None:
    """Put the evaluations of the backward pass behind those of the forward pass, if any has one."""
    if not any(training.nfe_backward for _, training in rows):
        return
    for row, training in rows:
        axes.barh(
            row,
            training.nfe_backward,
            left=training.nfe_forward,
            height=0.62,
            color="white",
            edgecolor=GRAY,
            hatch="///",
        )
    axes.set_xlim(0, 1.05 * max(one.nfe_forward + one.nfe_backward for _, one in rows))
    axes.set_xlabel("evaluations a training step\n(hatched: backward)")
