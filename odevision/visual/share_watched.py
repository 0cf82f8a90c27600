"""How early a model knows: accuracy against the share of each video that was watched."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from odevision.visual.theme import (
    CLASS_COLORS,
    drawing_style,
    legend_name,
    light_grid,
    new_figure,
)


def plot_share_watched(
    accuracies: Mapping[str, Sequence[tuple[float, float]]], *, title: str = ""
) -> Figure:
    """Draw accuracy against the share watched.

    Args:
        accuracies: name of the model -> (share watched, accuracy), both from 0 to 1.
        title: what was evaluated.

    Returns:
        The figure.
    """
    with drawing_style():
        figure = new_figure(5.6, 3.6)
        axes = figure.subplots()
        light_grid(axes)
        for index, (name, points) in enumerate(accuracies.items()):
            axes.plot(
                [100 * share for share, _ in points],
                [100 * accuracy for _, accuracy in points],
                color=CLASS_COLORS[index % len(CLASS_COLORS)],
                marker="os^Dv*P"[index % 7],
                label=legend_name(name),
            )
        axes.set_xlabel("share of each video watched (%)")
        axes.set_ylabel("accuracy (%)")
        axes.set_ylim(top=101)
        if len(accuracies) > 1:
            axes.legend()
        if title:
            axes.set_title(title)
    return figure
