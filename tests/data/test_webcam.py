"""Cameras, played by FFmpeg's own virtual device."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from odevision.data import webcam
from odevision.data.video import VideoReadError
from odevision.data.webcam import find_device, open_webcam

av = pytest.importorskip("av", reason="needs PyAV: pip install av")


def play(monkeypatch: pytest.MonkeyPatch, filters: str) -> None:
    """Let FFmpeg's filters be the camera."""
    monkeypatch.setattr(webcam, "find_device", lambda *_: ("lavfi", filters))


def test_a_camera_gives_frames_at_its_own_times(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, "testsrc=size=64x48:rate=10:duration=0.8,setpts=PTS+5/TB")
    with open_webcam(0) as source:
        assert source.is_live and source.frame_rate == 10 and source.name == "webcam 0"
        found = list(source)
        assert source.is_complete
    assert [frame.seconds for frame in found] == pytest.approx([i / 10 for i in range(8)])
    assert {frame.image.shape for frame in found} == {(3, 48, 64)}


def test_frames_get_the_size_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, "testsrc=size=64x48:rate=10")
    with open_webcam(0, cover=(12, 12)) as source:
        assert next(iter(source)).image.shape == (3, 12, 16)


def test_a_camera_can_be_closed_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, "testsrc=size=64x48:rate=10")  # without an end
    source = open_webcam(0)
    for frame in source:
        if frame.seconds > 0.5:
            source.close()
    assert source.num_frames == 7


def test_a_camera_that_gives_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, "testsrc=duration=0")
    with pytest.raises(VideoReadError, match="webcam 0: cannot be used: it gives no frame"):
        open_webcam(0)
    play(monkeypatch, "nosuchsource")
    with pytest.raises(VideoReadError, match="cannot be opened as 'nosuchsource' by lavfi"):
        open_webcam(0)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for Linux's device files")
def test_a_machine_without_that_camera_says_so(tmp_path: Path) -> None:
    with pytest.raises(VideoReadError, match="webcam 97: no such camera; .* Try"):
        open_webcam(97)
    with pytest.raises(VideoReadError, match="no such camera"):
        open_webcam(str(tmp_path / "camera"))


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="device"):
        open_webcam(-1)
    with pytest.raises(ValueError, match="rate"):
        open_webcam(0, rate=0.0)


def test_every_system_has_its_own_names(tmp_path: Path) -> None:
    def cameras(kind: str) -> list[Any]:
        assert kind == "dshow"
        return [
            SimpleNamespace(description="Microphone", media_types=["audio"]),
            SimpleNamespace(description="HD Camera", media_types=["video"]),
        ]

    fake: Any = SimpleNamespace(enumerate_input_devices=cameras, error=av.error)
    assert find_device(fake, 1, "darwin") == ("avfoundation", "1:none")
    assert find_device(fake, "HD Camera", "win32") == ("dshow", "video=HD Camera")
    assert find_device(fake, 0, "win32") == ("dshow", "video=HD Camera")
    with pytest.raises(VideoReadError, match="there are HD Camera"):
        find_device(fake, 1, "win32")
    (tmp_path / "camera").write_bytes(b"")
    address = str(tmp_path / "camera")
    assert find_device(fake, address, "linux") == ("v4l2", address)
