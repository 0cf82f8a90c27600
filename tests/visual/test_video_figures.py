"""Figures of videos: probabilities over time, share watched, memory; captions in frames."""

import numpy as np
import torch
from test_figures import check_texts

from odevision.visual import (
    Filmstrip,
    burn_caption,
    change_pictures,
    flow_pictures,
    plot_class_probabilities,
    plot_filmstrips,
    plot_frame_memory,
    plot_seen_frames,
    plot_share_watched,
)


def test_the_most_probable_classes_are_drawn_over_time() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(20), size=30)
    probabilities[:, 7] = np.linspace(0.1, 0.99, 30)
    names = [f"class {i}" for i in range(20)]
    seconds = [i / 8 for i in range(30)]
    figure = plot_class_probabilities(seconds, probabilities, names, title="clip.avi")
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert len(labels) == 6 and labels[0] == "class 7"
    assert axes.get_lines()[0].get_ydata()[-1] == 0.99
    check_texts(figure)


def test_a_single_answer_and_two_classes_are_drawn() -> None:
    figure = plot_class_probabilities([0.0], np.array([[0.3, 0.7]]), ["a", "b"])
    assert len(figure.axes[0].get_lines()) == 3  # and the line of equal probabilities
    check_texts(figure)


def test_accuracy_is_drawn_against_the_share_watched() -> None:
    points = {
        "video-odernn": [(0.1, 0.5), (0.5, 0.8), (1.0, 0.9)],
        "video-once": [(0.1, 0.4), (1.0, 0.85)],
    }
    figure = plot_share_watched(points, title="ucf5")
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == list(points)
    assert list(lines[0].get_xdata()) == [10, 50, 100]
    assert list(lines[0].get_ydata()) == [50, 80, 90]
    check_texts(figure)


def test_memory_is_drawn_against_frames() -> None:
    figure = plot_frame_memory({"plain": [(16, 2**24), (64, 2**26)], "chunks": [(16, 2**22)]})
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["16", "64"]
    assert list(axes.get_lines()[0].get_ydata()) == [16, 64]
    check_texts(figure)


def test_strips_say_what_was_right_and_what_was_wrong() -> None:
    def strip(label: str, num_frames: int) -> Filmstrip:
        return Filmstrip(
            frames=torch.randint(256, (num_frames, 3, 12, 16), dtype=torch.uint8),
            seconds=[i / 4 for i in range(num_frames)],
            true_label="Lunges",
            label=label,
            probability=0.83,
        )

    figure = plot_filmstrips([strip("Lunges", 5), strip("JumpingJack", 3)], title="test")
    texts = [part.get_suptitle() for part in figure.subfigs]
    assert texts[0].startswith("✓ Lunges (83%)") and texts[1].startswith("✗ JumpingJack")
    assert all("true: Lunges" in text for text in texts)
    assert [sum(axes.axison for axes in part.axes) for part in figure.subfigs] == [5, 3]
    check_texts(figure)


def test_a_caption_is_written_at_the_bottom_of_a_new_frame() -> None:
    image = torch.full((3, 120, 160), 90, dtype=torch.uint8)
    captioned = burn_caption(image, "Lunges 97%", 0.97)
    assert captioned.shape == image.shape and captioned.dtype == torch.uint8
    assert torch.equal(captioned[:, :100], image[:, :100])
    assert not torch.equal(captioned[:, 105:], image[:, 105:])
    assert (image == 90).all()
    bar = captioned[:, -1].float()
    assert torch.equal(bar[:, 0], bar[:, 150]) and not torch.equal(bar[:, 0], bar[:, 159])


def test_a_caption_fits_in_tiny_frames_and_long_texts_are_cut() -> None:
    for size in ((8, 8), (2, 3), (64, 1)):
        image = torch.zeros(3, *size, dtype=torch.uint8)
        assert burn_caption(image, "a very long name of a class 100%", 1.0).shape == image.shape


def test_flow_is_white_where_nothing_moves_and_has_a_hue_a_direction() -> None:
    flow = torch.zeros(1, 2, 1, 3)
    flow[0, :, 0, 1] = torch.tensor([9.0, 0.0])
    flow[0, :, 0, 2] = torch.tensor([-9.0, 0.0])
    still, right, left = flow_pictures(flow)[0, :, 0].T.tolist()
    assert still == [255, 255, 255]
    assert right == [255, 0, 0]
    assert left == [0, 255, 255]


def test_no_change_is_gray_and_large_ones_are_black_and_white() -> None:
    pictures = change_pictures(torch.tensor([0.0, 50.0, -50.0]).expand(1, 3, 1, 3))
    assert pictures[0, 0, 0].tolist() == [128, 255, 0]


def test_what_a_network_sees_is_drawn_below_the_frames() -> None:
    pictures = torch.randint(0, 256, (4, 3, 24, 32), dtype=torch.uint8)
    rows = {"frames": pictures, "optical flow": pictures, "change": pictures}
    figure = plot_seen_frames(rows, [0.0, 0.125, 0.25, 0.375], title="What ucf5 sees")
    assert len(figure.axes) == 12
    assert figure.axes[-1].get_xlabel() == "0.4 s"
    check_texts(figure)
