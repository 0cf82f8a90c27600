"""A grid of test images with the true class, the predicted class and its probability."""

import math
from collections.abc import Sequence

from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from odevision.evaluation.gallery import Gallery, GalleryItem
from odevision.visual.theme import BLUE, GRAY, VERMILION, drawing_style, new_figure

_NUM_COLUMNS = 8
_CELL_WIDTH = 1.42
_CELL_HEIGHT = 1.72


def show_image(axes: Axes, image: UInt8[Tensor, "channels height width"]) -> None:
    """Draw an image without ticks; one channel is drawn in gray.

    Args:
        axes: where.
        image: 0 to 255. Small images keep their pixels visible, as the model sees them.
    """
    pixels = image.permute(1, 2, 0).cpu().numpy()
    smooth = "antialiased" if min(pixels.shape[:2]) > 128 else "nearest"
    if pixels.shape[2] == 1:
        axes.imshow(pixels[:, :, 0], cmap="gray", vmin=0, vmax=255, interpolation=smooth)
    else:
        axes.imshow(pixels, interpolation=smooth)
    axes.set_xticks([])
    axes.set_yticks([])


def shorten(name: str, length: int) -> str:
    """Cut the middle out of a long name: names that begin alike mostly end differently."""
    num_last = length // 3
    return name if len(name) <= length else f"{name[: length - 1 - num_last]}…{name[-num_last:]}"


def _draw_item(axes: Axes, item: GalleryItem) -> None:
    show_image(axes, item.image)
    right = item.is_correct
    mark, color = ("✓", BLUE) if right else ("✗", VERMILION)
    axes.set_title(
        f"{mark} {shorten(item.label, 10)} ({item.probability:.0%})",
        fontsize=8.2,
        color=color,
        fontweight="normal" if right else "bold",
        pad=3,
    )
    axes.set_xlabel(f"true: {shorten(item.true_label, 14)}", fontsize=8.5, labelpad=2)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_edgecolor(color)
        spine.set_linewidth(1.0 if right else 2.2)
        spine.set_linestyle("-" if right else (0, (3, 1.5)))


def _draw_rows(part: Figure | SubFigure, items: Sequence[GalleryItem], title: str) -> None:
    part.suptitle(title, fontsize=11, x=0.01, ha="left")
    num_rows = math.ceil(len(items) / _NUM_COLUMNS)
    grid = part.subplots(num_rows, _NUM_COLUMNS, squeeze=False, gridspec_kw={"wspace": 0.08})
    for index, axes in enumerate(grid.flat):
        if index < len(items):
            _draw_item(axes, items[index])
        else:
            axes.set_axis_off()


def plot_gallery(gallery: Gallery) -> Figure:
    """Draw a plain sample of a split and, below it, the most confident mistakes.

    Args:
        gallery: at least one image.

    Returns:
        The figure. A wrong answer carries a cross, bold type and a dashed frame; a right one
        a check mark and a thin frame.
    """
    is_whole = len(gallery.sample) == gallery.num_samples
    which = "All images" if is_whole else f"A random sample of {len(gallery.sample)} images"
    sections = [(gallery.sample, which)]
    if gallery.mistakes:
        shown = len(gallery.mistakes)
        which = "All" if shown == gallery.num_mistakes else f"The {shown} most confident of"
        noun = "mistake" if gallery.num_mistakes == 1 else "mistakes"
        text = f"{which} {gallery.num_mistakes} {noun}, the most confident first"
        if shown == gallery.num_mistakes == 1:
            text = "The only mistake"
        sections.append((gallery.mistakes, text))

    heights = [math.ceil(len(items) / _NUM_COLUMNS) for items, _ in sections]
    with drawing_style():
        height = _CELL_HEIGHT * sum(heights) + 0.4 * len(sections) + 0.75
        figure = new_figure(_CELL_WIDTH * _NUM_COLUMNS, height)
        num_right = gallery.num_samples - gallery.num_mistakes
        name = f"{gallery.data} {gallery.split}".strip()
        figure.suptitle(
            f"{name}: {num_right:,} of {gallery.num_samples:,} right "
            f"({num_right / gallery.num_samples:.2%})",
            fontsize=13,
        )
        parts = figure.subfigures(len(sections), 1, height_ratios=heights, squeeze=False)
        for part, (items, title) in zip(parts[:, 0], sections, strict=True):
            _draw_rows(part, items, title)
        figure.supxlabel(
            "Above each image: predicted class and its probability (✓ right, ✗ wrong).",
            fontsize=9,
            color=GRAY,
        )
    return figure
