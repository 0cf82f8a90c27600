"""Names that matplotlib would take for formulas or hide, numbers that are not finite, no input."""

import threading
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch

from odevision.visual import (
    plot_class_probabilities,
    plot_confusion,
    plot_corruption_examples,
    plot_training_curves,
    save_figure,
)
from odevision.visual.caption import burn_caption
from odevision.visual.seen_frames import flow_pictures
from odevision.visual.theme import drawing_style

NAMES = ("_background", "$5 \\x$", "cat")


def test_names_with_dollars_are_drawn_as_they_stand(tmp_path: Path) -> None:
    figure = plot_confusion([[3, 1, 0], [0, 2, 0], [0, 0, 1]], NAMES, title="from $5 to $6.jpg")
    assert save_figure(figure, tmp_path / "confusion.png").stat().st_size > 1_000
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == list(NAMES)


def test_names_with_an_underscore_are_in_the_legend(tmp_path: Path) -> None:
    shares = np.array([[0.8, 0.1, 0.1], [0.2, 0.1, 0.7]])
    figure = plot_class_probabilities([0.0, 1.0], shares, NAMES)
    save_figure(figure, tmp_path / "probabilities.png")
    legend = figure.axes[0].get_legend()
    assert legend is not None
    shown = {text.get_text().lstrip("\u200b") for text in legend.get_texts()}
    assert shown == set(NAMES)


def test_an_epoch_that_is_nan_is_not_the_best() -> None:
    record = {"train_loss": 1.0, "train_accuracy": 0.5, "validation_loss": 1.0}
    epochs = [
        {"epoch": 1, **record, "validation_accuracy": float("nan")},
        {"epoch": 2, **record, "validation_accuracy": 0.7},
    ]
    assert "70.00%, epoch 2" in plot_training_curves(epochs).axes[1].get_title()


def test_a_probability_that_is_nan_has_no_bar() -> None:
    image = torch.zeros(3, 40, 60, dtype=torch.uint8)
    none, nan = burn_caption(image, "x", 0.0), burn_caption(image, "x", float("nan"))
    assert torch.equal(none, nan)
    assert not torch.equal(burn_caption(image, "x", 0.5), none)


def test_flow_that_is_nan_is_white() -> None:
    flow = torch.zeros(1, 2, 4, 5)
    flow[0, :, 0, 0] = torch.nan
    assert flow_pictures(flow).eq(255).all()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot_class_probabilities([], np.zeros((0, 3)), NAMES),
        lambda: plot_confusion([], []),
        lambda: plot_corruption_examples({}),
    ],
)
def test_nothing_to_draw_is_refused_by_name(draw) -> None:
    with pytest.raises(ValueError, match=r"` must hold .*, got none"):
        draw()


def test_drawing_in_two_threads_leaves_the_settings_as_they_were() -> None:
    before = dict(mpl.rcParams)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with drawing_style():
            inside.set()
            leave.wait(10)

    first = threading.Thread(target=hold)
    first.start()
    assert inside.wait(10)
    second = threading.Thread(target=lambda: plot_confusion([[1]], ["a"]))
    second.start()
    leave.set()
    first.join(30)
    second.join(30)
    assert not first.is_alive() and not second.is_alive()
    assert dict(mpl.rcParams) == before
