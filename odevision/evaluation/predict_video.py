"""Predict the class of a video from its frames as they come, and how sure that was when."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from odevision.data.clip_sampling import thin_to_rate
from odevision.data.find_files import find_files
from odevision.data.video import VIDEO_SUFFIXES, VideoReader
from odevision.data.video_frame import Frame
from odevision.data.video_stream import StreamSource
from odevision.evaluation.answers import device_of
from odevision.evaluation.predict import top_classes
from odevision.evaluation.streaming import (
    StreamingClassifier,
    can_stream,
    threads_for_frames,
)
from odevision.training.card import LoadedModel
from odevision.types import Clips

OnFrame = Callable[[Frame, Tensor], None]
"""Called with each frame of a source and the class probabilities after it."""

WHOLE_CLIP_FRAMES = 512
"""Frames that a network which cannot stream is shown at most."""


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The answer after a frame.

    Args:
        seconds: Time of the frame.
        probabilities: Of each class.
    """

    seconds: float
    probabilities: Float[Tensor, " classes"]


@dataclass(frozen=True, kw_only=True)
class VideoPrediction:
    """The model's answer for one video.

    Args:
        path: The file, or what the stream is.
        label: Name of the most probable class at the end.
        probability: Of that class, 0 to 1.
        top: The most probable classes, best first, with their probabilities.
        moments: The answer after each frame that was looked at, or after the last one alone.
        num_frames: Frames looked at.
        seconds_watched: Time of the last frame that was looked at.
        duration_seconds: Of the video as its file states it; None for streams.
        stopped_early: Whether it stopped before the end, being sure or at a limit.
        is_complete: False if frames were found missing or broken.
    """

    path: str
    label: str
    probability: float
    top: tuple[tuple[str, float], ...]
    moments: tuple[Moment, ...]
    num_frames: int
    seconds_watched: float
    duration_seconds: float | None
    stopped_early: bool
    is_complete: bool

    @property
    def share_watched(self) -> float | None:
        """Share of the video that was watched or could be read, 0 to 1; None if not known."""
        if not self.duration_seconds:
            return None
        if self.is_complete and not self.stopped_early:
            return 1.0
        return min(1.0, self.seconds_watched / self.duration_seconds)


def find_videos(paths: Sequence[str | Path]) -> tuple[list[Path], list[tuple[str, str]]]:
    """Expand files, folders (with all folders in them) and globs.

    Args:
        paths: What was named.

    Returns:
        Video files, and (path, message) for what names none.
    """
    files: list[Path] = []
    errors: list[tuple[str, str]] = []
    for path in paths:
        try:
            files.extend(find_files([path], VIDEO_SUFFIXES, kind="videos"))
        except (ValueError, OSError) as error:
            errors.append((str(path), str(error)))
    return files, errors


