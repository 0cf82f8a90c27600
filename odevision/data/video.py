"""One video file to upright frames with their times, whatever container and codec, in order."""

import itertools
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from odevision.data.video_container import (
    FALLBACK_RATE,
    VideoReadError,
    check_video_file,
    find_video_stream,
    import_av,
    open_container,
    stated_duration,
    stated_pixel_aspect,
    stated_rate,
)
from odevision.data.video_frame import Frame, FrameSize, PictureConverter
from odevision.data.video_times import RisingTimes
from odevision.types import Number

__all__ = [
    "FALLBACK_RATE",
    "VIDEO_SUFFIXES",
    "Frame",
    "VideoReadError",
    "VideoReader",
    "import_av",
    "open_video",
]

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = (
    ".mp4",
    ".avi",
    ".mov",
    ".mkv",
    ".webm",
    ".m4v",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".flv",
    ".ogv",
    ".ts",
    ".3gp",
)
"""Endings, in lower case, by which a folder's videos are told from its other files."""

_MISSING_SHARE = 0.05
"""A file whose frames end so much before the duration that it states was cut off."""

_ROUNDING_SECONDS = 1e-6


class VideoReader:
    """Iterates over the frames of a video file; holds a few of them at a time.

    Use it as a context manager, or call `close`. Each iteration begins at the start, or where
    `seek` said, and ends the iteration before it.

    The first frame is at 0 seconds, wherever the file's clock begins; `start_seconds` keeps that.
    Times that are missing or do not rise are made up from the frame rate, with a warning. Of a file
    that is damaged or cut off, the frames that can be decoded are given; then a warning is logged
    and `is_complete` is False. Frames of another resolution are scaled to that of the first.

    Attributes:
        path: The file.
        frame_rate: Frames a second on average; `FALLBACK_RATE` where the file states none.
        duration_seconds: As the file states it, None if it does not.
        size: Height and width of the upright frames in the file, in square pixels: a file whose
            pixels are wide or narrow is stretched as a player does.
        frame_size: Height and width of the frames that are given.
        start_seconds: Time in the file of what is second 0 here.
        is_complete: False once frames were found missing or broken.
        num_frames: Frames that the current iteration has given.
        is_live: False: frames wait for their reader.
    """

    is_live = False

    def __init__(self, path: str | Path, *, frame_size: FrameSize) -> None:
        """Open the file and decode its first frame; see `open_video`."""
        self.path = Path(path)
        check_video_file(self.path)
        self._av = import_av(self.path)
        self._container: Any = None
        try:
            self._open()
            self.frame_rate = stated_rate(self._stream)
            self.duration_seconds = stated_duration(self._av, self._container, self._stream)
            # Decoded now, so that whoever has a reader has a video.
            self._opened = self._begin()
            self._first = next(self._opened, None)
            if self._first is None:
                raise VideoReadError(
                    self.path,
                    "not one frame of it can be decoded; expected at least one. The file may be "
                    "cut off or damaged: try fetching it again.",
                )
            aspect = stated_pixel_aspect(self._stream)
            self._converter = PictureConverter(self._first, frame_size, aspect)
        except BaseException:
            self.close()
            raise
        first, begin = self._first.time, self._stream.start_time
        if first is None and begin is not None:
            first = float(begin * self._stream.time_base)
        self.start_seconds: float = first or 0.0
        self.size, self.frame_size = self._converter.source_size, self._converter.size
        self.num_frames = 0
        self._seek_to = 0.0
        self._can_search = True

    def __enter__(self) -> "VideoReader":
        """Return the reader."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; more than once does no harm."""
        container, self._container = self._container, None
        if container is not None:
            container.close()

    def seek(self, seconds: Number) -> None:
        """Go to a time: the next iteration begins with the first frame at or behind it.

        Args:
            seconds: 0 or more, counted as in `Frame`; behind the end there is no frame.

        Raises:
            ValueError: If it is negative or not finite.
        """
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"`seconds` must be 0 or more, got {seconds}. Try 0 for the start.")
        self._seek_to = float(seconds)

    def __iter__(self) -> Iterator[Frame]:
        """Give the frames in order."""
        begin, self._seek_to = self._seek_to, 0.0
        times = RisingTimes(self.frame_rate)
        self.num_frames, end = 0, 0.0
        for picture in self._pictures_from(begin):
            stated = picture.time
            seconds = times.repair(None if stated is None else stated - self.start_seconds)
            end = seconds + self._shown_seconds(picture)
            if seconds < begin - _ROUNDING_SECONDS:
                continue
            was_changed = self._converter.has_changed
            image = self._converter.convert(picture)
            if self._converter.has_changed and not was_changed:
                logger.warning(
                    "%s: changes its resolution at second %.4g, from %d x %d; frames are brought "
                    "to that of the first",
                    self.path,
                    seconds,
                    *self.size,
                )
            self.num_frames += 1
            yield Frame(image=image, seconds=seconds)
        # Times that were made up say nothing about where the file ends.
        self._report(times.num_repaired, None if times.num_repaired else end)

    def _shown_seconds(self, picture: Any) -> float:
        """How long a picture is to be seen."""
        if picture.duration and picture.time_base:
            return float(picture.duration * picture.time_base)
        return 1 / self.frame_rate

    def _open(self) -> None:
        """Open the file, or open it again to begin anew."""
        self.close()
        self._container = open_container(self._av, self.path)
        self._stream = find_video_stream(self._av, self._container, self.path)
        self.is_complete = True

    def _pictures_from(self, seconds: float) -> Iterator[Any]:
        """Decoded pictures from a time on; it may begin with some that are earlier."""
        if self._container is None:
            raise ValueError(f"{self.path}: the reader is closed. Try opening the video again.")
        first, self._first = self._first, None
        if first is not None and seconds == 0:
            return itertools.chain([first], self._opened)
        if seconds > 0 and self._can_search:
            found = self._search(seconds)
            if found is not None:
                return found
        # What cannot be searched, such as a raw stream without times, is read from its start.
        self._open()
        return self._begin()

    def _search(self, seconds: float) -> Iterator[Any] | None:
        """Decoded pictures from the key frame before a time on; None if that is not found."""
        if not self._stream.time_base:
            return None
        target = math.floor((seconds + self.start_seconds) / self._stream.time_base)
        try:
            self._container.seek(target, stream=self._stream)
        except (self._av.error.FFmpegError, OverflowError):
            return None
        pictures = self._begin()
        first = next(pictures, None)
        if first is None or first.time is None:
            return None
        if first.time - self.start_seconds > seconds + _ROUNDING_SECONDS:
            return None
        return itertools.chain([first], pictures)

    def _begin(self) -> Iterator[Any]:
        self._iteration = object()
        return self._decode(self._iteration)

    def _decode(self, iteration: object) -> Iterator[Any]:
        """Decoded pictures; packets that cannot be decoded are left out."""
        packets = self._container.demux(self._stream)
        is_over = False
        while not is_over:
            # FFmpeg would crash on a container that was closed in the meantime.
            if self._container is None or iteration is not self._iteration:
                raise ValueError(
                    f"{self.path}: the reader was closed, or began anew, during an iteration. "
                    "Try one reader for each."
                )
            for picture in self._decode_next(packets):
                is_over = picture is None
                if picture is not None:
                    yield picture

    def _decode_next(self, packets: Iterator[Any]) -> list[Any]:
        """Pictures of the next packet; None behind the last ones."""
        packet, end = None, [None]
        try:
            packet = next(packets, None)
        except self._av.error.FFmpegError as error:
            self._note_damage(error)
        except IndexError:  # PyAV miscounts streams that appear late, though only at the end.
            pass
        try:
            # No packet makes the decoder give what it holds back; it may have done so already.
            pictures = self._stream.decode(packet)
        except self._av.error.EOFError:
            return end
        except self._av.error.FFmpegError as error:
            self._note_damage(error)
            return [] if packet is not None else end
        if any(picture.is_corrupt for picture in pictures):
            self._note_damage("a frame is corrupt")
        return pictures if packet is not None else pictures + end

    def _note_damage(self, reason: object) -> None:
        self.is_complete = False
        logger.debug("%s: %s", self.path, reason)

    def _report(self, num_repaired: int, end: float | None) -> None:
        """Warn about what was found in a whole iteration.

        Args:
            num_repaired: Times that were made up.
            end: When the last frame ends, if that is known.
        """
        duration = self.duration_seconds
        # A container's own duration is that of its longest stream, such as a longer sound.
        is_own = self._stream.duration or len(self._container.streams) == 1
        if duration is not None and end is not None and is_own:
            tolerated = max(_MISSING_SHARE * duration, 2 / self.frame_rate)
            self.is_complete &= duration - end <= tolerated
        if not self.is_complete:
            logger.warning(
                "%s: damaged or cut off; %d frames were read%s%s",
                self.path,
                self.num_frames,
                "" if end is None else f", up to second {end:.4g}",
                "" if end is None or duration is None else f" of {duration:.4g}",
            )
        if num_repaired:
            self._can_search = False
            logger.warning(
                "%s: %d frames have no time, or one that does not rise; it was made up from %.4g "
                "frames a second",
                self.path,
                num_repaired,
                self.frame_rate,
            )


def open_video(
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    cover: tuple[int, int] | None = None,
) -> VideoReader:
    """Open a video file; what it is, its content decides and not its name.

    Args:
        path: A file of any container and codec that FFmpeg knows.
        size: Height and width that all frames get, whatever the file's aspect. FFmpeg scales them
            on the way to RGB, which is far cheaper than scaling them later. None keeps the file's.
        cover: Instead of `size`: height and width that frames must cover. Larger ones are scaled
            down, their aspect kept, until they just do; smaller ones stay.

    Returns:
        A reader: `with open_video(path) as video: for frame in video: ...`.

    Raises:
        ValueError: If both sizes are given, or one is out of range.
        VideoReadError: If the file is missing, empty, a folder, or holds no frame.
    """
    return VideoReader(path, frame_size=FrameSize(exact=size, cover=cover))
