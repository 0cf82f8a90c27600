"""Opening a video file: what is in it, and why a file is no video."""

from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

from odevision.data.image import ImageReadError

FALLBACK_RATE = 25.0
"""Frames a second where a file states none, or one beyond `MAX_RATE`."""

_SQUARE_ENOUGH = 0.01
"""Width to height of pixels may be off by so much from 1 before frames are stretched for it."""

MAX_RATE = 1000.0
"""Frames a second; files with broken metadata state their clock's ticks instead, such as 90,000."""


class VideoReadError(ImageReadError):
    """A video of which no frame can be read."""


def import_av(path: str | Path) -> ModuleType:
    """Return PyAV; only reading and writing videos needs it.

    Args:
        path: What was to be read or written, for the message.

    Raises:
        VideoReadError: If it is not installed.
    """
    try:
        import av
    except ImportError:
        message = "videos need PyAV, which is not installed. Try `pip install av`."
        raise VideoReadError(path, message) from None
    return av


def check_video_file(path: Path) -> None:
    """Check that there is a file with something in it.

    Args:
        path: A video file.

    Raises:
        VideoReadError: If there is not.
    """
    if path.is_dir():
        message = "is a folder; expected a video file. Try one of the files in it."
        raise VideoReadError(path, message)
    try:
        num_bytes = path.stat().st_size
    except OSError as error:
        reason = error.strerror or error
        message = f"cannot be opened ({reason}); expected a video file. Try its full path."
        raise VideoReadError(path, message) from None
    if not path.is_file():
        message = "is not a regular file; expected a video file. Try `open_webcam` for a camera."
        raise VideoReadError(path, message)
    if num_bytes == 0:
        message = "is empty (0 bytes); expected a video file. Try fetching it again."
        raise VideoReadError(path, message)


def open_container(av: Any, path: Path) -> Any:
    """Open a file with FFmpeg.

    Args:
        av: PyAV.
        path: A file that `check_video_file` has passed.

    Returns:
        The `av.container.InputContainer`; the caller closes it.

    Raises:
        VideoReadError: If FFmpeg does not know what it is.
    """
    try:
        return av.open(
            # Without the prefix, a colon in a name would choose a protocol.
            f"file:{path}",
            metadata_errors="replace",
            # A playlist that is named like a video must not fetch what it lists.
            container_options={"protocol_whitelist": "file"},
        )
    except Exception as error:  # FFmpeg's own, and those of Python for broken metadata
        raise VideoReadError(
            path,
            f"not a video, or one that is cut off or damaged ({describe_error(error)}); expected "
            "a container that FFmpeg knows, such as MP4, AVI, MKV or WebM. Try fetching it again, "
            "or `ffmpeg -i FILE new.mp4`.",
        ) from error


def find_video_stream(av: Any, container: Any, path: Path) -> Any:
    """Find the video in a container.

    Args:
        av: PyAV.
        container: An open one.
        path: Its file, for the message.

    Returns:
        The `av.video.stream.VideoStream` to decode: the best one by FFmpeg's judgment.

    Raises:
        VideoReadError: If there is none, or it cannot be decoded.
    """
    streams = [
        stream
        for stream in container.streams.video
        # The picture of a record's cover.
        if not stream.disposition & av.stream.Disposition.attached_pic
    ]
    # FFmpeg renders text files too.
    if not streams or container.format.name == "tty":
        kinds = {stream.type for stream in container.streams} - {"video"}
        found = ", ".join(sorted(kinds)) or "nothing that moves"
        raise VideoReadError(
            path,
            f"has no video in it, only {found}; expected a video stream. Try `ffmpeg -i FILE`, "
            "which lists what is in it.",
        )
    best = container.streams.best("video")
    stream = best if best in streams else streams[0]
    if stream.codec_context is None:
        raise VideoReadError(
            path,
            "is coded in a way that this build of FFmpeg cannot decode; expected a codec such as "
            "H.264. Try `ffmpeg -i FILE -c:v libx264 new.mp4` with a full FFmpeg.",
        )
    stream.thread_type = "AUTO"
    return stream


def stated_rate(stream: Any) -> float:
    """Return the frames a second that a stream states, `FALLBACK_RATE` if that makes no sense."""
    rates: list[Fraction | None] = [stream.average_rate, stream.guessed_rate]
    return next((float(rate) for rate in rates if rate and 0 < rate <= MAX_RATE), FALLBACK_RATE)


def stated_pixel_aspect(stream: Any) -> float:
    """Return width to height of a pixel; 1 where that is all but so, not stated or absurd."""
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if 0.1 <= aspect <= 10 and abs(aspect - 1) > _SQUARE_ENOUGH else 1.0


def stated_duration(av: Any, container: Any, stream: Any) -> float | None:
    """Return the seconds that a stream or else its container states, None if neither does."""
    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    else:
        ticks = container.duration or 0
        if "matroska" in container.format.name:  # It counts from 0, wherever the clock begins.
            ticks -= max(0, container.start_time or 0)
        seconds = ticks / av.time_base
    return seconds if seconds > 0 else None


def describe_error(error: Exception) -> str:
    """Return what FFmpeg or Python says went wrong, without numbers."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
