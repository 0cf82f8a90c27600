"""Frames out of a pipe: raw RGB of a stated size, or JPEG images one after the other (MJPEG)."""

import io
import logging
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import PIL.Image
import torch

from odevision.data.image import MAX_PIXELS
from odevision.data.video_container import VideoReadError, describe_error
from odevision.data.video_frame import Frame, FrameSize
from odevision.data.video_stream import Damage, StreamSource
from odevision.data.video_times import RisingTimes, check_rate
from odevision.types import Number

logger = logging.getLogger(__name__)

Pipe = io.RawIOBase | io.BufferedIOBase
"""A file object that gives bytes, such as `sys.stdin.buffer`; it need not be able to seek."""

MAX_JPEG_BYTES = 64 * 1024**2
"""Longest image in a pipe; a longer one is rubbish that happens to begin like a JPEG."""

_CHUNK_BYTES = 64 * 1024

_FASTEST_CAMERA, _NUM_TIMED = 130.0, 50
"""Images that come faster, in frames a second over the first so many, come from a file."""

_BURST_RATE = 1000.0
"""Frames a second that images get which arrive at once, out of a buffer on the way."""

_START = b"\xff\xd8\xff"
_END, _SCAN = 0xD9, 0xDA
_ALONE = (0x01, *range(0xD0, 0xD8))  # markers without a length behind them
# In a scan, FF 00 is a byte of the picture, and FF D0 to D7 begin its next part.
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def open_raw_pipe(
    pipe: Pipe | None = None,
    *,
    pixels: tuple[int, int],
    rate: Number,
    size: tuple[int, int] | None = None,
    cover: tuple[int, int] | None = None,
) -> StreamSource:
    """Take raw frames, such as `ffmpeg -i FILE -f rawvideo -pix_fmt rgb24 -` writes them.

    Args:
        pipe: Where the bytes come from; None for standard input.
        pixels: Height and width of the frames in the pipe: three bytes a pixel, row by row.
        rate: Frames a second: frame i is at i / rate, whenever it arrives.
        size: Height and width that all frames get; None keeps `pixels`.
        cover: Instead of `size`: height and width to cover, as `open_video` does.

    Raises:
        ValueError: If a number is out of range.
        VideoReadError: If standard input is a terminal.
    """
    check_rate(rate)
    if min(pixels) < 1:
        raise ValueError(f"`pixels` must be a height and a width above 0, got {pixels}.")
    if pixels[0] * pixels[1] > MAX_PIXELS:
        raise ValueError(f"`pixels` must be at most {MAX_PIXELS:,} in all, got {pixels}.")
    pipe, name = _named(pipe)
    return StreamSource(
        _raw_frames(pipe, pixels, rate),
        name=name,
        frame_rate=rate,
        is_live=True,
        frame_size=FrameSize(exact=size, cover=cover),
    )


