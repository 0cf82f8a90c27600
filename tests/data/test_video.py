"""Reading video files: every kind that users have, and every kind of damage."""

import logging
import pickle
import time
import weakref
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from video_cases import bar_frames, encode, with_rotation, with_stopped_clock, without_rate

from odevision.data.video import FALLBACK_RATE, Frame, VideoReadError, open_video
from odevision.data.video_container import open_container
from odevision.data.video_writer import write_video

av = pytest.importorskip("av", reason="needs PyAV: pip install av")

GRAY = (24, 32)


def read(path: Path, **options: Any) -> list[Frame]:
    with open_video(path, **options) as video:
        return list(video)


def is_rising(frames: list[Frame]) -> bool:
    seconds = [frame.seconds for frame in frames]
    return seconds == sorted(set(seconds))


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("mp4", "mpeg4"),
        ("avi", "mpeg4"),
        ("mkv", "ffv1"),
        ("mov", "mjpeg"),
        ("webm", "libvpx-vp9"),
        ("ts", "mpeg2video"),
        ("gif", "gif"),
    ],
)
def test_containers_and_codecs(tmp_path: Path, suffix: str, codec: str) -> None:
    if codec == "gif":
        path = tmp_path / "a.gif"
        images = [PIL.Image.new("L", (32, 24), 20 * i) for i in range(8)]
        images[0].save(path, save_all=True, append_images=images[1:], duration=40)
    else:
        path = encode(tmp_path / f"a.{suffix}", [GRAY] * 8, codec=codec, rate=25)
    found = read(path)
    assert [frame.seconds for frame in found] == pytest.approx([i / 25 for i in range(8)], abs=2e-3)
    for i, frame in enumerate(found):
        assert frame.image.shape == (3, 24, 32)
        assert (frame.image.float() - 20 * i).abs().max() < 12


def test_pixels_that_are_not_square_are_stretched(tmp_path: Path) -> None:
    wide = encode(tmp_path / "wide.mp4", [GRAY] * 3, pixel_aspect=Fraction(2, 1))
    assert read(wide)[0].image.shape == (3, 24, 64)
    with open_video(wide, cover=(12, 12)) as video:
        assert (video.size, video.frame_size) == ((24, 64), (12, 32))
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(with_rotation(wide.read_bytes(), 90))
    assert read(turned)[0].image.shape == (3, 64, 24)
    nearly = encode(tmp_path / "nearly.mp4", [GRAY] * 3, pixel_aspect=Fraction(4096, 4083))
    assert read(nearly)[0].image.shape == (3, 24, 32)


def test_sound_is_passed_over(tmp_path: Path) -> None:
    found = read(encode(tmp_path / "a.mp4", [GRAY] * 8, with_sound=True))
    assert [frame.seconds for frame in found] == pytest.approx([i / 10 for i in range(8)], abs=2e-3)


