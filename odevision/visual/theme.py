"""Colors and figure set-up shared by all pictures.

Colors are Okabe and Ito's and Tol's palettes, told apart under the common color blindnesses;
still no picture says anything by color alone (marks, dashes or words repeat it).
"""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE = "#0072B2"
SKY = "#56B4E9"
VERMILION = "#D55E00"
GRAY = "#6B6B6B"
LIGHT_GRAY = "#D9D9D9"

CLASS_COLORS = (
    "#332288",
    "#E69F00",
    "#44AA99",
    "#CC6677",
    "#56B4E9",
    "#117733",
    "#882255",
    "#999933",
    "#AA4499",
    "#000000",
)
"""Ten colors for ten classes (Tol's muted scheme, its pale ones exchanged for Okabe's)."""

DPI = 150
"""Resolution of saved pictures: sharp on a page and still a small file."""

_STYLE: dict[Any, Any] = {
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "legend.frameon": False,
    # A name such as "$5 to $6.jpg" is no formula.
    "text.parse_math": False,
}
_DRAWING = threading.RLock()


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure that arranges its parts without overlap.

    It is made without pyplot, so no state is kept and no display is needed.

    Args:
        width: in inches.
        height: in inches.
    """
    return Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")


@contextlib.contextmanager
def drawing_style() -> Iterator[None]:
    """A context in which figures are drawn; matplotlib's settings are as before after it.

    They are settings of the process, so that one thread draws at a time.
    """
    with _DRAWING, mpl.rc_context(_STYLE):
        yield


def legend_name(name: str) -> str:
    """A name as a legend shows it: matplotlib hides those that begin with an underscore."""
    return f"\u200b{name}" if name.startswith("_") else name


def light_grid(axes: Axes) -> None:
    """Put a pale horizontal grid behind the data."""
    axes.grid(axis="y", color=LIGHT_GRAY, linewidth=0.6)
    axes.set_axisbelow(True)


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as an image file, making its folder if needed.

    Args:
        figure: what to write.
        path: where; the suffix gives the format (png, pdf, svg).

    Returns:
        The path written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)
    return path