def open_mjpeg_pipe(
    pipe: Pipe | None = None,
    *,
    rate: Number | None = None,
    size: tuple[int, int] | None = None,
    cover: tuple[int, int] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> StreamSource:
    """Take JPEG images, such as a camera sends them or `ffmpeg -i FILE -f mjpeg -` writes them.

    A frame is given as soon as its last byte is there. What lies between images, such as the
    headers of a camera's HTTP stream, is skipped.

    Args:
        pipe: Where the bytes come from; None for standard input.
        rate: Images a second: image i is at i / rate; to be given for frames of a file, which come
            as fast as they are read. None takes the time at which each arrives.
        size: Height and width that all frames get; None keeps those of the first.
        cover: Instead of `size`: height and width to cover, as `open_video` does.
        clock: Tells the seconds, for images without a rate.

    Raises:
        ValueError: If a number is out of range.
        VideoReadError: If standard input is a terminal.
    """
    if rate is not None:
        check_rate(rate)
    pipe, name = _named(pipe)
    return StreamSource(
        _jpeg_frames(pipe, rate, clock),
        name=name,
        frame_rate=rate,
        is_live=True,
        frame_size=FrameSize(exact=size, cover=cover),
    )


def _named(pipe: Pipe | None) -> tuple[Pipe, str]:
    if pipe is not None:
        name = getattr(pipe, "name", None)
        return pipe, name if isinstance(name, str) else "pipe"
    stdin: Any = sys.stdin
    if stdin.isatty():
        raise VideoReadError(
            "stdin",
            "is a terminal; expected frames through a pipe. Try `ffmpeg -i FILE -r 25 -f mjpeg - "
            "|` and --image-rate 25.",
        )
    return stdin.buffer, "stdin"


def _raw_frames(pipe: Pipe, pixels: tuple[int, int], rate: Number) -> Iterator[Frame | Damage]:
    height, width = pixels
    num_bytes, index = 3 * height * width, 0
    while content := _read_exactly(pipe, num_bytes):
        if len(content) < num_bytes:
            yield Damage(
                f"ends after {len(content):,} of {num_bytes:,} bytes of a frame; expected whole "
                f"frames of {height} x {width} pixels. Try the height and width of the source."
            )
            return
        # The bytes are this frame's own, so they need no copy but that of the new order.
        image = torch.frombuffer(content, dtype=torch.uint8).view(height, width, 3)
        yield Frame(image=image.permute(2, 0, 1).contiguous(), seconds=index / rate)
        index += 1


def _read_exactly(pipe: Pipe, num_bytes: int) -> bytearray:
    """Read so many bytes; fewer only at the end."""
    content = bytearray()
    while len(content) < num_bytes:
        part = pipe.read(num_bytes - len(content))
        if not part:
            break
        content += part
    return content


def _jpeg_frames(
    pipe: Pipe, rate: Number | None, clock: Callable[[], float]
) -> Iterator[Frame | Damage]:
    arrivals, begin = RisingTimes(_BURST_RATE), 0.0
    for index, content in enumerate(split_jpegs(pipe)):
        seconds = arrivals.repair(clock()) if rate is None else index / rate
        begin = seconds if index == 0 else begin
        if rate is None and index == _NUM_TIMED and index / (seconds - begin) > _FASTEST_CAMERA:
            logger.warning(
                "%d images came within %.2g s, and what counts is when they come. If they are the "
                "frames of a file, state their rate: --image-rate 25, in Python rate=25.",
                index, seconds - begin,
            )  # fmt: skip
        if isinstance(content, Damage):
            yield content
            continue
        try:
            with PIL.Image.open(io.BytesIO(content), formats=["JPEG"]) as picture:
                pixels = np.array(picture.convert("RGB"))
        # Damaged bytes fail with nearly any exception.
        except Exception as error:
            yield Damage(f"an image cannot be decoded: {describe_error(error)}")
            continue
        image = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
        yield Frame(image=image, seconds=seconds)


def split_jpegs(pipe: Pipe) -> Iterator[bytes | Damage]:
    """Cut a stream of bytes into JPEG images.

    The images' own structure is followed, since a preview inside an image ends like an image.

    Args:
        pipe: Where the bytes come from.

    Returns:
        An iterator over the bytes of each image, and a `Damage` where one is broken off.
    """
    # Not all pipes can give what is there without waiting for the rest.
    read = getattr(pipe, "read1", pipe.read)
    buffer = bytearray()
    while True:
        start = buffer.find(_START)
        if start < 0:
            del buffer[: max(0, len(buffer) - len(_START) + 1)]
            end = None
        else:
            del buffer[:start]
            end = _find_end(buffer)
        if end is not None and end > 0:
            yield bytes(buffer[:end])
            del buffer[:end]
            continue
        if end is not None or len(buffer) > MAX_JPEG_BYTES:
            yield Damage("an image is broken off by another, or has no end")
            del buffer[: len(_START)]
            continue
        chunk = read(_CHUNK_BYTES)
        if not chunk:
            if start >= 0:
                yield Damage("ends in the middle of an image")
            return
        buffer += chunk


def _find_end(buffer: bytearray) -> int | None:
    """Where the image at the start of the buffer ends: None if further on, 0 if it is broken."""
    at = 2
    while at + 4 <= len(buffer):
        if buffer[at] != 0xFF or buffer[at + 1] in (0x00, _START[1]):
            return 0
        marker = buffer[at + 1]
        if marker == _END:
            return at + 2
        if marker == 0xFF:  # filling
            at += 1
        elif marker in _ALONE:
            at += 2
        else:
            at += 2 + int.from_bytes(buffer[at + 2 : at + 4], "big")
            if marker == _SCAN:
                found = _AFTER_SCAN.search(buffer, at)
                if found is None:
                    return None
                at = found.start()
                if buffer[at + 1] == _START[1]:
                    return 0
    # The end itself may be the last thing that has come.
    return at + 2 if buffer[at : at + 2] == bytes([0xFF, _END]) else None
