"""Accuracy under corruptions, and what the corruptions look like."""

import math
from collections.abc import Mapping

from jaxtyping import UInt8
from matplotlib.figure import Figure
from torch import Tensor

from odevision.evaluation.corruptions import CorruptionResult
from odevision.visual.image_grid import show_image
from odevision.visual.theme import drawing_style, new_figure

_NUM_COLUMNS = 4


def plot_corruptions(result: CorruptionResult, *, title: str = "") -> Figure:
    """Draw a table of accuracies: a row a corruption, a column a severity, and their means.

    Args:
        result: of `check_corruptions`.
        title: which model and images.

    Returns:
        The figure. Each cell holds its number; its shade repeats it.
    """
    rows = [[*shares, sum(shares) / len(shares)] for shares in result.accuracy.values()]
    rows.append([sum(column) / len(rows) for column in zip(*rows, strict=True)])
    names = [*(name.replace("_", " ") for name in result.accuracy), "mean"]
    with drawing_style():
        figure = new_figure(7.0, 0.31 * len(rows) + 1.7)
        axes = figure.subplots()
        axes.imshow(rows, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
        for y, row in enumerate(rows):
            for x, share in enumerate(row):
                axes.text(
                    x,
                    y,
                    f"{100 * share:.1f}",
                    ha="center",
                    va="center",
                    fontsize=9,
                    color="white" if share > 0.55 else "black",
                    fontweight="bold" if y == len(rows) - 1 or x == len(row) - 1 else "normal",
                )
        axes.set_xticks(range(len(rows[0])), [*map(str, result.severities), "mean"])
        axes.set_yticks(range(len(rows)), names)
        axes.tick_params(length=0)
        axes.set_xlabel("severity")
        axes.axhline(len(rows) - 1.5, color="white", linewidth=3)
        axes.axvline(len(rows[0]) - 1.5, color="white", linewidth=3)
        for spine in axes.spines.values():
            spine.set_visible(False)
        figure.suptitle(title or "Accuracy under corruptions, %", fontsize=12)
        axes.set_title(
            f"accuracy in %; without corruption {result.clean_accuracy:.1%}; "
            f"{result.num_samples:,} images a cell",
            fontsize=9,
        )
    return figure


def plot_corruption_examples(
    examples: Mapping[str, UInt8[Tensor, "channels height width"]], *, title: str = ""
) -> Figure:
    """Draw one image under each corruption.

    Args:
        examples: what stands above an image -> the image.
        title: which severity.

    Returns:
        The figure.

    Raises:
        ValueError: there is no image.
    """
    if not examples:
        raise ValueError("`examples` must hold an image at least, got none.")
    num_rows = math.ceil(len(examples) / _NUM_COLUMNS)
    with drawing_style():
        figure = new_figure(1.5 * _NUM_COLUMNS, 1.72 * num_rows + 0.4)
        grid = figure.subplots(num_rows, _NUM_COLUMNS, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, (name, image) in zip(grid.flat, examples.items(), strict=False):
            show_image(axes, image)
            axes.set_title(name.replace("_", " "), fontsize=9, pad=3)
        figure.suptitle(title or "Corruptions", fontsize=12)
    return figure
