"""Sources that are no video file give the same frames."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from odevision.data.video import Frame, VideoReadError
from odevision.data.video_stream import (
    Damage,
    StreamSource,
    open_arrays,
    open_image_sequence,
)


def gray(value: int, height: int = 24, width: int = 32) -> np.ndarray:
    return np.full((height, width, 3), value, dtype=np.uint8)


def test_arrays_and_tensors_become_the_same_frames() -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    (of_array,) = open_arrays([pixels], rate=10)
    (of_tensor,) = open_arrays([torch.from_numpy(pixels).permute(2, 0, 1)], rate=10)
    assert of_array.image.shape == (3, 4, 6)
    assert torch.equal(of_array.image, of_tensor.image)
    assert of_array.image[2, 1, 3] == pixels[1, 3, 2]


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1)])
def test_grayscale_becomes_rgb(shape: tuple[int, ...]) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(shape)
    (frame,) = open_arrays([pixels], rate=10)
    assert all(torch.equal(plane.flatten(), torch.arange(24).byte()) for plane in frame.image)


def test_times_come_from_the_rate_or_as_given_from_zero() -> None:
    images = [gray(i) for i in range(4)]
    assert [f.seconds for f in open_arrays(images, rate=8)] == [0, 0.125, 0.25, 0.375]
    given = torch.tensor([5.0, 5.5, 7.0, 7.25], dtype=torch.float64)
    assert [f.seconds for f in open_arrays(images, seconds=given)] == [0, 0.5, 2.0, 2.25]


def test_arrays_are_taken_one_by_one() -> None:
    num_made = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal num_made
        while True:
            num_made += 1
            yield gray(num_made)

    frames = iter(open_arrays(endless(), rate=10))
    assert [int(next(frames).image.max()) for _ in range(3)] == [1, 2, 3]
    assert num_made == 3


def test_frames_get_the_size_that_is_asked_for_or_that_of_the_first(
    caplog: pytest.LogCaptureFixture,
) -> None:
    images = [gray(1, 48, 64), gray(2, 48, 64)]
    assert {f.image.shape for f in open_arrays(images, rate=9, size=(5, 7))} == {(3, 5, 7)}
    assert {f.image.shape for f in open_arrays(images, rate=9, cover=(12, 12))} == {(3, 12, 16)}
    assert caplog.text == ""
    mixed = [gray(1, 48, 64), gray(2, 10, 20), gray(3, 10, 20)]
    with caplog.at_level(logging.WARNING):
        found = list(open_arrays(mixed, rate=10))
    assert [f.image.shape for f in found] == [(3, 48, 64)] * 3 and found[1].image.max() == 2
    assert caplog.text.count("arrays: changes its resolution at second 0.1") == 1


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        ([gray(0)], {}, "not both"),
        ([gray(0)], {"rate": 10, "seconds": [0.0]}, "not both"),
        ([gray(0)], {"rate": 0}, "`rate`"),
        ([gray(0)] * 2, {"seconds": [1.0, 1.0]}, "rise"),
        ([gray(0)] * 2, {"seconds": [1.0]}, "one time an image"),
        ([gray(0)] * 2, {"seconds": [1.0, 2.0, 3.0]}, "one time an image, got 3 for 2"),
        ([gray(0).astype(np.float32)], {"rate": 10}, "uint8 arrays of shape .height, width, 3."),
        ([gray(0).transpose(2, 0, 1)], {"rate": 10}, "moving the channels"),
        ([torch.from_numpy(gray(0))], {"rate": 10}, "uint8 tensors of .3, height, width."),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    images: list[Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        list(open_arrays(images, **options))


def test_no_frames_at_all_are_refused() -> None:
    with pytest.raises(VideoReadError, match="arrays: gave not one frame"):
        list(open_arrays([], rate=10))


def write_images(folder: Path, numbers: list[int]) -> Path:
    folder.mkdir()
    for number in numbers:
        PIL.Image.fromarray(gray(10 * number)).save(folder / f"shot{number}.png")
    return folder


def values(source: StreamSource) -> list[tuple[int, float]]:
    return [(int(frame.image[0, 0, 0]), round(frame.seconds, 6)) for frame in source]


def test_a_folder_is_played_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "shots", [10, 2, 1, 9])
    wanted = [(10, 0.0), (20, 0.1), (90, 0.2), (100, 0.3)]
    assert values(open_image_sequence(folder, rate=10)) == wanted
    assert values(open_image_sequence(f"{folder}/shot*.png", rate=10)) == wanted


def test_files_are_played_in_the_order_given(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "shots", [1, 2])
    files = [folder / "shot2.png", folder / "shot1.png"]
    assert values(open_image_sequence(files, rate=10)) == [(20, 0.0), (10, 0.1)]


def test_an_image_that_cannot_be_read_keeps_its_place_in_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_images(tmp_path / "shots", [1, 2, 3, 4])
    (folder / "shot2.png").write_bytes(b"no image")
    source = open_image_sequence(folder, rate=10)
    with caplog.at_level(logging.WARNING):
        assert values(source) == [(10, 0.0), (30, 0.2), (40, 0.3)]
    assert (source.is_complete, source.num_frames) == (False, 3)
    assert "shot2.png: not an image" in caplog.text


def test_the_first_frame_that_can_be_read_is_at_zero(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "shots", [1, 2, 3])
    (folder / "shot1.png").write_bytes(b"no image")
    assert values(open_image_sequence(folder, rate=10)) == [(20, 0.0), (30, 0.1)]


def test_a_folder_without_images_and_bad_rates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds none"):
        open_image_sequence(tmp_path, rate=10)
    with pytest.raises(ValueError, match="at least one image"):
        open_image_sequence([], rate=10)
    with pytest.raises(ValueError, match="rate"):
        open_image_sequence(tmp_path, rate=float("nan"))


def frame(seconds: float) -> Frame:
    return Frame(image=torch.zeros(3, 2, 2, dtype=torch.uint8), seconds=seconds)


def test_a_stream_is_read_once() -> None:
    source = StreamSource(iter([frame(0.0)]), name="test")
    assert len(list(source)) == 1
    with pytest.raises(ValueError, match="test: is read already"):
        iter(source)


def test_closing_ends_an_iteration_and_happens_once() -> None:
    closed = []
    source = StreamSource(
        iter([frame(0.0), frame(1.0)]), name="test", on_close=lambda: closed.append(True)
    )
    with source:
        frames = iter(source)
        assert next(frames).seconds == 0.0
    assert list(frames) == [] and source.num_frames == 1
    source.close()
    assert closed == [True]
    with pytest.raises(ValueError, match="test: is closed"):
        iter(source)


def test_many_losses_make_two_warnings(caplog: pytest.LogCaptureFixture) -> None:
    items: list[Frame | Damage] = [frame(0.0), *[Damage("lost")] * 50, frame(1.0)]
    with caplog.at_level(logging.WARNING):
        source = StreamSource(iter(items), name="test")
        assert len(list(source)) == 2
    assert [record.getMessage() for record in caplog.records] == [
        "test: lost",
        "test: 50 times, frames were lost",
    ]
