"""`odevision predict` with a network of videos: files, a camera, images, standard input."""

import contextlib
import csv
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.table import Table
from rich.text import Text

from odevision.cli.caption_video import write_captioned
from odevision.cli.errors import UsageError
from odevision.cli.output import (
    folder_to_write,
    notes_console,
    only_results_on_stdout,
    results_console,
    say_error,
    unused_names,
    write_json,
)

if TYPE_CHECKING:
    from odevision.data.video_frame import Frame
    from odevision.data.video_stream import StreamSource
    from odevision.evaluation.predict_video import VideoPrediction
    from odevision.training.card import LoadedModel

_STDIN = "-"
_RAW = re.compile(r"(\d+)x(\d+)")

CAMERA_MEMORY_SECONDS = 10.0
"""How far back the answer looks at a camera, which has no end, unless `--memory` says so."""


@dataclass(frozen=True, kw_only=True)
class VideoRequest:
    """What `odevision predict` is asked to do with videos.

    Args:
        paths: files, folders and globs; `-` is standard input.
        webcam: watch a camera.
        camera: its number or name; None is number 0.
        image_rate: the paths are images, so many a second.
        raw: WIDTHxHEIGHT of raw frames on standard input; None for JPEG images.
        stop_when_sure: stop at this probability.
        max_seconds: stop at this time.
        every_frame: look at every frame.
        memory: seconds after which a frame weighs 1/e; None is `CAMERA_MEMORY_SECONDS` for a
            camera, and no forgetting elsewhere.
        top: classes to list.
        csv: write a table of the probabilities over time.
        plot: draw them.
        caption: write the video with a caption.
        out: folder for what is written.
        json: write one JSON document.
    """

    paths: tuple[str, ...]
    webcam: bool
    camera: str | None
    image_rate: float | None
    raw: str | None
    stop_when_sure: float | None
    max_seconds: float | None
    every_frame: bool
    memory: float | None
    top: int
    csv: bool
    plot: bool
    caption: bool
    out: str | None
    json: bool

    @property
    def writes(self) -> bool:
        """Whether files are written."""
        return self.csv or self.plot or self.caption

    @property
    def folder(self) -> Path:
        """Where they go."""
        return Path(self.out or "predictions")

    def check(self) -> None:
        """Refuse options that do not fit each other.

        Raises:
            UsageError: they do not.
        """
        if self.webcam and self.paths:
            raise UsageError("`--webcam` watches a camera: leave out PATH")
        if self.camera is not None and not self.webcam:
            raise UsageError("`--camera` says which camera to watch: add --webcam")
        if self.webcam and self.image_rate is not None:
            raise UsageError("`--image-rate` is for images: a camera has a rate of its own")
        if self.out is not None and not self.writes:
            raise UsageError("`--out` is the folder for --csv, --plot and --caption: add one")
        if self.raw is not None and _STDIN not in self.paths:
            raise UsageError("`--raw` says how frames come on standard input: the PATH must be -")
        if self.raw is not None and _RAW.fullmatch(self.raw) is None:
            raise UsageError(f"`--raw` must be WIDTHxHEIGHT, such as 320x240, got {self.raw}")
        if self.raw is not None and self.image_rate is None:
            raise UsageError("`--raw` frames have no times: add --image-rate")


def predict_videos(loaded: "LoadedModel", request: VideoRequest) -> int:
    """Watch videos, print their classes and write what was asked for.

    Args:
        loaded: a network of videos.
        request: what to do.

    Returns:
        The exit code: 2 if a video could not be read.
    """
    from odevision.evaluation.streaming import can_stream

    request.check()
    if request.caption and not can_stream(loaded):
        raise UsageError(
            "`--caption` needs a network that answers after each frame, got "
            f"{loaded.card.model_name}, which takes whole clips only: leave it out"
        )
    if request.writes:
        folder_to_write(request.folder)
    predictions: list[VideoPrediction] = []
    errors: list[tuple[str, str]] = []
    interruption = None
    with only_results_on_stdout() if request.json else contextlib.nullcontext():
        try:
            _watch_all(loaded, request, predictions, errors)
        except KeyboardInterrupt as stop:  # the answers so far are shown first
            interruption = stop
        except Exception as error:
            if not predictions:
                raise
            interruption = error
    if request.json:
        write_json(
            {
                "predictions": [_document(loaded, one) for one in predictions],
                "errors": [{"path": path, "message": message} for path, message in errors],
            }
        )
    elif predictions:
        _show(predictions)
    for path, message in errors:
        say_error(f"{path}: {message}")
    if interruption is not None:
        raise interruption
    return 2 if errors else 0


