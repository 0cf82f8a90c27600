"""The pictures of `odevision plot` that only networks of videos have."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from odevision.data.clip_source import ClipSource
    from odevision.evaluation.answers import Answers
    from odevision.evaluation.evaluate import Evaluation
    from odevision.evaluation.video_answers import WatchedResult
    from odevision.models.video_registry import VideoModel
    from odevision.training.card import LoadedModel

_NUM_STRIPS, _NUM_FRAMES = 8, 7


@dataclass(frozen=True, kw_only=True)
class VideoSubject:
    """What the pictures are of.

    Args:
        name: of the model, for titles.
        loaded: the model.
        source: the test videos.
        answers: its answers to them.
        evaluation: what these come to.
    """

    name: str
    loaded: "LoadedModel"
    source: "ClipSource"
    answers: "Answers"
    evaluation: "Evaluation"


def answer_subject(
    loaded: "LoadedModel",
    *,
    data: str | None,
    data_root: str | None,
    cache_dir: str | None,
    limit: int | None,
    batch_size: int,
) -> VideoSubject:
    """Answer the test videos.

    Args:
        loaded: a network of videos.
        data: data set, folder or CSV file; None takes what it was trained on.
        data_root: where data sets lie.
        cache_dir: where decoded frames are kept; None takes the user's cache folder.
        limit: only so many videos.
        batch_size: videos at once.
    """
    from odevision.cli.model import short_name
    from odevision.cli.progress import batch_progress
    from odevision.evaluation.evaluate import summarize
    from odevision.evaluation.video_answers import answer_videos, load_test_videos

    source, labels = load_test_videos(
        loaded, data=data, data_root=data_root, limit=limit, cache_dir=cache_dir
    )
    with batch_progress("answering test videos") as on_batch:
        answers, _ = answer_videos(loaded, source, labels, batch_size=batch_size, on_batch=on_batch)
    return VideoSubject(
        name=short_name(loaded),
        loaded=loaded,
        source=source,
        answers=answers,
        evaluation=summarize(loaded, source, answers),
    )


def _title(name: str, found: "Evaluation") -> str:
    return f"{name}, {found.num_samples:,} {found.data} test videos: {found.accuracy:.1%}"


def draw_confusion(name: str, found: "Evaluation") -> "Figure":
    """Draw which videos were taken for which.

    Args:
        name: of the model.
        found: its evaluation.
    """
    from odevision.visual import plot_confusion

    return plot_confusion(
        found.confusion_matrix, found.class_names, title=_title(name, found), samples="videos"
    )


def draw_share_watched(
    name: str, found: "Evaluation", watched: "Sequence[WatchedResult]"
) -> "Figure":
    """Draw the accuracy after a part of each video.

    Args:
        name: of the model.
        found: its evaluation, of whole videos.
        watched: what it answers after parts of them.
    """
    from odevision.visual import plot_share_watched

    points = [(one.share, one.accuracy) for one in watched]
    return plot_share_watched({name: points}, title=_title(name, found))


def _predictions(subject: VideoSubject) -> "Figure":
    import torch

    from odevision.visual import Filmstrip, plot_filmstrips

    names = subject.loaded.card.class_names
    answers, strips = subject.answers, []
    num = min(_NUM_STRIPS, len(subject.source))
    # Evenly over the split, which is sorted by class.
    for index in (torch.arange(num) * len(subject.source) // num).tolist():
        seconds = subject.source.seconds(index)
        chosen = torch.linspace(0, len(seconds) - 1, _NUM_FRAMES).round().long().unique()
        best = int(answers.probabilities[index].argmax())
        strips.append(
            Filmstrip(
                frames=subject.source.frames(index, chosen),
                seconds=seconds[chosen].tolist(),
                true_label=names[int(answers.labels[index])],
                label=names[best],
                probability=float(answers.probabilities[index, best]),
            )
        )
    return plot_filmstrips(strips, title=_title(subject.name, subject.evaluation))


def _confusion(subject: VideoSubject) -> "Figure":
    return draw_confusion(subject.name, subject.evaluation)


def _share_watched(subject: VideoSubject) -> "Figure":
    from odevision.evaluation.video_answers import check_watched

    watched = check_watched(subject.loaded, subject.source, subject.answers)
    return draw_share_watched(subject.name, subject.evaluation, watched)


def _seen(subject: VideoSubject) -> "Figure":
    """A few frames in a row of the first video, and what the network is shown of them."""
    import torch

    from odevision.data.clip_sampling import ClipSampling, sample_clip
    from odevision.nn.frame_stem import frame_inputs, nothing_seen
    from odevision.visual import change_pictures, flow_pictures, plot_seen_frames

    preprocessing = subject.loaded.clip_preprocessing
    kind = cast("VideoModel", subject.loaded.model).config.frame_input
    seconds = subject.source.seconds(0)
    chosen = sample_clip(seconds, ClipSampling(num_frames=_NUM_FRAMES + 1, rate=preprocessing.rate))
    pictures = subject.source.frames(0, chosen)
    frames = preprocessing.normalize(pictures)[None]
    seen = frame_inputs(
        frames,
        torch.ones(1, len(chosen), dtype=torch.bool),
        nothing_seen(frames[:, 0]),
        kind,
    )[0]
    rows = {"frames": pictures}
    if kind == "flow":
        rows["optical flow: the hue says where to"] = flow_pictures(seen[:, :2])
    if kind != "frames":
        change = "change" if kind in ("differences", "both") else "change without the camera's"
        rows[change] = change_pictures(seen[:, -3:])
    shown = slice(min(1, len(chosen) - 1), None)  # A clip's first frame has no change.
    return plot_seen_frames(
        {name: row[shown] for name, row in rows.items()},
        seconds[chosen[shown]].tolist(),
        title=f"What {subject.name} sees",
    )


VIDEO_PICTURES: dict[str, Callable[[VideoSubject], "Figure"]] = {
    "predictions.png": _predictions,
    "confusion.png": _confusion,
    "share_watched.png": _share_watched,
    "seen.png": _seen,
}
