"""Small videos that tests write, whole and broken."""

import math
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from odevision.data.video_frame import Frame


def bar_frames(num: int = 10, height: int = 24, width: int = 32, rate: float = 10.0) -> list[Frame]:
    """A white bar that moves to the right over gray."""
    made = []
    for i in range(num):
        image = torch.full((3, height, width), 60, dtype=torch.uint8)
        image[:, :, 2 * i % width : 2 * i % width + 4] = 250
        made.append(Frame(image=image, seconds=i / rate))
    return made


def encode(
    path: Path,
    sizes: list[tuple[int, int]],
    *,
    pts: list[int] | None = None,
    codec: str = "mpeg4",
    rate: int = 10,
    container: str | None = None,
    options: dict[str, str] | None = None,
    with_sound: bool = False,
    pixel_aspect: Fraction | None = None,
) -> Path:
    """Write a file by PyAV itself: gray frames, all of them key frames."""
    import av

    with av.open(str(path), "w", format=container, options=options or {}) as output:
        stream: Any = output.add_stream(codec, rate=rate)
        stream.height, stream.width = sizes[0]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = 1
        if pixel_aspect is not None:
            stream.codec_context.sample_aspect_ratio = pixel_aspect
        if with_sound:
            sound: Any = output.add_stream("mp2", rate=44100)
        for i, (height, width) in enumerate(sizes):
            pixels = np.full((height, width, 3), 20 * (i % 12), dtype=np.uint8)
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts = i if pts is None else pts[i]
            picture.time_base = Fraction(1, rate)
            output.mux(stream.encode(picture))
        if with_sound:
            silence = np.zeros((1, 2 * 1152), dtype=np.int16)
            samples = av.AudioFrame.from_ndarray(silence, format="s16", layout="stereo")
            samples.sample_rate, samples.pts = 44100, 0
            output.mux(sound.encode(samples))
            output.mux(sound.encode(None))
        output.mux(stream.encode(None))
    return path


def with_rotation(content: bytes, degrees: int) -> bytes:
    """Set the display matrix of the first track of an MP4."""
    at = content.index(b"tkhd") + 4 + 4 + 36
    cosine, sine = (round(f(math.radians(degrees))) for f in (math.cos, math.sin))
    numbers = [cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30]
    matrix = b"".join((number % 2**32).to_bytes(4, "big") for number in numbers)
    return content[:at] + matrix + content[at + 36 :]


def with_stopped_clock(content: bytes) -> bytes:
    """Let every frame of an MP4 last no time, so that all are at the same one."""
    at = content.index(b"stts") + 8
    num_entries = int.from_bytes(content[at : at + 4], "big")
    changed = bytearray(content)
    for entry in range(num_entries):
        changed[at + 8 + 8 * entry : at + 12 + 8 * entry] = bytes(4)
    return bytes(changed)


def without_rate(content: bytes) -> bytes:
    """Set all frame rates and lengths in the headers of an AVI to 0."""
    changed = bytearray(content)
    avih = content.index(b"avih") + 8
    changed[avih : avih + 4] = bytes(4)  # microseconds a frame
    changed[avih + 16 : avih + 20] = bytes(4)  # number of frames
    strh = content.index(b"strh") + 8
    changed[strh + 20 : strh + 28] = struct.pack("<II", 0, 0)  # scale and rate
    changed[strh + 32 : strh + 36] = bytes(4)  # length
    return bytes(changed)
