"""Decoded small frames on disk, so that training is not bound by decoding.

One safetensors file a video: its frames as bytes, their times, and a checksum. Files are mapped
into memory, so the operating system holds what is used often, and several processes share it.
"""

import contextlib
import hashlib
import json
import logging
import os
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import safetensors.torch
import torch
from jaxtyping import Float64, UInt8
from safetensors import SafetensorError, safe_open
from torch import Tensor

from odevision.data.clip_preprocessing import ClipPreprocessing
from odevision.data.locate import cache_folder
from odevision.data.read_many import read_many
from odevision.data.video import open_video

logger = logging.getLogger(__name__)

_FORMAT = 2
"""Part of every key: a change of what is stored makes new files."""

_MAX_OPEN = 4096
"""Videos held open at once; an open one costs a mapping, no memory."""


class CachedVideo(NamedTuple):
    """A decoded video.

    Attributes:
        frames: All its frames at the size of the cache; mapped from a file, so not to be changed.
        seconds: Their times, rising from 0.
        is_complete: False if frames were found missing or broken when it was decoded.
    """

    frames: UInt8[Tensor, "frames 3 height width"]
    seconds: Float64[Tensor, " frames"]
    is_complete: bool = True


class FrameCache:
    """Decodes videos once and gives their frames from then on.

    A file is found again by the video's path, size and time of change and by the frame size, so an
    edited video is decoded anew. It is written under a name of its own and renamed, so that two
    processes that decode the same video do no harm. Its checksum is compared when a process first
    opens it; a damaged file is decoded anew, with a warning. On a full disk frames are kept in
    memory instead.

    Args:
        preprocessing: Its size is that of the frames. Every frame is kept, whatever its rate is.
        folder: Where the files go; None takes `frames` in the user's cache folder.
    """

    def __init__(self, preprocessing: ClipPreprocessing, folder: str | Path | None = None) -> None:
        """Keep the settings; nothing is read or written yet."""
        self.preprocessing = preprocessing
        self.folder = cache_folder() / "frames" if folder is None else Path(folder)
        self._open: OrderedDict[Path, CachedVideo] = OrderedDict()
        self._checked: set[Path] = set()
        self._decoded: set[Path] = set()
        self._in_memory: dict[Path, CachedVideo] = {}

    def prepare(self, paths: Sequence[Path]) -> None:
        """Decode what is not there yet, on several threads (decoders release the lock).

        Args:
            paths: Video files.

        Raises:
            ValueError: If any cannot be read; all such files are named.
        """
        missing = [path for path in paths if not self._file_of(path).is_file()]
        if not missing:
            return
        logger.info("decoding %d of %d videos into %s", len(missing), len(paths), self.folder)
        read_many(missing, lambda _, path: self._decode(path), kind="videos", total=len(paths))

    def load(self, path: Path) -> CachedVideo:
        """Return a video's frames, from the cache if they are there.

        Args:
            path: A video file.

        Raises:
            VideoReadError: If it has to be decoded and cannot be.
        """
        video = self._open.get(path) or self._in_memory.get(path)
        if video is not None:
            return video
        file = self._file_of(path)
        video = _read(file, is_checked=file in self._checked)
        if video is None:
            decoded = self._decode(path)
            video = _read(file) or decoded
        if not video.is_complete and file not in self._checked | self._decoded:
            logger.warning(
                "%s: was damaged or cut off when it was decoded; its %d readable frames are used. "
                "Try to replace the file.", path, len(video.seconds),
            )  # fmt: skip
        self._checked.add(file)
        self._open[path] = video
        if len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)
        return video

    def _file_of(self, path: Path) -> Path:
        try:
            status = path.stat()
            facts = [status.st_size, status.st_mtime_ns]
        except OSError:  # Opening it says what is wrong.
            facts = []
        key = json.dumps([_FORMAT, str(path.resolve()), *facts, *self.preprocessing.size])
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.safetensors"

    def _decode(self, path: Path) -> CachedVideo:
        # Before a file that still grows is read: its whole has another key.
        file, images, seconds = self._file_of(path), [], []
        with open_video(path, cover=self.preprocessing.size) as reader:
            for frame in reader:
                images.append(self.preprocessing.to_uint8(frame.image))
                seconds.append(frame.seconds)
        times = torch.tensor(seconds, dtype=torch.float64)
        video = CachedVideo(torch.stack(images), times, reader.is_complete)
        self._decoded.add(file)
        try:
            _write(file, video)
        except OSError as error:
            logger.warning(
                "%s: cannot be written: %s; the frames of %s are kept in memory instead. Try a "
                "folder on another disk.", file, error.strerror or error, path,
            )  # fmt: skip
            self._in_memory[path] = video
        return video


def _checksum(video: CachedVideo) -> str:
    frames: Any = video.frames.contiguous().numpy()
    seconds: Any = video.seconds.numpy()
    return f"{zlib.crc32(frames, zlib.crc32(seconds)):08x}"


def _write(file: Path, video: CachedVideo) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".tmp-{os.getpid()}-{id(video)}-{file.name}")
    try:
        # Not `save_file`, whose errors hide why the system refused.
        tensors = {"frames": video.frames, "seconds": video.seconds}
        facts = {"crc32": _checksum(video)} | ({} if video.is_complete else {"damaged": "yes"})
        temporary.write_bytes(safetensors.torch.save(tensors, facts))
        os.replace(temporary, file)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _read(file: Path, *, is_checked: bool = False) -> CachedVideo | None:
    """Map a file; None if it is missing or damaged. One that was checked is not read."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as tensors:
            facts = tensors.metadata()
            stated = facts["crc32"]
            video = CachedVideo(
                tensors.get_tensor("frames"),
                tensors.get_tensor("seconds"),
                is_complete="damaged" not in facts,
            )
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        logger.warning("%s: is damaged (%s); its video is decoded anew", file, error)
        return None
    if not is_checked and _checksum(video) != stated:
        logger.warning("%s: is damaged (checksum); its video is decoded anew", file)
        return None
    return video
