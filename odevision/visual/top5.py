"""A photo beside bars of its most probable classes."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from odevision.evaluation.predict import Prediction
from odevision.visual.image_grid import shorten
from odevision.visual.theme import BLUE, LIGHT_GRAY, drawing_style, new_figure


def plot_top(
    photo: NDArray[np.uint8],
    prediction: Prediction,
    *,
    seen: NDArray[np.uint8] | None = None,
    model: str = "",
) -> Figure:
    """Draw a photo and, beside it, its most probable classes.

    Args:
        photo: the upright photo, "height width" or "height width 3", 0 to 255.
        prediction: the model's answer for it.
        seen: the photo as the model sees it, after resizing and cropping, in the same layout;
            drawn small beside the photo, since what was cut away cannot count.
        model: name of the model, for the title.

    Returns:
        The figure.
    """
    names = [shorten(label, 20) for label, _ in prediction.top]
    values = [probability for _, probability in prediction.top]
    with drawing_style():
        figure = new_figure(9.6, 4.2)
        ratios = [1.25, 0.5, 1.35] if seen is not None else [1.25, 1.35]
        panels = figure.subplots(1, len(ratios), width_ratios=ratios)
        titles = [shorten(prediction.path.replace("\\", "/").rsplit("/", 1)[-1], 32)]
        pictures = [photo]
        if seen is not None:
            titles.append(f"as the model\nsees it ({seen.shape[1]} × {seen.shape[0]})")
            pictures.append(seen)
        for axes, pixels, text in zip(panels, pictures, titles, strict=False):
            smooth = "antialiased" if min(pixels.shape[:2]) > 128 else "nearest"
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation=smooth)
            axes.set_title(text, fontsize=9.5)
            axes.set_axis_off()

        bars = panels[-1]
        bars.barh(range(len(values)), values, color=[BLUE] + ["#9CC4DE"] * (len(values) - 1))
        bars.set_yticks(range(len(names)), names)
        bars.invert_yaxis()
        # The longest bar ends at 100 %: room beyond it keeps its number inside the figure.
        bars.set_xlim(0.0, 1.18)
        bars.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0])
        bars.xaxis.set_major_formatter(PercentFormatter(xmax=1.0, symbol=""))
        bars.set_xlabel("probability (%)")
        bars.grid(axis="x", color=LIGHT_GRAY, linewidth=0.6)
        bars.set_axisbelow(True)
        for row, value in enumerate(values):
            weight = "bold" if row == 0 else "normal"
            bars.text(value + 0.015, row, f"{value:.1%}", va="center", fontweight=weight)
        heading = f"{prediction.label}, {prediction.probability:.1%}"
        if prediction.unknown:
            heading = f"{prediction.label}: {shorten(prediction.reason or '', 64)}"
        heading = f"{shorten(model, 24)}: {heading}" if model else heading
        figure.suptitle(heading, fontsize=10.5 if prediction.unknown else 13)
    return figure