def predict_stream(
    loaded: LoadedModel,
    source: VideoReader | StreamSource,
    *,
    top: int = 5,
    stop_when_sure: float | None = None,
    every_frame: bool = False,
    memory_seconds: float | None = None,
    max_seconds: float | None = None,
    on_frame: OnFrame | None = None,
    keep_moments: bool = True,
) -> VideoPrediction:
    """Watch a video, and answer after each frame.

    Of a live source, Ctrl-C (a KeyboardInterrupt) is the end: what was seen is answered.

    Args:
        loaded: A network of videos.
        source: Frames with their times.
        top: How many classes to list, at least 1.
        stop_when_sure: Stop once a class has this probability, above 0 and at most 1.
        every_frame: Look at every frame, not only at as many a second as in training.
        memory_seconds: Time after which a frame's weight has fallen to 1/e; None weighs all frames
            alike, as in training.
        max_seconds: Stop at this time of the video, 0 or more.
        on_frame: Called with each frame of the source and the probabilities after it; never by a
            network that takes whole clips, which looks at `WHOLE_CLIP_FRAMES` at most.
        keep_moments: Remember the answer after each frame, and not the last one alone, which does
            for a stream that goes on for days.

    Returns:
        The answer.

    Raises:
        ValueError: If an option is out of range, or asks for a stream of a network that cannot.
        VideoReadError: If a stream has not one frame.
    """
    if top < 1:
        raise ValueError(f"`top` must be at least 1, got {top}.")
    if stop_when_sure is not None and not 0 < stop_when_sure <= 1:
        raise ValueError(
            f"`stop_when_sure` must be above 0 and at most 1, got {stop_when_sure}. Try 0.95."
        )
    if max_seconds is not None and not max_seconds >= 0:
        raise ValueError(f"`max_seconds` must be 0 or more, got {max_seconds}. Try 10.")
    moments: deque[Moment] = deque(maxlen=None if keep_moments else 1)
    is_early = False
    if not can_stream(loaded):
        for name, value in (
            ("stop_when_sure", stop_when_sure),
            ("every_frame", every_frame),
            ("memory_seconds", memory_seconds),
        ):
            if value is not None and value is not False:  # 0 is given, too
                raise ValueError(
                    f"`{name}` must be used with a network that can stream, got "
                    f"{loaded.card.model_name}, which takes whole clips only."
                )
        moment, num_frames, is_early = _answer_whole(loaded, source, max_seconds)
        moments.append(moment)
    else:
        classifier = StreamingClassifier(
            loaded, every_frame=every_frame, memory_seconds=memory_seconds
        )
        limits = _Limits(probability=stop_when_sure, seconds=max_seconds)
        try:
            with threads_for_frames(loaded):
                is_early = _answer_frames(classifier, source, moments, limits, on_frame)
        except KeyboardInterrupt:
            if not moments or not source.is_live:
                raise
        num_frames = classifier.num_frames
    best = top_classes(moments[-1].probabilities, loaded.card.class_names, top)
    is_file = isinstance(source, VideoReader)
    return VideoPrediction(
        path=str(source.path) if is_file else source.name,
        label=best[0][0],
        probability=best[0][1],
        top=best,
        moments=tuple(moments),
        num_frames=num_frames,
        seconds_watched=moments[-1].seconds,
        duration_seconds=source.duration_seconds if is_file else None,
        stopped_early=is_early,
        is_complete=source.is_complete,
    )


@dataclass(frozen=True, kw_only=True)
class _Limits:
    """When to stop before the end: at a probability, at a time; None for neither."""

    probability: float | None
    seconds: float | None


def _answer_frames(
    classifier: StreamingClassifier,
    source: Iterable[Frame],
    moments: deque[Moment],
    limits: _Limits,
    on_frame: OnFrame | None,
) -> bool:
    """Add a moment for each frame that is looked at; whether that stopped before the end."""
    for frame in source:
        if moments and limits.seconds is not None and frame.seconds > limits.seconds:
            return True
        num_before = classifier.num_frames
        probabilities = classifier.push(frame.image, frame.seconds)
        if classifier.num_frames > num_before:
            moments.append(Moment(seconds=frame.seconds, probabilities=probabilities))
        if on_frame is not None:
            on_frame(frame, probabilities)
        if limits.probability is not None and float(probabilities.max()) >= limits.probability:
            return True
    return False


@torch.inference_mode()
def _answer_whole(
    loaded: LoadedModel, source: VideoReader | StreamSource, max_seconds: float | None
) -> tuple[Moment, int, bool]:
    """The one answer of a network that cannot stream, to how many frames, and whether more came."""
    preprocessing = loaded.clip_preprocessing
    frames: list[tuple[Tensor, float]] = []
    is_early = False
    try:
        for frame in thin_to_rate(source, preprocessing.rate):
            is_over = max_seconds is not None and frame.seconds > max_seconds
            is_early = bool(frames) and (is_over or len(frames) == WHOLE_CLIP_FRAMES)
            if is_early:
                break
            frames.append((preprocessing.to_uint8(frame.image), frame.seconds))
    except KeyboardInterrupt:
        if not frames or not source.is_live:
            raise
    images, seconds = zip(*frames, strict=True)
    clips = Clips(
        preprocessing.normalize(torch.stack(images)[None].to(device_of(loaded))),
        torch.tensor([seconds], device=device_of(loaded)),
        torch.ones(1, len(images), dtype=torch.bool, device=device_of(loaded)),
    )
    probabilities = loaded.model(clips)[0].float().softmax(dim=0).cpu()
    return Moment(seconds=seconds[-1], probabilities=probabilities), len(images), is_early