def _watch_all(
    loaded: "LoadedModel",
    request: VideoRequest,
    predictions: "list[VideoPrediction]",
    errors: list[tuple[str, str]],
) -> None:
    """Add what is found in each video, or why nothing is."""
    from odevision.cli.progress import batch_progress
    from odevision.data.video_container import VideoReadError
    from odevision.ode.solution import SolveError

    unused = unused_names()
    videos = list(_videos(request, errors))  # none of them is open yet
    with batch_progress("watching", hidden=any(video.is_once for video in videos)) as on_video:
        for done, video in enumerate(videos):
            on_video(done, len(videos))
            name = unused(re.sub(r"[^\w.-]+", "-", Path(video.name).stem) or "video")
            try:
                prediction, failure = _watch(loaded, request, video, name)
            except (VideoReadError, OSError, SolveError) as error:
                # An OSError is a full disk, say: the other answers stay.
                message = error.message if isinstance(error, VideoReadError) else str(error)
                errors.append((video.name, message))
                continue
            predictions.append(prediction)
            if failure is not None:
                errors.append((video.name, str(failure)))
            try:
                _write_more(loaded, request, prediction, name)
            except OSError as error:
                errors.append((video.name, f"its probabilities could not be written: {error}"))


class _Video(NamedTuple):
    """One thing to watch.

    Attributes:
        name: For messages.
        open: Takes `cover`, the height and width that frames must cover, or None to keep theirs.
        is_once: Whether it can be opened once only.
    """

    name: str
    open: Callable[..., Any]
    is_once: bool


def _videos(request: VideoRequest, errors: list[tuple[str, str]]) -> Iterator[_Video]:
    """What to watch; what names nothing goes to `errors`."""
    from odevision.data.video import open_video
    from odevision.data.video_stream import by_numbers, open_image_sequence, sequence_name
    from odevision.data.webcam import open_webcam
    from odevision.evaluation.predict_video import find_videos

    if request.webcam:
        camera = request.camera or "0"
        camera = int(camera) if camera.isdecimal() else camera
        yield _Video(f"camera {camera}", functools.partial(open_webcam, camera), True)
    rate = request.image_rate
    if len(request.paths) > 1 and all(map(_is_image, request.paths)):
        if rate is not None:  # a pattern that the shell has expanded
            files = sorted(map(Path, request.paths), key=by_numbers)
            open_images = functools.partial(open_image_sequence, files, rate=rate)
            yield _Video(sequence_name(files), open_images, False)
            return
        note = "note: each image is a video by itself; --image-rate X makes one video of them"
        notes_console().print(note, markup=False, soft_wrap=True)
    for path in request.paths:
        if path == _STDIN:
            yield _Video("stdin", functools.partial(_open_stdin, request), True)
        elif rate is not None:
            open_images = functools.partial(open_image_sequence, path, rate=rate)
            yield _Video(path, open_images, False)
        else:
            files, missing = find_videos([path])
            errors.extend(missing)
            for file in files:
                yield _Video(str(file), functools.partial(open_video, file), False)


def _is_image(path: str) -> bool:
    """Whether this names one image file."""
    from odevision.data.image import IMAGE_SUFFIXES

    return Path(path).suffix.lower() in IMAGE_SUFFIXES and Path(path).is_file()


def _open_stdin(request: VideoRequest, *, cover: tuple[int, int] | None) -> "StreamSource":
    from odevision.data.video_pipe import open_mjpeg_pipe, open_raw_pipe

    if request.raw is None:
        return open_mjpeg_pipe(rate=request.image_rate, cover=cover)
    match = _RAW.fullmatch(request.raw)
    assert match is not None and request.image_rate is not None  # as checked
    pixels = int(match[2]), int(match[1])
    return open_raw_pipe(pixels=pixels, rate=request.image_rate, cover=cover)


