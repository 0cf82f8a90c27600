"""Decoded frames on disk: right, found again, repaired, and safe against a second process."""

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from video_cases import bar_frames

from odevision.data import frame_cache
from odevision.data.clip_preprocessing import ClipPreprocessing
from odevision.data.clip_source import VideoFiles
from odevision.data.frame_cache import FrameCache
from odevision.data.video import open_video
from odevision.data.video_container import VideoReadError
from odevision.data.video_set import VideoSet
from odevision.data.video_writer import write_video

PREPARE = ClipPreprocessing(height=12, width=16, rate=10.0)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "videos" / "bar.mp4", bar_frames(10))


@pytest.fixture
def cache(tmp_path: Path) -> FrameCache:
    return FrameCache(PREPARE, tmp_path / "cache")


def files(cache: FrameCache) -> list[Path]:
    return sorted(cache.folder.iterdir())


def test_frames_are_those_of_the_video(video: Path, cache: FrameCache) -> None:
    loaded = cache.load(video)
    with open_video(video, cover=PREPARE.size) as reader:
        frames = list(reader)
    assert torch.equal(loaded.frames, torch.stack([PREPARE.to_uint8(f.image) for f in frames]))
    assert loaded.seconds.tolist() == [frame.seconds for frame in frames]
    assert loaded.frames.shape == (10, 3, 12, 16)


def test_a_video_that_was_cut_off_is_told_of_once_a_process(
    tmp_path: Path, cache: FrameCache, caplog: pytest.LogCaptureFixture
) -> None:
    video = write_video(tmp_path / "long.mp4", bar_frames(200))
    content = video.read_bytes()
    # Frames lie before the index in the file; without it nothing could be read.
    with open_video(video) as reader:
        assert len(list(reader)) == 200 and reader.is_complete
    at = content.index(b"mdat") + 2000
    video.write_bytes(content[:at] + bytes(3000) + content[at + 3000 :])
    assert not cache.load(video).is_complete
    assert "was damaged or cut off when" not in caplog.text  # the decoder said so itself
    for again in (FrameCache(PREPARE, cache.folder),) * 2:
        assert not again.load(video).is_complete
    assert caplog.text.count("was damaged or cut off when it was decoded; its") == 1


def test_a_video_is_decoded_once(
    video: Path, cache: FrameCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cache.load(video)
    monkeypatch.setattr(frame_cache, "open_video", lambda *_, **__: pytest.fail("decoded again"))
    again = FrameCache(PREPARE, cache.folder)
    again.prepare([video])
    assert torch.equal(again.load(video).frames, first.frames)
    assert len(files(cache)) == 1


def test_a_video_that_is_still_being_copied_is_decoded_again_when_it_is_whole(
    tmp_path: Path, cache: FrameCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "copy.mp4"
    whole = write_video(tmp_path / "whole.mp4", bar_frames(10)).read_bytes()
    path.write_bytes(write_video(tmp_path / "part.mp4", bar_frames(4)).read_bytes())

    def copying(*args: Any, **options: Any) -> Any:
        reader = open_video(*args, **options)
        path.write_bytes(whole)
        return reader

    with monkeypatch.context() as patch:
        patch.setattr(frame_cache, "open_video", copying)
        assert len(cache.load(path).frames) < 10
    assert len(FrameCache(PREPARE, cache.folder).load(path).frames) == 10


def test_an_edited_video_and_another_size_are_decoded_anew(video: Path, cache: FrameCache) -> None:
    cache.load(video)
    write_video(video, bar_frames(6))
    os.utime(video, (time.time() + 5, time.time() + 5))
    assert len(FrameCache(PREPARE, cache.folder).load(video).frames) == 6
    other = ClipPreprocessing(height=6, width=8, rate=10.0)
    assert FrameCache(other, cache.folder).load(video).frames.shape[2:] == (6, 8)
    assert len(files(cache)) == 3


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "text"])
def test_a_damaged_file_is_made_again_with_a_warning(
    video: Path, cache: FrameCache, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = cache.load(video).frames.clone()
    (file,) = files(cache)
    content = bytearray(file.read_bytes())
    content[-1] ^= 255
    broken = {"flipped": content, "truncated": content[:500], "empty": b"", "text": b"frames"}
    file.unlink()
    file.write_bytes(bytes(broken[damage]))
    with caplog.at_level(logging.WARNING):
        loaded = FrameCache(PREPARE, cache.folder).load(video)
    assert torch.equal(loaded.frames, expected)
    assert "is damaged" in caplog.text
    assert torch.equal(FrameCache(PREPARE, cache.folder).load(video).frames, expected)


def test_two_processes_that_decode_the_same_videos_do_no_harm(tmp_path: Path) -> None:
    videos = [write_video(tmp_path / "videos" / f"{i}.mp4", bar_frames(20 + i)) for i in range(6)]
    program = (
        "import sys; from pathlib import Path\n"
        "from odevision.data.clip_preprocessing import ClipPreprocessing\n"
        "from odevision.data.frame_cache import FrameCache\n"
        "cache = FrameCache(ClipPreprocessing(height=12, width=16, rate=10.0), sys.argv[1])\n"
        "cache.prepare([Path(p) for p in sys.argv[2:]])\n"
        "print(sum(len(cache.load(Path(p)).frames) for p in sys.argv[2:]))\n"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "cache"), *map(str, videos)]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in both] == ["135", "135"]
    assert len(list((tmp_path / "cache").iterdir())) == 6  # and no temporary file


def test_frames_stay_in_memory_where_the_folder_cannot_be_written(
    video: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = FrameCache(PREPARE, tmp_path / "cache")
    with caplog.at_level(logging.WARNING):
        assert len(cache.load(video).frames) == 10
    assert "kept in memory instead" in caplog.text
    assert cache.load(video) is cache.load(video)


def test_unreadable_videos_are_all_named(video: Path, tmp_path: Path, cache: FrameCache) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.avi").write_text("no video")
    paths = [video, tmp_path / "empty.mp4", tmp_path / "text.avi"]
    with pytest.raises(ValueError, match=r"2 of 3 videos cannot be read(?s:.*)empty\.mp4") as error:
        cache.prepare(paths)
    assert "text.avi" in str(error.value)
    with pytest.raises(VideoReadError):
        cache.load(tmp_path / "text.avi")


def test_a_file_is_checked_once_a_process_however_many_are_open(
    tmp_path: Path, cache: FrameCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = [write_video(tmp_path / "videos" / f"{i}.mp4", bar_frames(4)) for i in range(3)]
    cache.prepare(videos)
    checked: list[int] = []
    checksum = frame_cache._checksum
    monkeypatch.setattr(frame_cache, "_MAX_OPEN", 2)
    monkeypatch.setattr(
        frame_cache, "_checksum", lambda video: checked.append(1) or checksum(video)
    )
    for _ in range(3):
        assert [len(cache.load(video).frames) for video in videos] == [4, 4, 4]
    assert len(checked) == 3


def test_a_set_of_files_gives_times_and_chosen_frames(video: Path, cache: FrameCache) -> None:
    videos = VideoSet(
        paths=(video,),
        labels=torch.tensor([0]),
        groups=("a",),
        class_names=("bar",),
        name="bars",
        split="train",
    )
    source = VideoFiles(videos, cache)
    assert len(source) == 1
    assert source.seconds(0).tolist() == pytest.approx([i / 10 for i in range(10)])
    chosen = torch.tensor([1, 4, 9])
    assert torch.equal(source.frames(0, chosen), cache.load(video).frames[chosen])