def test_the_content_and_not_the_name_decides(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", bar_frames())
    assert len(read(path.rename(tmp_path / "a.txt"))) == 10


def test_a_colon_in_a_name_is_no_protocol(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", bar_frames())
    assert len(read(path.rename(tmp_path / "10:30 http:.mp4"))) == 10


def test_frames_get_the_size_that_is_asked_for(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", bar_frames(height=48, width=64))
    with open_video(path, size=(10, 30)) as video:
        assert (video.size, video.frame_size) == ((48, 64), (10, 30))
        assert {tuple(frame.image.shape) for frame in video} == {(3, 10, 30)}
    assert read(path, cover=(12, 12))[0].image.shape == (3, 12, 16)
    assert read(path, cover=(100, 100))[0].image.shape == (3, 48, 64)


def test_scaling_down_averages_what_a_pixel_covers(tmp_path: Path) -> None:
    stripes = torch.zeros(3, 64, 64, dtype=torch.uint8)
    stripes[:, :, ::2] = 200
    path = write_video(tmp_path / "a.mp4", [stripes], rate=10, quality=0)
    image = read(path, size=(8, 8))[0].image
    assert (image.float() - 100).abs().max() < 12


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_rotation_flag_turns_frames_upright(tmp_path: Path, degrees: int) -> None:
    made = bar_frames(3)
    for frame in made:
        frame.image[:] = 0
        frame.image[:, :12, :16] = 250  # the corner at the top left is white
    path = write_video(tmp_path / "a.mp4", made)
    turned = tmp_path / "b.mp4"
    turned.write_bytes(with_rotation(path.read_bytes(), degrees))
    plain = read(path)[0].image
    with open_video(turned) as video:
        assert video.size == ((24, 32) if degrees == 180 else (32, 24))
        found = next(iter(video)).image
    # A player turns by so much clockwise.
    assert torch.equal(found, torch.rot90(plain, -degrees // 90, dims=(1, 2)))
    assert read(turned, size=(16, 10))[0].image.shape == (3, 16, 10)


def test_seeking_begins_at_the_time_and_can_go_back(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", bar_frames(30))
    with open_video(path) as video:
        everything = list(video)
        video.seek(1.95)
        late = list(video)
        assert [frame.seconds for frame in late] == [frame.seconds for frame in everything[20:]]
        assert torch.equal(late[0].image, everything[20].image)
        video.seek(everything[5].seconds)
        assert next(iter(video)).seconds == everything[5].seconds
        video.seek(100)
        assert list(video) == []
        with pytest.raises(ValueError, match="seconds"):
            video.seek(-1)


@pytest.mark.parametrize(("container", "codec"), [("mjpeg", "mjpeg"), ("m4v", "mpeg4")])
def test_seeking_where_the_file_has_no_times(tmp_path: Path, container: str, codec: str) -> None:
    path = encode(tmp_path / "a", [GRAY] * 10, codec=codec, container=container, rate=25)
    with open_video(path) as video:
        video.seek(0.2)
        assert [f.seconds for f in video] == pytest.approx([i / 25 for i in range(5, 10)])


def test_every_iteration_begins_anew(tmp_path: Path) -> None:
    with open_video(write_video(tmp_path / "a.mp4", bar_frames())) as video:
        assert next(iter(video)).seconds == 0
        assert [len(list(video)), len(list(video)), video.num_frames] == [10, 10, 10]


def test_an_iteration_that_another_one_ended_says_so(tmp_path: Path) -> None:
    with open_video(write_video(tmp_path / "a.mp4", bar_frames())) as video:
        one = iter(video)
        next(one)
        list(video)
        with pytest.raises(ValueError, match="one reader for each"):
            list(one)
    with pytest.raises(ValueError, match="closed"):
        list(video)


def test_frames_are_let_go_as_the_next_ones_come(tmp_path: Path) -> None:
    given = []
    with open_video(write_video(tmp_path / "a.mp4", bar_frames(100))) as video:
        for frame in video:
            given.append(weakref.ref(frame.image))
            assert sum(image() is not None for image in given) <= 2
    assert len(given) == 100


def test_facts_of_a_file(tmp_path: Path) -> None:
    with open_video(write_video(tmp_path / "a.mp4", bar_frames(20))) as video:
        assert video.frame_rate == pytest.approx(10)
        assert video.duration_seconds == pytest.approx(2.0)
        assert video.size == video.frame_size == (24, 32)
        list(video)
        assert (video.num_frames, video.is_complete, video.start_seconds) == (20, True, 0.0)


def test_the_first_frame_is_at_zero_wherever_the_file_begins(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", [GRAY] * 5, pts=[50, 51, 52, 53, 54])
    with open_video(path) as video:
        assert [f.seconds for f in video] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=2e-3)
        assert video.start_seconds == pytest.approx(5.0, abs=1e-2)
        video.seek(0.3)
        assert [f.seconds for f in video] == pytest.approx([0.3, 0.4], abs=2e-3)


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mkv", "mpeg4"), ("webm", "libvpx-vp9"), ("ts", "mpeg2video")]
)
def test_a_whole_file_whose_clock_begins_late_is_complete(
    tmp_path: Path, suffix: str, codec: str, caplog: pytest.LogCaptureFixture
) -> None:
    pts = list(range(1000, 1030))
    path = encode(tmp_path / f"a.{suffix}", [GRAY] * 30, pts=pts, codec=codec)
    with open_video(path) as video:
        assert len(list(video)) == 30
        assert video.duration_seconds == pytest.approx(3.0, abs=0.11)
        assert video.is_complete and not caplog.records


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    with open_video(write_video(tmp_path / "a.mp4", bar_frames(1))) as video:
        assert [frame.seconds for frame in video] == [0.0]
        assert video.is_complete


def test_a_photo_is_a_video_of_one_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    PIL.Image.new("RGB", (32, 24), (200, 20, 20)).save(path)
    image = read(path)[0].image
    assert image.shape == (3, 24, 32) and image[0].min() > 180 and image[1:].max() < 40


def test_a_4k_clip_is_read_small_and_whole(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", [(2160, 3840)] * 2, codec="mpeg4")
    with open_video(path, cover=(52, 68)) as video:
        assert video.size == (2160, 3840)
        assert [frame.image.shape for frame in video] == [(3, 52, 93)] * 2
    assert read(path)[1].image.shape == (3, 2160, 3840)


def join(paths: list[Path], joined: Path) -> Path:
    joined.write_bytes(b"".join(path.read_bytes() for path in paths))
    return joined


def test_a_resolution_that_changes_becomes_that_of_the_first_frame(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts = [
        encode(tmp_path / f"{i}.ts", [size] * 5, codec="mpeg2video", rate=25)
        for i, size in enumerate([(32, 48), (64, 64)])
    ]
    joined = join(parts, tmp_path / "joined.ts")
    with caplog.at_level(logging.WARNING):
        found = read(joined)
    assert len(found) >= 9
    assert {tuple(frame.image.shape) for frame in found} == {(3, 32, 48)}
    assert f"{joined}: changes its resolution" in caplog.text
    assert is_rising(found)


def test_a_clock_that_goes_backwards_is_repaired_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    part = encode(tmp_path / "a.ts", [GRAY] * 50, codec="mpeg2video", rate=25)
    joined = join([part, part], tmp_path / "joined.ts")
    with caplog.at_level(logging.WARNING):
        found = read(joined)
    gaps = np.diff([frame.seconds for frame in found])
    assert len(found) >= 98
    assert np.allclose(gaps, 0.04, atol=2e-3)
    assert "does not rise" in caplog.text and "changes" not in caplog.text


def test_a_clock_that_stands_still_is_made_up_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.mp4"
    whole = encode(tmp_path / "whole.mp4", [GRAY] * 10)
    path.write_bytes(with_stopped_clock(whole.read_bytes()))
    with caplog.at_level(logging.WARNING):
        found = read(path)
    assert len(found) == 10 and is_rising(found)
    assert f"{path}: " in caplog.text and "frames have no time, or one that does not" in caplog.text


def test_times_that_are_missing_are_made_up_from_the_rate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encode(tmp_path / "a", [GRAY] * 10, codec="mjpeg", container="mjpeg", rate=25)
    with caplog.at_level(logging.WARNING), open_video(path) as video:
        decode = video._decode

        def without_times(iteration: object) -> Any:
            for picture in decode(iteration):
                picture.pts = None
                yield picture

        list(video)
        caplog.clear()
        monkeypatch.setattr(video, "_decode", without_times)
        seconds = [frame.seconds for frame in video]
    assert seconds == pytest.approx([i / 25 for i in range(10)])
    assert "10 frames have no time" in caplog.text


def test_a_file_without_duration_is_read(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mkv", [GRAY] * 10, options={"live": "1"}, codec="ffv1")
    with open_video(path) as video:
        assert video.duration_seconds is None
        assert len(list(video)) == 10 and video.is_complete


def test_a_file_without_rate_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    path.write_bytes(without_rate(encode(tmp_path / "whole.avi", [GRAY] * 10).read_bytes()))
    with open_video(path) as video:
        found = list(video)
        assert video.frame_rate == FALLBACK_RATE
    assert len(found) == 10 and is_rising(found)


def test_titles_in_an_unknown_encoding_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "TITLE"
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width = GRAY
        container.mux(stream.encode(av.VideoFrame(32, 24, "yuv420p")))
        container.mux(stream.encode(None))
    content = path.read_bytes()
    assert b"TITLE" in content
    path.write_bytes(content.replace(b"TITLE", b"\xff\xfe\xe9\xe8\xff"))
    assert len(read(path)) == 1


@pytest.mark.parametrize("suffix", ["avi", "mp4"])
def test_a_file_cut_off_gives_what_is_there_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str
) -> None:
    # An MP4 with its index in front, as servers have them; the others have it at their end.
    options = {"movflags": "faststart"} if suffix == "mp4" else {}
    whole = encode(tmp_path / f"a.{suffix}", [(96, 128)] * 40, options=options).read_bytes()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(whole[: len(whole) * 6 // 10])
    with caplog.at_level(logging.WARNING), open_video(path) as video:
        found = list(video)
        assert not video.is_complete
    assert 10 <= len(found) <= 35
    assert [f.seconds for f in found] == pytest.approx(
        [i / 10 for i in range(len(found))], abs=2e-3
    )
    assert f"{path}: damaged or cut off; {len(found)} frames were read" in caplog.text


def test_rubbish_in_the_middle_costs_some_frames_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.mkv"
    whole = encode(path, [(96, 128)] * 40, codec="libx264").read_bytes()
    content, middle = bytearray(whole), len(whole) // 2
    content[middle : middle + 300] = bytes(range(256)) + bytes(44)
    path.write_bytes(bytes(content))
    with caplog.at_level(logging.WARNING), open_video(path) as video:
        assert len(list(video)) >= 15
        assert not video.is_complete
    assert "damaged or cut off" in caplog.text


class FailingContainer:
    """Fails when a packet is asked for."""

    def __init__(self, container: Any, failing_packet: int, error: Exception) -> None:
        self._container, self._failing_packet, self._error = container, failing_packet, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def demux(self, stream: Any) -> Any:
        for number, packet in enumerate(self._container.demux(stream)):
            if number == self._failing_packet:
                raise self._error
            yield packet


@pytest.mark.parametrize(
    ("failing_packet", "error", "num_frames"),
    [(12, "disk", 12), (20, "streams that appear late", 20)],
)
def test_frames_that_the_decoder_holds_back_come_when_reading_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failing_packet: int,
    error: str,
    num_frames: int,
) -> None:
    def failing_container(*args: Any) -> Any:
        failure = av.error.OSError(5, "I/O error") if error == "disk" else IndexError("list index")
        return FailingContainer(open_container(*args), failing_packet, failure)

    path = write_video(tmp_path / "a.mp4", bar_frames(20))
    monkeypatch.setattr("odevision.data.video.open_container", failing_container)
    with open_video(path) as video:
        assert len(list(video)) == num_frames
        assert video.is_complete == (error != "disk")


def test_a_whole_file_is_read_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING),
        open_video(encode(tmp_path / "a.avi", [GRAY] * 9)) as video,
    ):
        list(video)
    assert video.is_complete and caplog.text == ""


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp4", b"", r"is empty \(0 bytes\); expected a video file. Try"),
        ("text.mp4", b"this is no video " * 50, "not a video"),
        ("text.txt", b"this is no video\n" * 50, "video"),
        ("head.mp4", b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "not a video"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n", "video"),
    ],
)
def test_what_is_no_video_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(VideoReadError, match=message) as caught:
        open_video(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "expected" in str(caught.value) and "ry " in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_an_mp4_that_was_cut_off_before_its_index_is_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.mp4", [GRAY] * 10)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(VideoReadError, match="cut off or damaged"):
        open_video(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VideoReadError, match=r"no\.mp4: cannot be opened \(No such file"):
        open_video(tmp_path / "no.mp4")
    with pytest.raises(VideoReadError, match="is a folder"):
        open_video(tmp_path)


def write_sound(path: Path, *, with_cover: bool) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libmp3lame", rate=44100)
        if with_cover:
            cover = container.add_stream("png", rate=1)
            cover.height, cover.width, cover.pix_fmt = 24, 32, "rgb24"
            cover.disposition = av.stream.Disposition.attached_pic
        silence = np.zeros((2, 4 * 1152), dtype=np.float32)
        sound = av.AudioFrame.from_ndarray(silence, format="fltp", layout="stereo")
        sound.sample_rate, sound.pts = 44100, 0
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
        if with_cover:
            container.mux(cover.encode(av.VideoFrame(32, 24, "rgb24")))
            container.mux(cover.encode(None))
    return path


@pytest.mark.parametrize("with_cover", [False, True])
def test_sound_without_a_picture_is_refused(tmp_path: Path, with_cover: bool) -> None:
    path = write_sound(tmp_path / "sound.mp3", with_cover=with_cover)
    with pytest.raises(VideoReadError, match="has no video in it, only audio; expected"):
        open_video(path)


def test_a_file_without_one_readable_frame_is_refused(tmp_path: Path) -> None:
    content = encode(tmp_path / "a.avi", [GRAY] * 3).read_bytes()
    path = tmp_path / "b.avi"
    path.write_bytes(content[: content.index(b"movi") + 4])
    with pytest.raises(VideoReadError, match="not one frame"):
        open_video(path)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"size": (0, 10)}, "`size`"),
        ({"cover": (10, -1)}, "`cover`"),
        ({"size": (9, 9), "cover": (9, 9)}, "must not both"),
    ],
)
def test_sizes_out_of_range_are_refused(
    tmp_path: Path, sizes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        open_video(tmp_path / "a.mp4", **sizes)


def test_real_clips_in_their_original_codec(
    real_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = sorted((real_data / "ucf101" / "original").glob("*.avi"))
    assert len(paths) == 10
    for path in paths:
        with caplog.at_level(logging.WARNING), open_video(path, cover=(52, 68)) as video:
            found = list(video)
            assert video.is_complete and video.size == (240, 320)
        assert 40 < len(found) < 500
        gaps = np.diff([frame.seconds for frame in found]) * video.frame_rate
        # One of the files holds a frame that was not coded, since nothing moved.
        assert np.allclose(gaps, gaps.round(), atol=1e-3) and gaps.mean() < 1.02
        assert found[0].image.shape == (3, 52, 70)
    assert caplog.text == ""


def test_small_real_clips_are_whole(real_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    paths = sorted((real_data / "ucf101" / "clips").glob("**/*.avi"))[::40]
    assert len(paths) > 10
    with caplog.at_level(logging.WARNING):
        counts = [len(read(path, size=(26, 34))) for path in paths]
    assert min(counts) >= 40 and max(counts) < 500 and caplog.text == ""


@pytest.mark.slow
def test_small_frames_are_read_at_a_hundred_a_second(real_data: Path) -> None:
    path = min((real_data / "ucf101" / "original").glob("*.avi"))
    begin = time.perf_counter()
    num_frames = len(read(path, size=(52, 68)))
    assert num_frames / (time.perf_counter() - begin) >= 100
