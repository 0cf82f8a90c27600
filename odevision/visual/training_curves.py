"""Training and validation loss and accuracy over the epochs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from odevision.visual.theme import BLUE, GRAY, VERMILION, drawing_style, light_grid, new_figure


def _series(epochs: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Return (epoch, value) pairs; epochs without the value (not evaluated, NaN) are left out."""
    found = [(float(record["epoch"]), record.get(key)) for record in epochs]
    known = [(epoch, float(x)) for epoch, x in found if x is not None and math.isfinite(x)]
    return [epoch for epoch, _ in known], [value for _, value in known]


def _draw_pair(axes: Axes, epochs: Sequence[Mapping[str, Any]], quantity: str) -> None:
    """Draw training (dashed, circles) and validation (solid, squares) values."""
    looks = (
        ("train", "training", VERMILION, "--", "o"),
        ("validation", "validation", BLUE, "-", "s"),
    )
    for prefix, label, color, dashes, marker in looks:
        numbers, values = _series(epochs, f"{prefix}_{quantity}")
        axes.plot(
            numbers,
            values,
            color=color,
            linestyle=dashes,
            marker=marker if len(numbers) <= 40 else None,
            markersize=4,
            label=label,
        )
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    light_grid(axes)
    axes.legend(loc="best")


def plot_training_curves(epochs: Sequence[Mapping[str, Any]], *, title: str = "") -> Figure:
    """Draw loss and accuracy over the epochs, for training and validation.

    Args:
        epochs: records with `epoch`, `train_loss`, `train_accuracy`, `validation_loss`,
            `validation_accuracy` (accuracies as fractions of 1).
        title: what was trained.

    Returns:
        The figure: loss on the left, accuracy in percent on the right.

    Raises:
        ValueError: there is no epoch to draw.
    """
    if not epochs:
        raise ValueError("`epochs` must have at least one record, got none. Train an epoch first.")
    with drawing_style():
        figure = new_figure(10.0, 4.3)
        left, right = figure.subplots(1, 2)
        _draw_pair(left, epochs, "loss")
        left.set_title("Loss")
        left.set_ylabel("cross-entropy (nats)")
        left.set_ylim(bottom=0)

        _draw_pair(right, epochs, "accuracy")
        right.set_title("Accuracy")
        right.set_ylabel("images classified right (%)")
        right.yaxis.set_major_formatter(PercentFormatter(xmax=1.0, symbol=""))
        numbers, values = _series(epochs, "validation_accuracy")
        if values:
            best = max(range(len(values)), key=values.__getitem__)
            right.set_title(
                f"Accuracy (best validation: {values[best]:.2%}, epoch {numbers[best]:.0f})"
            )
        if title:
            figure.suptitle(title, fontsize=13)
        figure.supxlabel(
            "Training: mean over the epoch while the weights change, with augmentation and label "
            "smoothing where the recipe has them.\nValidation: at the end of the epoch.",
            fontsize=9,
            color=GRAY,
        )
    return figure
