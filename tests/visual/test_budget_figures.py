"""Figures of a sweep and of corruptions: what they say."""

from collections.abc import Callable

import pytest
import torch
from matplotlib.figure import Figure
from test_figures import check_texts

from odevision.data.corruptions import CORRUPTIONS
from odevision.evaluation.corruptions import CorruptionResult
from odevision.evaluation.sweep import SweepPoint
from odevision.visual import plot_corruption_examples, plot_corruptions, plot_sweep


def sweep_point(solver: str, nfe: float, accuracy: float, tolerance: float | None) -> SweepPoint:
    return SweepPoint(
        solver=solver,
        num_steps=None if tolerance else 1,
        tolerance=tolerance,
        nfe_per_block=nfe,
        nfe=3 * nfe,
        accuracy=accuracy,
        loss=1.0,
        changed_share=0.0,
        milliseconds_per_image=1.0,
        is_own=solver == "midpoint" and nfe == 2,
    )


def points(accuracy: float = 0.9) -> list[SweepPoint]:
    constant = [
        sweep_point(solver, nfe, accuracy - 0.01 / nfe, None)
        for solver in ("midpoint", "euler", "rk4")
        for nfe in (16.0, 2.0, 4.0)
    ]
    adaptive = [sweep_point("tsit5", 14.0 + i, accuracy, 10.0**-i) for i in range(1, 4)]
    return constant + adaptive


def result() -> CorruptionResult:
    rows = {name: [0.9, 0.8, 0.7, 0.5, 0.125] for name in CORRUPTIONS}
    return CorruptionResult(
        accuracy=rows,
        severities=(1, 2, 3, 4, 5),
        mean_error=0.395,
        clean_accuracy=0.95,
        num_samples=10_000,
        seed=0,
    )


def examples_figure() -> Figure:
    images = torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8)
    names = ["as it is", *CORRUPTIONS]
    return plot_corruption_examples(dict(zip(names, images, strict=True)))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot_sweep(points(), title="run, 10,000 cifar10 test images"),
        lambda: plot_corruptions(result(), title="run: cifar10 under corruptions"),
        examples_figure,
    ],
)
def test_no_text_leaves_the_figure_or_covers_another(draw: Callable[[], Figure]) -> None:
    check_texts(draw())


def test_a_sweep_is_drawn_in_the_order_of_the_evaluations() -> None:
    left, right = plot_sweep(points()).axes
    lines = {line.get_label(): line for line in left.lines}
    assert list(lines["rk4"].get_xdata()) == [2.0, 4.0, 16.0]
    assert list(lines["the model's own"].get_xdata()) == [2.0]
    assert [line.get_label() for line in right.lines if len(line.get_xdata()) == 3] == ["tsit5"]


def test_equal_accuracies_are_not_blown_up() -> None:
    same = [sweep_point("euler", nfe, 0.9, None) for nfe in (2.0, 4.0)]
    low, high = plot_sweep(same).axes[0].get_ylim()
    assert high - low >= 0.02 - 1e-9


def test_a_sweep_without_points_is_refused() -> None:
    with pytest.raises(ValueError, match="`points` must"):
        plot_sweep([])


def test_the_table_holds_every_accuracy_and_the_means() -> None:
    texts = [text.get_text() for text in plot_corruptions(result()).axes[0].texts]
    assert len(texts) == 16 * 6
    assert texts[:6] == ["90.0", "80.0", "70.0", "50.0", "12.5", "60.5"]
    assert texts[-1] == "60.5"


def test_every_corruption_has_its_picture() -> None:
    titles = [axes.get_title() for axes in examples_figure().axes]
    assert titles == ["as it is", *(name.replace("_", " ") for name in CORRUPTIONS)]
