"""Properties that every picture must have, and those of single ones."""

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from odevision.evaluation.calibration import reliability_bins
from odevision.evaluation.gallery import make_gallery
from odevision.evaluation.predict import Prediction
from odevision.evaluation.trajectory import BlockTrajectories, FeatureTrajectories
from odevision.visual import (
    plot_confusion,
    plot_gallery,
    plot_nfe,
    plot_reliability,
    plot_top,
    plot_training_curves,
    plot_trajectories,
    save_figure,
)

EPOCHS = [
    {
        "event": "epoch",
        "epoch": epoch,
        "train_loss": 1 / epoch,
        "train_accuracy": 1 - 0.5 / epoch,
        "validation_loss": 1.1 / epoch if epoch % 2 == 0 else None,
        "validation_accuracy": 1 - 0.6 / epoch if epoch % 2 == 0 else None,
    }
    for epoch in range(1, 9)
]
STEPS = [{"step": 10 * i, "nfe_forward": 14.0 + i, "nfe_backward": 14.0} for i in range(1, 20)]
LONG_NAMES = tuple(f"class_with_a_long_name_{index}" for index in range(100))


def gallery_figure(num: int = 64, classes: int = 10, mistakes: bool = True) -> Figure:
    """A grid of noise with answers at random, or all right."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (num, 3, 16, 16), dtype=torch.uint8, generator=generator)
    probabilities = torch.rand(num, classes, generator=generator).softmax(dim=1)
    labels = torch.randint(0, classes, (num,), generator=generator)
    labels = labels if mistakes else probabilities.argmax(dim=1)
    names = LONG_NAMES[:classes]
    return plot_gallery(
        make_gallery(images.__getitem__, probabilities, labels, names, data="noise")
    )


def confusion_figure(classes: int) -> Figure:
    """A confusion matrix with counts of up to four digits."""
    counts = np.random.default_rng(0).integers(0, 30, (classes, classes))
    counts += 1_000 * np.eye(classes, dtype=counts.dtype)
    return plot_confusion(counts.tolist(), LONG_NAMES[:classes], title="noise")


def trajectories_figure(blocks: int = 1, classes: int = 10) -> Figure:
    """Random walks."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3 * classes) % classes
    walks = [
        BlockTrajectories(
            name=f"ODE block {index + 1}",
            ts=torch.linspace(0, 1, 7),
            paths=torch.randn(7, len(labels), 2, generator=generator).cumsum(dim=0),
            explained=(0.5, 0.2),
        )
        for index in range(blocks)
    ]
    return plot_trajectories(
        FeatureTrajectories(blocks=tuple(walks), labels=labels, class_names=LONG_NAMES)
    )


def top_figure(width: int = 120, height: int = 90) -> Figure:
    """A black photo."""
    top = tuple((LONG_NAMES[index], 0.9 / 2**index) for index in range(5))
    prediction = Prediction(path=f"a/{'x' * 60}.jpg", label=top[0][0], probability=0.9, top=top)
    photo = np.zeros((height, width, 3), dtype=np.uint8)
    return plot_top(photo, prediction, seen=np.zeros((32, 32), dtype=np.uint8), model="model")


def unknown_figure() -> Figure:
    """A photo that is none of the classes, of a model with a long name."""
    top = tuple((LONG_NAMES[index], 0.9 / 2**index) for index in range(5))
    reason = "looks like none of the 1000 classes (probability 0.612 < 0.723)"
    prediction = Prediction(
        path="x.jpg", label="unknown", probability=0.9, top=top, unknown=True, reason=reason
    )
    return plot_top(np.zeros((90, 120, 3), dtype=np.uint8), prediction, model=LONG_NAMES[0])


def reliability_figure(panels: int = 2, num: int = 500) -> Figure:
    """Labels drawn at random from the probabilities."""
    generator = torch.Generator().manual_seed(0)
    probabilities = (2 * torch.randn(num, 10, generator=generator)).softmax(dim=1)
    labels = torch.multinomial(probabilities, 1, generator=generator)[:, 0]
    bins = reliability_bins(probabilities, labels)
    names = ("as trained: ECE 15.10%", "calibrated: ECE 1.73%")
    return plot_reliability([(name, bins) for name in names[:panels]], title="run")


