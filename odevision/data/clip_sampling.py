"""Which frames of a video make a clip, from their times alone."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Literal, get_args

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from odevision.data.hashing import hash_integer
from odevision.data.video_frame import Frame
from odevision.data.video_times import check_rate
from odevision.types import Number

SamplingKind = Literal["uniform", "dense", "rate", "irregular", "whole"]

_DUE = 1e-6
"""A frame that is due this part of a tick later, by rounding, is due now."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipSampling:
    """How frames are chosen.

    Args:
        kind: `uniform` spreads the frames over the whole video. `dense` takes neighboring frames.
            `rate` takes frames at about so many a second, whatever the video's own rate.
            `irregular` does that and then drops some at random. `whole` takes every frame.
        num_frames: Frames a clip at most; None means no limit (not for `uniform` and `dense`;
            `whole` has none in any case). Before `irregular` drops some: a clip with gaps lasts as
            long as one without.
        rate: Frames a second, for `rate` and `irregular`.
        rate_jitter: In training, factors on `rate` are drawn from [1 / (1 + jitter), 1 + jitter],
            one a clip, evenly in their logarithm.
        drop: Probability that a frame is dropped, for `irregular`; one always stays.
        kept_rate: Instead of `drop`: frames a second that stay on average, where the video has as
            many.
    """

    kind: SamplingKind = "rate"
    num_frames: int | None = 16
    rate: float = 8.0
    rate_jitter: float = 0.0
    drop: float = 0.0
    kept_rate: float | None = None

    def __post_init__(self) -> None:
        """Refuse values out of range, and changes that the kind does not make."""
        if self.kind not in get_args(SamplingKind):
            raise ValueError(
                f"`kind` must be one of {', '.join(get_args(SamplingKind))}, got {self.kind!r}."
            )
        if self.num_frames is not None and self.num_frames < 1:
            raise ValueError(f"`num_frames` must be at least 1, got {self.num_frames}. Try 16.")
        if self.num_frames is None and self.kind in ("uniform", "dense"):
            raise ValueError(f"`num_frames` must be given for {self.kind!r}. Try 16.")
        check_rate(self.rate)
        if not 0 <= self.rate_jitter < float("inf"):
            raise ValueError(f"`rate_jitter` must be 0 or more, got {self.rate_jitter}. Try 0.2.")
        if self.rate_jitter and self.kind not in ("rate", "irregular"):
            raise ValueError(
                f"`rate_jitter` must be 0 for {self.kind!r}, got {self.rate_jitter}. "
                "Try kind='rate'."
            )
        if not 0 <= self.drop < 1:
            raise ValueError(f"`drop` must be in [0, 1), got {self.drop}. Try 0.5.")
        if self.drop and self.kind != "irregular":
            raise ValueError(
                f"`drop` must be 0 for {self.kind!r}, got {self.drop}. Try kind='irregular'."
            )
        if self.kept_rate is not None and (self.kind != "irregular" or self.drop):
            raise ValueError(
                "`kept_rate` must be None but for 'irregular' without `drop`, got "
                f"{self.kept_rate} for {self.kind!r} with drop={self.drop}."
            )
        if self.kept_rate is not None:
            check_rate(self.kept_rate, "kept_rate")


def sample_clip(
    seconds: Float64[Tensor, " frames"],
    sampling: ClipSampling,
    generator: torch.Generator | None = None,
) -> Int64[Tensor, " chosen"]:
    """Choose the frames of a clip.

    Args:
        seconds: Times of the video's frames, rising.
        sampling: How.
        generator: On the CPU; of the start, the rate and what is dropped, in training. Without one
            the answer is always the same: the clip lies in the middle of the video, and what
            `irregular` drops depends on the number of frames only.

    Returns:
        Rising indices, at least one, none twice; fewer than `num_frames` where the video is too
        short.

    Raises:
        ValueError: If there is no frame.
    """
    num_all, wanted = len(seconds), sampling.num_frames
    if num_all == 0:
        raise ValueError("`seconds` must have at least one frame, got none.")
    if sampling.kind == "uniform":
        assert wanted is not None
        return _spread(num_all, min(wanted, num_all), generator)
    if sampling.kind in ("rate", "irregular"):
        chosen = at_rate(seconds, _draw_rate(sampling, generator), generator)
    else:
        chosen = torch.arange(num_all)
    if wanted is not None and len(chosen) > wanted and sampling.kind != "whole":
        start = _draw_start(len(chosen) - wanted, generator)
        chosen = chosen[start : start + wanted]
    drop = sampling.drop
    if sampling.kept_rate is not None and len(chosen) > 1:
        own_rate = (len(chosen) - 1) / float(seconds[chosen[-1]] - seconds[chosen[0]])
        drop = max(0.0, 1 - sampling.kept_rate / own_rate)
    return _dropped(chosen, drop, generator) if drop else chosen


