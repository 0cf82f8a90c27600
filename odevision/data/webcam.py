"""Frames of a camera at this machine, through FFmpeg's devices."""

import glob
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from odevision.data.video_container import (
    VideoReadError,
    describe_error,
    import_av,
    stated_rate,
)
from odevision.data.video_frame import Frame, FrameSize, PictureConverter
from odevision.data.video_stream import Damage, StreamSource
from odevision.data.video_times import RisingTimes, check_rate
from odevision.types import Number

_WAIT_SECONDS = 0.002

# Apple's devices take no rate but one that the camera offers, and all cameras offer this one.
_APPLE_RATE = 30.0


def open_webcam(
    device: int | str = 0,
    *,
    rate: Number | None = None,
    size: tuple[int, int] | None = None,
    cover: tuple[int, int] | None = None,
) -> StreamSource:
    """Open a camera: Video4Linux on Linux, AVFoundation on macOS, DirectShow on Windows.

    Frames are at the camera's own times. Read them as fast as they come: what waits too long is
    dropped by the system, which leaves a gap in the times and no other trace.

    Args:
        device: Its number, from 0, or its name: "/dev/video0" on Linux, what the system's settings
            call it on macOS and Windows.
        rate: Frames a second to ask the camera for; None for its own.
        size: Height and width that all frames get; None keeps the camera's.
        cover: Instead of `size`: height and width to cover, as `open_video` does.

    Returns:
        A live source; close it to let go of the camera.

    Raises:
        ValueError: If a number is out of range.
        VideoReadError: If there is no such camera, or it cannot be used.
    """
    if isinstance(device, int) and device < 0:
        raise ValueError(f"`device` must be 0 or more, or a name, got {device}.")
    if rate is not None:
        check_rate(rate)
    frame_size = FrameSize(exact=size, cover=cover)
    name = f"webcam {device}"
    av = import_av(name)
    container, pictures, first = _open_device(av, device, rate)
    own_rate = stated_rate(container.streams.video[0])
    return StreamSource(
        _timed(first, pictures, frame_size, own_rate),
        name=name,
        frame_rate=own_rate,
        is_live=True,
        on_close=container.close,
    )


def find_device(av: Any, device: int | str, platform: str) -> tuple[str, str]:
    """Find what FFmpeg calls a camera.

    Args:
        av: PyAV.
        device: The camera's number or name.
        platform: As in `sys.platform`.

    Returns:
        FFmpeg's kind of device, and the camera's address in it.

    Raises:
        VideoReadError: If the system has no such camera; the message lists those that it has.
    """
    if platform == "darwin":
        return "avfoundation", f"{device}:none"
    if platform == "win32":
        cameras = _list_directshow(av)
        if isinstance(device, str):
            return "dshow", f"video={device}"
        if device < len(cameras):
            return "dshow", f"video={cameras[device]}"
    else:
        address = f"/dev/video{device}" if isinstance(device, int) else device
        if Path(address).exists():
            return "v4l2", address
        cameras = sorted(glob.glob("/dev/video*"))
    found = f"there are {', '.join(cameras)}" if cameras else "this machine has none"
    raise VideoReadError(
        f"webcam {device}",
        f"no such camera; {found}. Try the number or name of one, or a video file.",
    )


def _list_directshow(av: Any) -> list[str]:
    try:
        devices = av.enumerate_input_devices("dshow")
    except (AttributeError, ValueError, av.error.FFmpegError):  # An older PyAV cannot list them.
        return []
    return [device.description for device in devices if "video" in device.media_types]


def _open_device(av: Any, device: int | str, rate: Number | None) -> tuple[Any, Iterator[Any], Any]:
    """Open a camera and wait for its first picture: container, later pictures, first one."""
    name = f"webcam {device}"
    kind, address = find_device(av, device, sys.platform)
    if rate is None and kind == "avfoundation":
        rate = _APPLE_RATE
    options = {} if rate is None else {"framerate": f"{rate:g}"}
    try:
        container = av.open(address, format=kind, options=options)
    except av.error.FFmpegError as error:
        raise VideoReadError(
            name,
            f"cannot be opened as {address!r} by {kind}: {describe_error(error)}. Try closing "
            "programs that use the camera, and allowing this one to.",
        ) from error
    pictures = _capture(av, container)
    first = next(pictures, None) if container.streams.video else None
    if first is None or isinstance(first, Damage):
        container.close()
        reason = "it gives no frame" if first is None else first.message
        raise VideoReadError(name, f"cannot be used: {reason}. Try another camera.")
    return container, pictures, first


def _capture(av: Any, container: Any) -> Iterator[Any]:
    """Decoded pictures as they come, until the camera goes away."""
    stream = container.streams.video[0]
    # Threads that each decode a frame of their own would hold frames back.
    stream.thread_type = "SLICE"
    while True:
        try:
            for packet in container.demux(stream):
                try:
                    pictures = packet.decode()
                except av.error.FFmpegError as error:
                    yield Damage(f"a frame cannot be decoded: {describe_error(error)}")
                    continue
                yield from pictures
            return
        except BlockingIOError:  # No frame is there yet; AVFoundation does not wait.
            time.sleep(_WAIT_SECONDS)
        except av.error.FFmpegError as error:
            yield Damage(f"the camera breaks off: {describe_error(error)}")
            return


def _timed(
    first: Any, pictures: Iterator[Any], frame_size: FrameSize, rate: float
) -> Iterator[Frame | Damage]:
    """Pictures as upright frames with rising times."""
    converter = PictureConverter(first, frame_size)
    times = RisingTimes(rate)
    picture: Any = first
    while picture is not None:
        if isinstance(picture, Damage):
            yield picture
        else:
            yield Frame(image=converter.convert(picture), seconds=times.repair(picture.time))
        picture = next(pictures, None)
