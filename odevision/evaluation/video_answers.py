"""What a network of videos answers to a test split: whole, at other rates, and early."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.nn import functional

from odevision.data.clip_loader import ClipLoader
from odevision.data.clip_sampling import ClipSampling
from odevision.data.clip_source import ClipSource
from odevision.data.video_sources import (
    OFFICIAL_SPLITS,
    load_video_split,
    video_class_names,
)
from odevision.evaluation.answers import Answers, device_of, model_logits
from odevision.evaluation.split import class_mapping, explain_missing
from odevision.models.registry import Model, total_nfe
from odevision.training.card import LoadedModel
from odevision.types import Clips

OnBatch = Callable[[int, int], None]

WATCHED_SHARES = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
"""Shares of each video, from its start, at which the answer is asked for."""


@dataclass(frozen=True, kw_only=True)
class RateResult:
    """Answers at another frame rate.

    Args:
        condition: In words.
        accuracy: Share of right answers, 0 to 1.
        changed_share: Share of the videos whose predicted class differs from that at the model's
            own rate.
        mean_frames: Frames a video.
    """

    condition: str
    accuracy: float
    changed_share: float
    mean_frames: float


@dataclass(frozen=True, kw_only=True)
class WatchedResult:
    """Answers after a share of each video.

    Args:
        share: Of the frames of each video, from its start, 0 to 1; one frame at least.
        accuracy: Share of right answers, 0 to 1.
    """

    share: float
    accuracy: float


def load_test_videos(
    loaded: LoadedModel,
    *,
    data: str | None = None,
    data_root: str | Path | None = None,
    limit: int | None = None,
    cache_dir: str | Path | None = None,
) -> tuple[ClipSource, Int64[Tensor, " num"]]:
    """Load the test videos for a model: its frame size, its order of classes.

    Args:
        loaded: A network of videos.
        data: Name of a video data set, a folder or a CSV file; None takes what it was trained on.
        data_root: Where data sets lie; None searches the usual places.
        limit: Only so many videos, evenly spaced.
        cache_dir: Where decoded frames are kept; None takes the user's cache folder.

    Returns:
        The videos, and for each the index of its class in the model.

    Raises:
        ValueError: The data set has a class that the model does not know.
        DataNotFoundError: The data set is not there.
    """
    name = data if data is not None else loaded.card.dataset
    # Another data set than that of training may have no such splits.
    split_index = (loaded.card.split_index or 1) if name in OFFICIAL_SPLITS else 1
    with explain_missing(loaded, data, data_root):
        names = video_class_names(name, data_root=data_root, split_index=split_index)
    mapping = class_mapping(name, names, tuple(loaded.card.class_names))
    source = load_video_split(
        name,
        "test",
        preprocessing=loaded.clip_preprocessing,
        data_root=data_root,
        split_index=split_index,
        limit=limit,
        cache_dir=cache_dir,
    )
    return source, mapping[source.labels]


def model_sampling(loaded: LoadedModel) -> ClipSampling:
    """All of a video at the rate that the model was trained at."""
    return ClipSampling(kind="rate", num_frames=None, rate=loaded.clip_preprocessing.rate)


def rate_conditions(rate: float) -> dict[str, ClipSampling]:
    """The other rates at which answers are asked for.

    Args:
        rate: The model's, in frames a second.

    Returns:
        Description -> sampling of the whole video.
    """

    def irregular(**fields: float) -> ClipSampling:
        return ClipSampling(kind="irregular", num_frames=None, **fields)

    return {
        "half the rate": ClipSampling(num_frames=None, rate=rate / 2),
        "twice the rate": ClipSampling(num_frames=None, rate=2 * rate),
        "irregular gaps, the same mean rate": irregular(rate=4 * rate, kept_rate=rate),
        "half of the frames dropped": irregular(rate=rate, drop=0.5),
    }


@torch.inference_mode()
def answer_videos(
    loaded: LoadedModel,
    source: ClipSource,
    labels: Int64[Tensor, " num"],
    *,
    sampling: ClipSampling | None = None,
    share: float = 1.0,
    mirror: bool = False,
    batch_size: int = 8,
    on_batch: OnBatch | None = None,
) -> tuple[Answers, float]:
    """Let a model answer every video of a split, in order.

    Args:
        loaded: A network of videos.
        source: The videos.
        labels: True class indices in the order of the model.
        sampling: Which frames it sees; None shows all of each video at its own rate.
        share: Of these frames, from the start; one at least.
        mirror: Average the class scores with those of the mirrored videos; twice the work, which
            `seconds` counts and `nfe`, of one pass, does not.
        batch_size: Videos at once.
        on_batch: Called after each batch with (videos answered, videos in all).

    Returns:
        The answers, and the mean number of frames a video.
    """
    loader = ClipLoader(
        source,
        loaded.clip_preprocessing,
        sampling=sampling or model_sampling(loaded),
        batch_size=batch_size,
        device=device_of(loaded),
        shuffle=False,
        seed=0,
    )
    started = time.perf_counter()
    parts: list[Tensor] = []
    nfe_sum, num_frames, num_done = 0, 0, 0
    for clips, batch_labels in loader.epoch(0):
        clips = _beginning(clips, share)
        parts.append(model_logits(loaded.model, clips, mirror=mirror).cpu())
        nfe_sum += total_nfe(cast(Model, loaded.model)) * len(batch_labels)
        num_frames += int(clips.mask.sum())
        num_done += len(batch_labels)
        if on_batch is not None:
            on_batch(num_done, len(source))
    logits = torch.cat(parts)
    answers = Answers(
        probabilities=logits.softmax(dim=1),
        logits=logits,
        labels=labels,
        loss=float(functional.cross_entropy(logits, labels)),
        nfe=nfe_sum / num_done,
        seconds=time.perf_counter() - started,
    )
    return answers, num_frames / num_done


def _beginning(clips: Clips, share: float) -> Clips:
    """Keep the first frames of each clip."""
    if share >= 1:
        return clips
    # Less a hair's breadth: a share of 0.3 is a little more than three tenths.
    kept = [max(1, math.ceil(share * num - 1e-6)) for num in clips.mask.sum(dim=1).tolist()]
    counts, most = torch.tensor(kept, device=clips.mask.device), max(kept)
    mask = torch.arange(most, device=counts.device) < counts[:, None]
    # Times stop with the frames: those of padded ones are the last frame's.
    last = clips.seconds.gather(1, counts[:, None] - 1)
    return Clips(clips.frames[:, :most], clips.seconds[:, :most].minimum(last), mask)


def check_rates(
    loaded: LoadedModel,
    source: ClipSource,
    answers: Answers,
    *,
    batch_size: int = 8,
    on_batch: OnBatch | None = None,
) -> list[RateResult]:
    """Answer at half and twice the rate, with irregular gaps, and with frames dropped.

    Args:
        loaded: A network of videos.
        source: The videos.
        answers: Its answers at its own rate.
        batch_size: Videos at once.
        on_batch: Called after each batch with (videos answered, videos in all).
    """
    results = []
    own = answers.logits.argmax(dim=1)
    for name, sampling in rate_conditions(loaded.clip_preprocessing.rate).items():
        other, mean_frames = answer_videos(
            loaded,
            source,
            answers.labels,
            sampling=sampling,
            batch_size=batch_size,
            on_batch=on_batch,
        )
        changed = other.logits.argmax(dim=1) != own
        results.append(
            RateResult(
                condition=name,
                accuracy=other.accuracy,
                changed_share=float(changed.double().mean()),
                mean_frames=mean_frames,
            )
        )
    return results


def check_watched(
    loaded: LoadedModel,
    source: ClipSource,
    answers: Answers,
    *,
    shares: Sequence[float] = WATCHED_SHARES,
    batch_size: int = 8,
    on_batch: OnBatch | None = None,
) -> list[WatchedResult]:
    """Answer after a share of each video.

    Args:
        loaded: A network of videos.
        source: The videos.
        answers: Its answers to the whole videos.
        shares: Above 0 and at most 1.
        batch_size: Videos at once.
        on_batch: Called after each batch with (videos answered, videos in all).
    """
    results = []
    for share in shares:
        part = answers
        if share < 1:
            part, _ = answer_videos(
                loaded,
                source,
                answers.labels,
                share=share,
                batch_size=batch_size,
                on_batch=on_batch,
            )
        results.append(WatchedResult(share=share, accuracy=part.accuracy))
    return results