def at_rate(
    seconds: Float64[Tensor, " frames"], rate: Number, generator: torch.Generator | None = None
) -> Int64[Tensor, " chosen"]:
    """Choose frames at about a rate: of each 1 / rate seconds the first frame.

    Args:
        seconds: Times of the frames, rising.
        rate: Frames a second; a video with fewer keeps all of them.
        generator: Shifts the clock by a random part of a tick; None begins at the first frame.

    Returns:
        Rising indices.
    """
    phase = 0.0 if generator is None else float(torch.rand((), generator=generator))
    ticks = torch.floor((seconds - seconds[:1]) * rate + phase + _DUE)
    is_first = torch.ones(len(seconds), dtype=torch.bool)
    is_first[1:] = ticks[1:] > ticks[:-1]
    return is_first.nonzero().flatten()


def thin_to_rate(frames: Iterable[Frame], rate: Number) -> Iterator[Frame]:
    """Let frames of a running source through at about a rate, each as soon as it comes.

    Whether a frame passes depends on the frames before it only, so predictions from a stream and
    from a file see the same frames.

    Args:
        frames: A `VideoReader`, a `StreamSource`, or any frames with rising times.
        rate: Frames a second; a source with fewer keeps all of them.

    Returns:
        An iterator over those that `at_rate` would choose.

    Raises:
        ValueError: If the rate is not positive.
    """
    check_rate(rate)
    return _thinned(frames, rate)


def tick_of(seconds: Number, rate: Number) -> int:
    """Return in which 1 / rate seconds a time lies, counted from 0 at second 0."""
    return int(seconds * rate + _DUE)


def _thinned(frames: Iterable[Frame], rate: Number) -> Iterator[Frame]:
    first, latest = None, -1
    for frame in frames:
        first = frame.seconds if first is None else first
        tick = tick_of(frame.seconds - first, rate)
        if tick > latest:
            latest = tick
            yield frame


def _draw_rate(sampling: ClipSampling, generator: torch.Generator | None) -> float:
    if generator is None or sampling.rate_jitter == 0:
        return sampling.rate
    exponent = 2 * float(torch.rand((), generator=generator)) - 1
    return sampling.rate * (1 + sampling.rate_jitter) ** exponent


def _draw_start(room: int, generator: torch.Generator | None) -> int:
    if generator is None:
        return room // 2
    return int(torch.randint(room + 1, (), generator=generator))


def _dropped(
    chosen: Int64[Tensor, " chosen"], drop: float, generator: torch.Generator | None
) -> Int64[Tensor, " kept"]:
    """Drop each frame with a probability; if that were all, one of them stays."""
    if generator is None:
        generator = torch.Generator().manual_seed(hash_integer(len(chosen)))
    kept = torch.rand(len(chosen), generator=generator) >= drop
    if not kept.any():
        kept[int(torch.randint(len(chosen), (), generator=generator))] = True
    return chosen[kept]


def _spread(
    num_all: int, num_chosen: int, generator: torch.Generator | None
) -> Int64[Tensor, " chosen"]:
    """One frame out of each of so many nearly equal parts: its middle, or a random one."""
    # Whole bounds: parts that share a frame could both choose it.
    bounds = torch.arange(num_chosen + 1) * num_all // num_chosen
    at = 0.5 if generator is None else torch.rand(num_chosen, generator=generator).double()
    return bounds[:-1] + (at * bounds.diff()).long()