def _watch(
    loaded: "LoadedModel", request: VideoRequest, video: _Video, name: str
) -> "tuple[VideoPrediction, OSError | None]":
    """Answer one video, and write it with a caption if asked to; why that could not be done."""
    from odevision.evaluation.predict_video import predict_stream
    from odevision.evaluation.streaming import can_forget

    memory = request.memory
    if memory is None and request.webcam and can_forget(loaded):
        memory = CAMERA_MEMORY_SECONDS

    # Shrunk by the decoder, as for training and evaluation: the same frames, the same answers.
    small = loaded.clip_preprocessing.size
    cover = None if request.caption and video.is_once else small
    with video.open(cover=cover) as source:

        def predict(on_frame: Any = None) -> "VideoPrediction":
            return predict_stream(
                loaded,
                source,
                top=request.top,
                stop_when_sure=request.stop_when_sure,
                every_frame=request.every_frame,
                memory_seconds=memory,
                max_seconds=request.max_seconds,
                on_frame=on_frame,
                keep_moments=request.csv or request.plot or request.json,
            )

        path = request.folder / f"{name}-caption.mp4"
        if request.caption and video.is_once:
            return write_captioned(predict, loaded, None, path)
        if request.caption:
            with video.open(cover=None) as originals:
                return write_captioned(predict, loaded, iter(originals), path)
        if source.is_live and not request.json:
            return predict(_live_line(loaded)), None
        return predict(), None


def _write_more(
    loaded: "LoadedModel", request: VideoRequest, prediction: "VideoPrediction", name: str
) -> None:
    """Write the table and the picture that were asked for."""
    if request.csv:
        _write_csv(loaded, prediction, request.folder / f"{name}-probabilities.csv")
    if request.plot:
        _draw(loaded, prediction, request.folder / f"{name}-probabilities.png")


def _live_line(loaded: "LoadedModel") -> Callable[["Frame", Any], None]:
    """Print the present answer, over and over in one line, on stderr."""
    console = notes_console()

    def show(frame: "Frame", probabilities: Any) -> None:
        best = int(probabilities.argmax())
        text = f"{frame.seconds:7.1f} s  {loaded.card.class_names[best]} {probabilities[best]:.0%}"
        end = "\r" if console.is_terminal else "\n"
        console.print(f"{text:<60}", end=end, markup=False)

    return show


def _write_csv(loaded: "LoadedModel", prediction: "VideoPrediction", path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as text:
        writer = csv.writer(text)
        writer.writerow(["seconds", *loaded.card.class_names])
        for moment in prediction.moments:
            row = [f"{value:.6f}" for value in moment.probabilities.tolist()]
            writer.writerow([f"{moment.seconds:.6f}", *row])
    notes_console().print(f"wrote {path}", markup=False, soft_wrap=True)


def _draw(loaded: "LoadedModel", prediction: "VideoPrediction", path: Path) -> None:
    import torch

    from odevision.visual import plot_class_probabilities, save_figure

    figure = plot_class_probabilities(
        [moment.seconds for moment in prediction.moments],
        torch.stack([moment.probabilities for moment in prediction.moments]).double().numpy(),
        loaded.card.class_names,
        title=Path(prediction.path).name,
    )
    notes_console().print(f"wrote {save_figure(figure, path)}", markup=False, soft_wrap=True)


def _watched_text(prediction: "VideoPrediction") -> str:
    text = f"{prediction.seconds_watched:.1f} s"
    if prediction.share_watched is not None:
        text += f", {prediction.share_watched:.0%}"
    return f"{text}, {prediction.num_frames} frames"


def _show(predictions: Sequence["VideoPrediction"]) -> None:
    table = Table()
    table.add_column("video", overflow="fold")
    table.add_column("class", no_wrap=True)
    table.add_column("probability", justify="right")
    has_more = any(len(prediction.top) > 1 for prediction in predictions)
    if has_more:
        table.add_column("next", overflow="fold")
    table.add_column("watched", overflow="fold")
    for one in predictions:
        others = ", ".join(f"{label} {value:.1%}" for label, value in one.top[1:])
        note = "" if one.is_complete else "; damaged or cut off"
        cells = [one.path, one.label, f"{one.probability:.1%}"]
        cells += [others] if has_more else []
        table.add_row(*map(Text, [*cells, _watched_text(one) + note]))
    results_console().print(table)


def _document(loaded: "LoadedModel", prediction: "VideoPrediction") -> dict[str, Any]:
    return {
        "path": prediction.path,
        "label": prediction.label,
        "probability": prediction.probability,
        "top": [list(pair) for pair in prediction.top],
        "num_frames": prediction.num_frames,
        "seconds_watched": prediction.seconds_watched,
        "duration_seconds": prediction.duration_seconds,
        "share_watched": prediction.share_watched,
        "stopped_early": prediction.stopped_early,
        "is_complete": prediction.is_complete,
        "class_names": list(loaded.card.class_names),
        "moments": [
            {"seconds": moment.seconds, "probabilities": moment.probabilities.tolist()}
            for moment in prediction.moments
        ],
    }