FIGURES = {
    "gallery": gallery_figure,
    "gallery without mistakes": lambda: gallery_figure(mistakes=False),
    "gallery of one": lambda: gallery_figure(num=1),
    "curves": lambda: plot_training_curves(EPOCHS, title="run"),
    "curves of one epoch": lambda: plot_training_curves(EPOCHS[:1]),
    "confusion of 2": lambda: confusion_figure(2),
    "confusion of 10": lambda: confusion_figure(10),
    "confusion of 20": lambda: confusion_figure(20),
    "confusion of 100": lambda: confusion_figure(100),
    "trajectories": trajectories_figure,
    "trajectories of 3 blocks": lambda: trajectories_figure(blocks=3),
    "trajectories of 20 classes": lambda: trajectories_figure(classes=20),
    "top": top_figure,
    "top of a tall photo": lambda: top_figure(width=40, height=400),
    "top of a wide photo": lambda: top_figure(width=400, height=40),
    "top of an unknown photo": unknown_figure,
    "reliability": reliability_figure,
    "reliability of three images": lambda: reliability_figure(panels=1, num=3),
    "nfe": lambda: plot_nfe(STEPS, title="run"),
}


def texts_of(figure: Figure) -> list[Text]:
    """All texts that are drawn; matplotlib also keeps labels of ticks beyond the axes' limits."""
    hidden: set[Text] = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            margin = 1e-6 * (high - low)
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                is_beyond = not low - margin <= tick.get_loc() <= high + margin
                if is_beyond or not axes.axison:
                    hidden |= {tick.label1, tick.label2}
    return [
        text
        for text in figure.findobj(Text)
        if text not in hidden and text.get_visible() and text.get_text().strip()
    ]


def check_texts(figure: Figure) -> None:
    """Fail where a text is cut off or covers another."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    whole = figure.bbox.padded(1.0)
    boxes = []
    for text in texts_of(figure):
        box = text.get_window_extent(renderer)
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1, f"{text.get_text()!r} is cut"
        assert whole.y0 <= box.y0 and box.y1 <= whole.y1, f"{text.get_text()!r} is cut"
        boxes.append((text.get_text(), box))
    for index, (first, box) in enumerate(boxes):
        for second, other in boxes[index + 1 :]:
            overlap_x = min(box.x1, other.x1) - max(box.x0, other.x0)
            overlap_y = min(box.y1, other.y1) - max(box.y0, other.y0)
            assert overlap_x < 2 or overlap_y < 2, f"{first!r} covers {second!r}"


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_leaves_the_figure_or_covers_another(name: str) -> None:
    check_texts(FIGURES[name]())


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_too_small_to_read(name: str) -> None:
    assert min(text.get_fontsize() for text in texts_of(FIGURES[name]())) >= 7


def test_drawing_leaves_the_settings_of_matplotlib_alone() -> None:
    before = dict(matplotlib.rcParams)
    trajectories_figure()
    assert dict(matplotlib.rcParams) == before


def test_a_wrong_answer_is_marked_by_more_than_color() -> None:
    texts = [text.get_text() for text in texts_of(gallery_figure())]
    assert any(text.startswith("✗ ") for text in texts)
    right = [text.get_text() for text in texts_of(gallery_figure(mistakes=False))]
    assert not any(text.startswith("✗ ") for text in right)


def test_the_grid_shows_true_class_predicted_class_and_probability() -> None:
    texts = " ".join(text.get_text() for text in texts_of(gallery_figure(classes=2)))
    assert "true: class" in texts
    assert "%)" in texts


def test_many_classes_have_no_numbers_in_the_cells() -> None:
    few, many = (confusion_figure(classes).axes[0].texts for classes in (10, 100))
    assert few
    assert not many


def test_epochs_without_validation_are_left_out_of_its_curve() -> None:
    axes = plot_training_curves(EPOCHS).axes[0]
    lengths = {line.get_label(): len(line.get_xdata()) for line in axes.lines}
    assert lengths == {"training": 8, "validation": 4}


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="`epochs` must have"):
        plot_training_curves([])
    with pytest.raises(ValueError, match="`steps` must have"):
        plot_nfe([])
    with pytest.raises(ValueError, match="`panels` must have"):
        plot_reliability([])
    empty = FeatureTrajectories(blocks=(), labels=torch.zeros(0).long(), class_names=())
    with pytest.raises(ValueError, match="`trajectories` must have"):
        plot_trajectories(empty)


def test_an_unknown_photo_is_called_so_with_the_reason() -> None:
    heading = unknown_figure().get_suptitle()
    assert "unknown: looks like none of" in heading
    assert "0.723)" in heading


def test_the_reliability_diagram_shows_each_filled_bin_and_the_share_of_all() -> None:
    upper, lower = reliability_figure(panels=1).axes
    assert len(lower.patches) == 15
    assert sum(bar.get_height() for bar in lower.patches) == pytest.approx(1)
    filled = sum(bar.get_height() > 0 for bar in lower.patches)
    assert len(upper.patches) == filled


def test_saving_makes_the_folder(tmp_path) -> None:
    path = save_figure(plot_nfe(STEPS), tmp_path / "new" / "nfe.png")
    assert path.stat().st_size > 1_000
