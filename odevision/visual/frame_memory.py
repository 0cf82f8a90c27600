"""Training memory of a video network against the number of frames."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from odevision.visual.theme import CLASS_COLORS, drawing_style, light_grid, new_figure


def plot_frame_memory(peaks: Mapping[str, Sequence[tuple[int, int]]], *, title: str = "") -> Figure:
    """Draw peak bytes of a training step against the frames of a clip, on doubled scales.

    Args:
        peaks: name -> (frames, bytes).
        title: what was trained.

    Returns:
        The figure.
    """
    with drawing_style():
        figure = new_figure(5.6, 3.8)
        axes = figure.subplots()
        light_grid(axes)
        for index, (name, points) in enumerate(peaks.items()):
            axes.plot(
                [frames for frames, _ in points],
                [num_bytes / 2**20 for _, num_bytes in points],
                color=CLASS_COLORS[index % len(CLASS_COLORS)],
                marker="os^Dv*P"[index % 7],
                label=name,
            )
        frames = sorted({frames for points in peaks.values() for frames, _ in points})
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xticks(frames, [str(number) for number in frames])
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("frames of a clip")
        axes.set_ylabel("peak MiB of a training step")
        axes.legend()
        if title:
            axes.set_title(title)
    return figure
