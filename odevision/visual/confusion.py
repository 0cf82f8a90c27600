"""The confusion matrix of an evaluation."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from odevision.visual.image_grid import shorten
from odevision.visual.theme import LIGHT_GRAY, drawing_style, new_figure

MAX_CLASSES_WITH_TEXT = 20
"""Beyond this many classes a number in each cell would be too small to read."""

_LARGE_SIDE = 15.0
"""Inches; 100 names then stand at 7 points without touching."""


def _cell_text(axes: Axes, counts: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    font_size = 10.0 if len(counts) <= 12 else 7.0
    for row, column in zip(*np.nonzero(counts), strict=True):
        axes.text(
            column,
            row,
            f"{counts[row, column]}",
            ha="center",
            va="center",
            fontsize=font_size,
            color="white" if shares[row, column] > 0.62 else "black",
        )


def _worst_pairs(counts: NDArray[np.int64], class_names: Sequence[str], number: int) -> str:
    """Name the pairs of classes confused most often, for a matrix without numbers."""
    errors = counts.copy()
    np.fill_diagonal(errors, 0)
    order = np.argsort(errors, axis=None, kind="stable")[::-1][:number]
    rows, columns = np.unravel_index(order, errors.shape)
    found = [
        f"{class_names[row]} taken for {class_names[column]}: {errors[row, column]}"
        for row, column in zip(rows, columns, strict=True)
        if errors[row, column] > 0
    ]
    return "\n".join(found)


def plot_confusion(
    confusion_matrix: Sequence[Sequence[int]],
    class_names: Sequence[str],
    *,
    title: str = "",
    samples: str = "images",
) -> Figure:
    """Draw a confusion matrix; color is the share of the true class, text the count.

    Args:
        confusion_matrix: counts; rows are true classes, columns predicted ones.
        class_names: names in index order.
        title: what was evaluated.
        samples: what was answered.

    Returns:
        The figure. With more than 20 classes the cells carry no text and the most frequent
        confusions are named below instead.

    Raises:
        ValueError: there is no class.
    """
    if not len(class_names):
        raise ValueError("`class_names` must hold a class at least, got none.")
    counts = np.asarray(confusion_matrix, dtype=np.int64)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    num_classes = len(counts)
    is_small = num_classes <= MAX_CLASSES_WITH_TEXT
    names = [shorten(name, 18) for name in class_names]
    with drawing_style():
        side = max(4.8, 0.55 * num_classes + 2.2) if is_small else _LARGE_SIDE
        figure = new_figure(side + 0.9, side)
        axes = figure.subplots()
        # Single mistakes among many classes are faint on a linear scale, and no number helps.
        norm = Normalize(0.0, 1.0) if is_small else PowerNorm(0.5, 0.0, 1.0)
        image = axes.imshow(shares, cmap="Blues", norm=norm, interpolation="nearest")
        font_size = 10.0 if is_small else min(10.0, 700.0 / num_classes)
        is_rotated = max(map(len, names)) > 3
        axes.set_xticks(range(num_classes), names, rotation=90 if is_rotated else 0)
        axes.set_yticks(range(num_classes), names)
        axes.tick_params(labelsize=font_size, length=2)
        axes.set_ylabel("true class")
        note = "" if is_small else _worst_pairs(counts, names, 3)
        axes.set_xlabel(
            "predicted class" + (f"\n\nthe most frequent mistakes\n{note}" if note else "")
        )
        axes.spines[:].set_visible(False)
        if is_small:
            _cell_text(axes, counts, shares)
            edges = np.arange(num_classes + 1) - 0.5
            axes.set_xticks(edges, minor=True)
            axes.set_yticks(edges, minor=True)
            axes.grid(which="minor", color=LIGHT_GRAY, linewidth=0.6)
            axes.tick_params(which="minor", length=0)
        bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
        bar.set_label(f"share of the true class's {samples}")
        bar.outline.set_visible(False)
        if title:
            axes.set_title(title, fontsize=12, pad=10)
    return figure
