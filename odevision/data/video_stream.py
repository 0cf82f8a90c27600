"""Frames with their times from anywhere but a video file: what such sources share, and two of them.

Arrays and image sequences are here; `webcam.py` has the camera and `video_pipe.py` standard input.
"""

import itertools
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
from torch import Tensor

from odevision.data.find_files import find_files
from odevision.data.image import IMAGE_SUFFIXES, ImageReadError, read_image
from odevision.data.video_container import VideoReadError
from odevision.data.video_frame import Frame, FrameSize, ImageFitter, rgb_image
from odevision.data.video_times import check_rate
from odevision.types import Number

logger = logging.getLogger(__name__)


class Damage(NamedTuple):
    """What a source gives in place of a frame that it could not read.

    Attributes:
        message: What happened.
    """

    message: str


class StreamSource:
    """Iterates once over frames as they come; holds one of them at a time.

    Like a `VideoReader`: use it as a context manager, or call `close`; the first frame is at 0
    seconds, all have the size of the first, and a frame that cannot be read costs a warning.

    Attributes:
        name: What the source is, for messages.
        frame_rate: Frames a second, None where they come as they like.
        is_live: Whether frames come at their own time, so that a slow reader falls behind.
        is_complete: False once a frame could not be read.
        num_frames: Frames given so far.
    """

    def __init__(
        self,
        frames: Iterator[Frame | Damage],
        *,
        name: str,
        frame_rate: Number | None = None,
        is_live: bool = False,
        frame_size: FrameSize | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        """Wrap what reads the frames.

        Args:
            frames: Frames with rising times, and a `Damage` where some were lost.
            name: What the source is.
            frame_rate: Frames a second, if known.
            is_live: Whether frames come at their own time.
            frame_size: The size that frames are brought to; None for that of the first.
            on_close: Called by `close`, once.
        """
        self.name = name
        self.frame_rate = frame_rate
        self.is_live = is_live
        self.is_complete = True
        self.num_frames = 0
        self._frames = frames
        self._fitter = ImageFitter(frame_size or FrameSize())
        self._on_close = on_close
        self._is_taken = self._is_closed = False
        self._damages = 0

    def __enter__(self) -> "StreamSource":
        """Return the source."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the source."""
        self.close()

    def close(self) -> None:
        """Let go of the device or file, which ends an iteration; more than once does no harm."""
        self._is_closed = True
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()

    def __iter__(self) -> Iterator[Frame]:
        """Give the frames in order.

        Raises:
            ValueError: If they were read already, or the source is closed.
            VideoReadError: If there is not one.
        """
        if self._is_taken or self._is_closed:
            state = "closed" if self._is_closed else "read already"
            raise ValueError(
                f"{self.name}: is {state}; a stream can be read once. Try opening it again."
            )
        self._is_taken = True
        return self._fitted()

    def _fitted(self) -> Iterator[Frame]:
        begin: float | None = None
        for item in self._frames:
            if isinstance(item, Damage):
                self._note(item)
                continue
            was_changed = self._fitter.has_changed
            image = self._fitter.fit(item.image)
            if self._fitter.has_changed and not was_changed:
                logger.warning(
                    "%s: changes its resolution at second %.4g; frames are brought to that of the "
                    "first",
                    self.name,
                    item.seconds,
                )
            self.num_frames += 1
            begin = item.seconds if begin is None else begin
            yield Frame(image=image, seconds=item.seconds - begin)
            if self._is_closed:  # FFmpeg would crash if asked for more.
                return
        if self._damages > 1:
            logger.warning("%s: %d times, frames were lost", self.name, self._damages)
        if self.num_frames == 0:
            raise VideoReadError(
                self.name, "gave not one frame; expected at least one. Try another source."
            )

    def _note(self, damage: Damage) -> None:
        self.is_complete = False
        self._damages += 1
        # A camera with a loose plug would fill the log.
        level = logging.WARNING if self._damages == 1 else logging.DEBUG
        logger.log(level, "%s: %s", self.name, damage.message)


def open_arrays(
    images: Iterable[np.ndarray] | Iterable[Tensor],
    *,
    seconds: Sequence[Number] | Tensor | None = None,
    rate: Number | None = None,
    size: tuple[int, int] | None = None,
    cover: tuple[int, int] | None = None,
) -> StreamSource:
    """Take images that are in memory, or are made one by one.

    Args:
        images: Values 0 to 255 in uint8, grayscale or RGB. As is the custom, the channels of arrays
            come last and those of tensors first: (height, width, 3) and (3, height, width).
        seconds: Rising time of each image; the first becomes 0.
        rate: Instead of `seconds`: images a second.
        size: Height and width that all frames get; None keeps those of the first image.
        cover: Instead of `size`: height and width to cover, as `open_video` does.

    Raises:
        ValueError: If the times are missing, do not rise, or are fewer or more than the images; or
            if an image has another shape or type.
    """
    if (seconds is None) == (rate is None):
        raise ValueError("`seconds` or `rate` must be given, and not both. Try rate=25.")
    times = None if seconds is None else [float(time) for time in seconds]
    # Written so that a time that is no number does not rise either.
    if times is not None and not all(a < b for a, b in itertools.pairwise([-inf, *times, inf])):
        raise ValueError("`seconds` must rise from image to image. Try `rate` instead.")
    if rate is not None:
        check_rate(rate)
    return StreamSource(
        _array_frames(images, times, rate or 1.0),
        name="arrays",
        frame_rate=rate,
        frame_size=FrameSize(exact=size, cover=cover),
    )


def open_image_sequence(
    paths: str | Path | Sequence[str | Path],
    *,
    rate: Number,
    size: tuple[int, int] | None = None,
    cover: tuple[int, int] | None = None,
) -> StreamSource:
    """Take image files as the frames of a video.

    Args:
        paths: A folder or a glob pattern such as "shot_*.png": its images in the order of the
            numbers in their names, 2 before 10. Or the files themselves, in their order.
        rate: Images a second. One that cannot be read keeps its place in time.
        size: Height and width that all frames get; None keeps those of the first image.
        cover: Instead of `size`: height and width to cover, as `open_video` does.

    Raises:
        ValueError: If the rate is not positive.
        VideoReadError: If there is no image.
    """
    check_rate(rate)
    name = sequence_name(paths)
    try:
        if isinstance(paths, str | Path):
            files = sorted(find_files([paths], IMAGE_SUFFIXES), key=by_numbers)
        else:
            files = find_files(paths, IMAGE_SUFFIXES)
    except ValueError as error:
        raise VideoReadError(name, str(error)) from None
    if not files:
        raise VideoReadError(name, "`paths` must name at least one image. Try a folder.")
    return StreamSource(
        _file_frames(files, rate),
        name=name,
        frame_rate=rate,
        frame_size=FrameSize(exact=size, cover=cover),
    )


def sequence_name(paths: str | Path | Sequence[str | Path]) -> str:
    """What messages call the images that `open_image_sequence` takes."""
    if isinstance(paths, str | Path):
        return str(paths)
    ends = [Path(path).stem for path in (*paths[:1], *paths[-1:])]
    return f"images {' to '.join(ends)}".strip()


def _array_frames(
    images: Iterable[np.ndarray] | Iterable[Tensor], times: list[float] | None, rate: Number
) -> Iterator[Frame | Damage]:
    index = -1
    for index, image in enumerate(images):
        if times is not None and index == len(times):
            raise ValueError(f"`seconds` must have one time an image, got {len(times)} and more.")
        at = index / rate if times is None else times[index]
        yield Frame(image=rgb_image(image, name="images"), seconds=at)
    if times is not None and index + 1 < len(times):
        raise ValueError(
            f"`seconds` must have one time an image, got {len(times)} for {index + 1} images."
        )


def _file_frames(files: Sequence[Path], rate: Number) -> Iterator[Frame | Damage]:
    for index, file in enumerate(files):
        try:
            pixels = np.array(read_image(file).convert("RGB"))
        except ImageReadError as error:
            yield Damage(f"an image is left out: {error}")
            continue
        yield Frame(image=rgb_image(pixels, name="images"), seconds=index / rate)


def by_numbers(path: Path) -> list[tuple[int, str]]:
    """The order of numbers in names, 2 before 10; a key to sort by."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"(\d+)", str(path))
    ]
