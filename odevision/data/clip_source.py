"""Where clips are taken from: videos decoded once, ones that are made when asked for, or both."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float64, Int64, UInt8
from torch import Tensor

from odevision.data.frame_cache import FrameCache
from odevision.data.video_set import VideoSet


@runtime_checkable
class ClipSource(Protocol):
    """Labeled videos of one frame size, any frames of which can be had."""

    class_names: tuple[str, ...]
    labels: Int64[Tensor, " num"]
    name: str
    split: str

    def __len__(self) -> int:
        """Return the number of videos."""
        ...

    def seconds(self, index: int) -> Float64[Tensor, " frames"]:
        """Return the times of a video's frames, rising from 0."""
        ...

    def frames(
        self, index: int, chosen: Int64[Tensor, " chosen"]
    ) -> UInt8[Tensor, "chosen 3 height width"]:
        """Return some frames of a video."""
        ...


class VideoFiles:
    """The videos of a `VideoSet`, decoded once into a cache.

    Args:
        videos: The files.
        cache: Decodes, keeps and gives their frames.
    """

    def __init__(self, videos: VideoSet, cache: FrameCache) -> None:
        """Decode what is not in the cache yet.

        Raises:
            ValueError: If a video cannot be read; all such files are named.
        """
        cache.prepare(videos.paths)
        self.videos, self.cache = videos, cache
        self.class_names, self.labels = videos.class_names, videos.labels
        self.name, self.split = videos.name, videos.split

    def __len__(self) -> int:
        """Return the number of videos."""
        return len(self.videos)

    def seconds(self, index: int) -> Float64[Tensor, " frames"]:
        """Return the times of a video's frames, rising from 0."""
        return self.cache.load(self.videos.paths[index]).seconds

    def frames(
        self, index: int, chosen: Int64[Tensor, " chosen"]
    ) -> UInt8[Tensor, "chosen 3 height width"]:
        """Return some frames of a video; of the file, only these are read."""
        return self.cache.load(self.videos.paths[index]).frames[chosen]


class MixedClips:
    """The clips of one source, then those of another, under the first one's name and labels.

    Args:
        first: Gives classes, name and split.
        second: Of the same frame size, with classes that the first one has, too.
    """

    def __init__(self, first: ClipSource, second: ClipSource) -> None:
        """Translate the labels of the second source."""
        self.first, self.second = first, second
        self.class_names, self.name, self.split = first.class_names, first.name, first.split
        translated = torch.tensor([first.class_names.index(name) for name in second.class_names])
        self.labels = torch.cat([first.labels, translated[second.labels]])

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self.labels)

    def _find(self, index: int) -> tuple[ClipSource, int]:
        num = len(self.first)
        return (self.first, index) if index < num else (self.second, index - num)

    def seconds(self, index: int) -> Float64[Tensor, " frames"]:
        """Return the times of a clip's frames, rising from 0."""
        source, own = self._find(index)
        return source.seconds(own)

    def frames(
        self, index: int, chosen: Int64[Tensor, " chosen"]
    ) -> UInt8[Tensor, "chosen 3 height width"]:
        """Return some frames of a clip."""
        source, own = self._find(index)
        return source.frames(own, chosen)
