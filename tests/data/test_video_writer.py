"""Writing videos: what is written is what is read."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from video_cases import bar_frames

from odevision.data.video import Frame, open_video
from odevision.data.video_writer import VideoWriteError, write_video

av = pytest.importorskip("av", reason="needs PyAV: pip install av")


def read(path: Path) -> list[Frame]:
    with open_video(path) as video:
        return list(video)


def test_written_frames_come_back_with_their_times_and_pixels(tmp_path: Path) -> None:
    wanted = bar_frames()
    found = read(write_video(tmp_path / "a.mp4", wanted))
    assert [frame.seconds for frame in found] == pytest.approx([f.seconds for f in wanted])
    for one, other in zip(found, wanted, strict=True):
        assert one.image.shape == (3, 24, 32)
        assert (one.image.float() - other.image.float()).abs().mean() < 6


def test_a_variable_frame_rate_is_kept(tmp_path: Path) -> None:
    wanted = [0.0, 0.04, 0.5, 0.55, 2.0, 2.01]
    images = [frame.image for frame in bar_frames(6)]
    found = read(write_video(tmp_path / "a.mp4", images, seconds=wanted))
    assert [frame.seconds for frame in found] == pytest.approx(wanted, abs=2e-5)


def test_the_first_frame_is_read_at_zero(tmp_path: Path) -> None:
    images = torch.stack([frame.image for frame in bar_frames(3)])
    seconds = torch.tensor([-3.0, -2.5, 4.0], dtype=torch.float64)
    found = read(write_video(tmp_path / "a.mp4", images, seconds=seconds))
    assert [frame.seconds for frame in found] == pytest.approx([0.0, 0.5, 7.0], abs=2e-5)


@pytest.mark.parametrize("rate", [8.0, 24000 / 1001, 25.0, 30000 / 1001, 60.0])
def test_a_rate_gives_the_times(tmp_path: Path, rate: float) -> None:
    images = (frame.image for frame in bar_frames(20))
    found = read(write_video(tmp_path / "a.mp4", images, rate=rate))
    assert [f.seconds for f in found] == pytest.approx([i / rate for i in range(20)], abs=2e-5)


@pytest.mark.parametrize("size", [(25, 33), (24, 33), (25, 32), (1, 1)])
def test_odd_sizes_get_another_row_or_column_of_the_same(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    image = torch.full((3, *size), 100, dtype=torch.uint8)
    found = read(write_video(tmp_path / "a.mp4", [image], rate=10))[0].image
    assert found.shape == (3, -(-size[0] // 2) * 2, -(-size[1] // 2) * 2)
    assert (found.float() - 100).abs().max() < 4


def test_without_an_encoder_for_h264_it_is_mpeg4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(av, "codecs_available", av.codecs_available - {"libx264"})
    wanted = bar_frames()
    path = write_video(tmp_path / "a.mp4", wanted)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
    found = read(path)
    assert [frame.seconds for frame in found] == pytest.approx([f.seconds for f in wanted])
    assert (found[5].image.float() - wanted[5].image.float()).abs().mean() < 6


def test_quality_zero_loses_less(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(256, (1, 32, 32), dtype=torch.uint8, generator=generator)
    errors = []
    for quality in (0, 45):
        path = write_video(tmp_path / "a.mp4", [image.expand(3, -1, -1)], rate=1, quality=quality)
        errors.append(float((read(path)[0].image.float() - image).abs().mean()))
    assert errors[0] < 2 < 10 < errors[1]


MADE = bar_frames(3)


@pytest.mark.parametrize(
    ("frames", "options", "message"),
    [
        ([], {}, "at least one frame"),
        ([MADE[0], *bar_frames(2, width=40)], {}, "one size"),
        ([MADE[1], MADE[0]], {}, "rising times"),
        ([MADE[1], MADE[1]], {}, "rising times"),
        (MADE, {"rate": 5.0}, "`seconds` or `rate`"),
        ([MADE[0].image], {}, "`seconds` or `rate`"),
        ([MADE[0].image], {"rate": 5.0, "seconds": [0.0]}, "`seconds` or `rate`"),
        ([MADE[0].image], {"rate": 0.0}, "`rate`"),
        ([MADE[0].image] * 2, {"seconds": [0.0]}, "got fewer"),
        ([MADE[0].image], {"seconds": [0.0, 1.0]}, "got more"),
        ([MADE[0].image.float()], {"rate": 5.0}, "uint8"),
        ([MADE[0].image[:1]], {"rate": 5.0}, r"shape \(3, height, width\)"),
        (MADE, {"quality": 52}, "`quality`"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_file_stays_as_it_was(
    tmp_path: Path, frames: list[Any], options: dict[str, Any], message: str
) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"before")
    with pytest.raises(ValueError, match=message):
        write_video(path, frames, **options)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    assert path.read_bytes() == b"before"


def test_times_closer_than_a_tick_come_one_tick_apart(tmp_path: Path) -> None:
    images, ticks = [frame.image for frame in bar_frames(4)], [0.0, 0.4, 0.5, 600.0]
    path = write_video(tmp_path / "a.mp4", images, seconds=[tick / 60_000 for tick in ticks])
    assert [round(60_000 * frame.seconds) for frame in read(path)] == [0, 1, 2, 600]


def test_a_source_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Any:
        yield from bar_frames(5)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_video(tmp_path / "a.mp4", failing())
    assert list(tmp_path.iterdir()) == []


def test_folders_are_made_and_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.mp4"
    write_video(path, bar_frames(2))
    assert len(read(write_video(path, bar_frames(7)))) == 7
    assert os.listdir(path.parent) == ["a.mp4"]


def test_where_nothing_can_be_written_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(VideoWriteError, match=r"a\.mp4: cannot be written: .+\. Try"):
        write_video(tmp_path / "file" / "a.mp4", bar_frames(2))
