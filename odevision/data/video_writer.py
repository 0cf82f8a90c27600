"""Frames with their times to an MP4 file."""

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from math import inf
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from odevision.data.video_container import describe_error, import_av
from odevision.data.video_frame import Frame
from odevision.data.video_times import check_rate
from odevision.types import Number

TICKS_PER_SECOND = 60_000
"""Resolution of the times in the file. All usual frame rates come out exact but 23.976, which is
off by at most 8 microseconds; MPEG-4's limit is 65,535."""

_SINGLE_RATE = 25.0
"""Frames a second where a single frame has no neighbor to take them from."""


class VideoWriteError(OSError):
    """A video that cannot be written; the message names the file and says why."""


def write_video(
    path: str | Path,
    frames: Iterable[Frame] | Iterable[Tensor],
    *,
    seconds: Sequence[Number] | Tensor | None = None,
    rate: Number | None = None,
    quality: int = 18,
) -> Path:
    """Write frames as an MP4, each at its own time; a failure leaves what was there before.

    Times are kept to 1/60000 s.

    H.264 where FFmpeg was built with an encoder for it, else MPEG-4. The usual pixel format has
    even heights and widths only: where one is odd, the last row or column is written twice.

    `open_video` reads the same number of frames back, at the same times but that the first one is
    at 0.

    Args:
        path: The file; its folder is made if missing.
        frames: They are taken one by one and must have one size: `Frame`s with rising times, or
            uint8 images of shape (3, height, width), for which `seconds` or `rate` is given.
        seconds: Rising time of each image.
        rate: Instead of `seconds`: images a second.
        quality: Constant rate factor: 0 (lossless) to 51; 18 looks like the original. MPEG-4 has no
            such thing and gets the best it can do.

    Returns:
        The path.

    Raises:
        ValueError: If there is no frame, or sizes or times do not fit each other.
        VideoReadError: If PyAV is not installed.
        VideoWriteError: If the file cannot be written.
    """
    path = Path(path)
    if not 0 <= quality <= 51:
        raise ValueError(f"`quality` must be 0 to 51, got {quality}. Try 18.")
    timed = _timed(frames, seconds, rate)
    av = import_av(path)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(f"file:{temporary}", "w", format="mp4") as container:
            _encode(av, container, timed, quality)
        # Readers find the whole file under its name or none, after a power loss too.
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (av.error.FFmpegError, OSError) as error:
        raise VideoWriteError(
            f"{path}: cannot be written: {describe_error(error)}. Try another folder."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # It would hide why nothing could be written.
            temporary.unlink(missing_ok=True)
    return path


def _timed(
    frames: Iterable[Frame] | Iterable[Tensor],
    seconds: Sequence[Number] | Tensor | None,
    rate: Number | None,
) -> Iterator[tuple[Tensor, float]]:
    """Give every image its time; `Frame`s have theirs."""
    if rate is not None:
        check_rate(rate)
    all_frames = iter(frames)
    first = next(all_frames, None)
    if first is None:
        raise ValueError("`frames` must have at least one frame, got none.")
    has_times = isinstance(first, Frame)
    num_given = (seconds is not None) + (rate is not None)
    if num_given != (0 if has_times else 1):
        wanted = "neither for frames that have times" if has_times else "one of both for images"
        raise ValueError(
            f"`seconds` or `rate` must be given: {wanted}, got {num_given} of them. "
            "Try rate=25 for images."
        )
    return _with_times(itertools.chain([first], all_frames), seconds, rate)


def _with_times(
    frames: Iterator[Any], seconds: Sequence[Number] | Tensor | None, rate: Number | None
) -> Iterator[tuple[Tensor, float]]:
    if seconds is not None:
        times = iter(seconds.tolist() if isinstance(seconds, Tensor) else seconds)
        for image in frames:
            time = next(times, None)
            if time is None:
                raise ValueError("`seconds` must have one time a frame, got fewer.")
            yield image, float(time)
        if next(times, None) is not None:
            raise ValueError("`seconds` must have one time a frame, got more.")
    elif rate is not None:
        for index, image in enumerate(frames):
            yield image, index / rate
    else:
        for frame in frames:
            yield frame.image, frame.seconds


def _encode(av: Any, container: Any, frames: Iterator[tuple[Tensor, float]], quality: int) -> None:
    """Encode all frames into an open container."""
    opening = list(itertools.islice(frames, 2))
    _check_image(opening[0][0])
    size, begin, latest = opening[0][0].shape[1:], opening[0][1], -1
    before = -inf
    gap = opening[-1][1] - begin
    stream = _add_stream(
        av,
        container,
        size,
        1 / max(gap, 1 / TICKS_PER_SECOND) if gap > 0 else _SINGLE_RATE,
        quality,
    )
    for image, seconds in itertools.chain(opening, frames):
        _check_image(image)
        if image.shape[1:] != size:
            raise ValueError(
                f"`frames` must have one size, got {tuple(size)} and {tuple(image.shape[1:])}. "
                "Try `open_video(path, size=...)`, or resize them first."
            )
        if not seconds > before:
            raise ValueError(
                f"`frames` must have rising times, got {seconds} s at or before the frame before "
                "it. Try `rate` instead."
            )
        before = seconds
        # Frames that are closer still come one tick apart.
        latest = ticks = max(latest + 1, round((seconds - begin) * TICKS_PER_SECOND))
        container.mux(stream.encode(_to_picture(av, image, ticks)))
    container.mux(stream.encode(None))


def _check_image(image: Tensor) -> None:
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(
            f"`frames` must be uint8 of shape (3, height, width), got {image.dtype} of shape "
            f"{tuple(image.shape)}. Try (255 * image).round().to(torch.uint8)."
        )


def _to_picture(av: Any, image: Tensor, ticks: int) -> Any:
    height, width = image.shape[1:]
    if height % 2 or width % 2:
        # Replicating takes floats only; every value of a byte is one.
        padding = (0, width % 2, 0, height % 2)
        image = pad(image.float(), padding, mode="replicate").to(torch.uint8)
    pixels = image.permute(1, 2, 0).contiguous().cpu().numpy()
    picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    picture.pts, picture.time_base = ticks, Fraction(1, TICKS_PER_SECOND)
    return picture


def _add_stream(av: Any, container: Any, size: Sequence[int], rate: float, quality: int) -> Any:
    height, width = size
    # Times do not depend on it, but the last frame is shown for as long.
    shown = Fraction(rate).limit_denominator(1001)
    has_h264 = "libx264" in av.codecs_available
    if has_h264:
        stream = container.add_stream("libx264", shown, options={"crf": str(quality)})
    else:
        # A constant quantizer instead of a bit rate, which for MPEG-4 would be 200 kbit/s.
        stream = container.add_stream("mpeg4", shown, options={"qmin": "2", "qmax": "2"})
    stream.height, stream.width = height + height % 2, width + width % 2
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = Fraction(1, TICKS_PER_SECOND)
    return stream
