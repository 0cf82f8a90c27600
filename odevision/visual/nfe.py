"""Evaluations of the vector field over a training run."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from odevision.visual.theme import SKY, VERMILION, drawing_style, light_grid, new_figure


def plot_nfe(steps: Sequence[Mapping[str, Any]], *, title: str = "") -> Figure:
    """Draw how often the vector field is evaluated a training step, forward and backward.

    Args:
        steps: records with `step`, `nfe_forward`, `nfe_backward` (summed over the blocks).
        title: which model and solver.

    Returns:
        The figure.

    Raises:
        ValueError: no record has an NFE.
    """
    known = [record for record in steps if record.get("nfe_forward") is not None]
    if not known:
        raise ValueError("`steps` must have records with `nfe_forward`, got none.")
    numbers = [record["step"] for record in known]
    # Exact gradients often cost as many evaluations as the forward solve: a thin dashed line
    # over a broad one shows both.
    looks = (
        ("nfe_forward", "forward", SKY, "-", 5.0),
        ("nfe_backward", "backward", VERMILION, "--", 1.6),
    )
    with drawing_style():
        figure = new_figure(8.0, 4.2)
        axes = figure.subplots()
        for key, label, color, dashes, width in looks:
            values = [float(record.get(key) or 0.0) for record in known]
            axes.plot(
                numbers,
                values,
                color=color,
                linestyle=dashes,
                linewidth=width,
                label=f"{label} (last: {values[-1]:.4g})",
            )
        axes.set_xlabel("training step")
        axes.set_ylabel("vector field evaluations a step")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        highest = max(axes.get_ylim()[1], 1.0)
        axes.set_ylim(0.0, 1.22 * highest)
        axes.legend(loc="upper right", ncols=2)
        light_grid(axes)
        axes.set_title(title or "Evaluations of the vector field", fontsize=12)
    return figure
