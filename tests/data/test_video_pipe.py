"""Frames through a pipe."""

import io
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from odevision.data.video import VideoReadError
from odevision.data.video_pipe import open_mjpeg_pipe, open_raw_pipe, split_jpegs


def jpeg(value: int, *, size: tuple[int, int] = (32, 24), **options: object) -> bytes:
    """Noise around a gray, so that the bytes are of all kinds."""
    noise = np.random.default_rng(value).integers(-8, 8, (size[1], size[0], 3))
    content = io.BytesIO()
    PIL.Image.fromarray((value + noise).clip(0, 255).astype(np.uint8)).save(
        content, "JPEG", **options
    )
    return content.getvalue()


def mean_values(frames: Iterator) -> list[int]:
    return [round(float(frame.image.float().mean()) / 10) * 10 for frame in frames]


class Trickle(io.RawIOBase):
    """A pipe that gives a few bytes at a time."""

    def __init__(self, content: bytes, num_bytes: int) -> None:
        self._content, self._num_bytes = io.BytesIO(content), num_bytes

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._content.read(min(size, self._num_bytes) if size >= 0 else self._num_bytes)


def test_raw_frames_come_with_their_pixels_and_times() -> None:
    pixels = np.arange(3 * 4 * 6 * 3, dtype=np.uint8).reshape(3, 4, 6, 3)
    with open_raw_pipe(Trickle(pixels.tobytes(), 7), pixels=(4, 6), rate=8) as source:
        found = list(source)
    assert [frame.seconds for frame in found] == [0, 0.125, 0.25]
    for frame, wanted in zip(found, pixels, strict=True):
        assert torch.equal(frame.image, torch.from_numpy(wanted).permute(2, 0, 1))


def test_raw_frames_get_the_size_that_is_asked_for() -> None:
    source = open_raw_pipe(io.BytesIO(bytes(3 * 4 * 6)), pixels=(4, 6), rate=8, size=(2, 2))
    assert [frame.image.shape for frame in source] == [(3, 2, 2)]


def test_a_raw_pipe_that_ends_in_a_frame_gives_the_whole_ones(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = open_raw_pipe(io.BytesIO(bytes(100)), pixels=(4, 4), rate=8)
    with caplog.at_level(logging.WARNING):
        assert len(list(source)) == 2
    assert not source.is_complete
    assert "ends after 4 of 48 bytes of a frame; expected whole frames of 4 x 4" in caplog.text


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="pixels"):
        open_raw_pipe(io.BytesIO(), pixels=(0, 4), rate=8)
    with pytest.raises(ValueError, match="rate"):
        open_raw_pipe(io.BytesIO(), pixels=(4, 4), rate=-1)
    with pytest.raises(ValueError, match="rate"):
        open_mjpeg_pipe(io.BytesIO(), rate=0)


@pytest.mark.parametrize("num_bytes", [1, 100, 100_000])
def test_jpegs_come_with_their_pixels_and_times(num_bytes: int) -> None:
    content = b"".join(jpeg(value) for value in (50, 100, 150))
    with open_mjpeg_pipe(Trickle(content, num_bytes), rate=5) as source:
        found = list(source)
        assert source.is_complete
    assert mean_values(iter(found)) == [50, 100, 150]
    assert [frame.seconds for frame in found] == [0, 0.2, 0.4]


@pytest.mark.parametrize(
    "options",
    [
        {"progressive": True},
        {"restart_marker_blocks": 2},
        {"comment": b"\xff\xd9 \xff\xd8\xff"},
        {"exif": b"Exif\x00\x00" + jpeg(200)},
        {"quality": 100, "size": (200, 200)},
    ],
    ids=["progressive", "restarts", "comment", "preview", "large"],
)
def test_an_image_ends_where_its_structure_says(options: dict) -> None:
    wanted = [jpeg(50, **options), jpeg(100, **options)]
    assert list(split_jpegs(Trickle(b"".join(wanted), 50))) == wanted


def test_the_headers_of_a_camera_are_skipped() -> None:
    header = b"\r\n--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 1\r\n\r\n"
    content = header.join([b"", jpeg(50), jpeg(100), b""])
    source = open_mjpeg_pipe(io.BytesIO(content), rate=5)
    assert mean_values(iter(source)) == [50, 100] and source.is_complete


def test_broken_jpegs_are_lost_and_keep_their_place_in_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cut = jpeg(100)[:-300]
    source = open_mjpeg_pipe(io.BytesIO(jpeg(50) + cut + jpeg(150) + jpeg(200)[:-9]), rate=5)
    with caplog.at_level(logging.WARNING):
        found = list(source)
    assert mean_values(iter(found)) == [50, 150]
    assert [frame.seconds for frame in found] == [0, 0.4]
    assert not source.is_complete
    assert "broken off by another" in caplog.text


def test_rubbish_is_no_frame() -> None:
    with pytest.raises(VideoReadError, match="pipe: gave not one frame"):
        list(open_mjpeg_pipe(io.BytesIO(bytes(range(256)) * 1000), rate=5))


def test_without_a_rate_frames_are_at_the_time_they_arrive() -> None:
    times = iter([100.0, 100.5, 100.5, 102.0])
    content = b"".join(jpeg(value) for value in (50, 100, 150, 200))
    source = open_mjpeg_pipe(io.BytesIO(content), clock=lambda: next(times))
    # Two that arrive at once are a millisecond apart.
    assert [frame.seconds for frame in source] == pytest.approx([0, 0.5, 0.501, 2.0])


@pytest.mark.parametrize(("rate", "warned"), [(100, False), (400, True)])
def test_frames_that_come_faster_than_from_a_camera_are_told_to_need_a_rate(
    rate: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    times = (index / rate for index in range(60))
    source = open_mjpeg_pipe(io.BytesIO(jpeg(50) * 60), clock=lambda: next(times))
    with caplog.at_level(logging.WARNING):
        assert len(list(source)) == 60
    assert ("--image-rate 25" in caplog.text) == warned
    caplog.clear()
    assert len(list(open_mjpeg_pipe(io.BytesIO(jpeg(50) * 60), rate=rate))) == 60
    assert not caplog.text


def test_a_frame_is_given_as_soon_as_it_is_there() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb", buffering=0) as camera:
        source = open_mjpeg_pipe(pipe, rate=5)
        frames, found = iter(source), []
        for value in (50, 100):
            camera.write(jpeg(value))
            # The camera sends no more: to wait for it would be to wait forever.
            reader = threading.Thread(target=lambda: found.append(next(frames)), daemon=True)
            reader.start()
            reader.join(timeout=20)
            assert not reader.is_alive()
    assert mean_values(iter(found)) == [50, 100]


def test_standard_input_is_read_unless_it_is_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").write_bytes(jpeg(50))
    with open(tmp_path / "in") as file:
        monkeypatch.setattr(sys, "stdin", file)
        source = open_mjpeg_pipe(rate=5)
        assert source.name == "stdin" and mean_values(iter(source)) == [50]
        monkeypatch.setattr(file, "isatty", lambda: True, raising=False)
        with pytest.raises(VideoReadError, match="stdin: is a terminal; expected"):
            open_raw_pipe(pixels=(4, 4), rate=5)
