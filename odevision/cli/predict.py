"""`odevision predict`: the classes of images, or with a network of videos those of videos."""

import contextlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.table import Table
from rich.text import Text
from tyro.conf import Positional, arg

from odevision.cli.arguments import parse_options, refuse_given
from odevision.cli.errors import UsageError
from odevision.cli.options import (
    BatchSize,
    Device,
    Evaluations,
    Json,
    Model,
    NumSteps,
    Solver,
    Tolerance,
)
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
    from odevision.evaluation.predict import Prediction
    from odevision.training.checkpoint import LoadedModel

_DESCRIPTION = """\
Classify image files, the images in folders, and globs. A file that cannot be read is reported by
name, the others are still classified, and the exit code is 2. A calibrated model says `unknown`
where a photo looks like none of its classes, and why.

A network of videos classifies video files, a camera or standard input, while it watches.

Example: odevision predict cifar10 photo.jpg holidays/ "scans/*.png" --top 3
         odevision predict ucf5 clip.avi --stop-when-sure 0.95 --plot
"""

_IMAGES_ONLY = ("crops", "mirror", "no_abstain", "batch_size")
_VIDEOS_ONLY = (
    "webcam",
    "camera",
    "image_rate",
    "raw",
    "stop_when_sure",
    "max_seconds",
    "every_frame",
    "memory",
    "csv",
    "caption",
)


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Options of `odevision predict`."""

    model: Model
    paths: Annotated[
        Positional[tuple[str, ...]],
        arg(
            metavar="PATH...",
            help="Image or video files, folders (with all folders in them) and globs; `-` reads "
            "JPEG images from standard input as a video.",
            help_behavior_hint="(required)",
        ),
    ] = ()
    top: Annotated[int, arg(metavar="K", help="How many classes to list for each file.")] = 5
    json: Json = False
    plot: Annotated[
        bool,
        arg(
            help="Also draw each photo beside its most probable classes, or the probabilities "
            "over the time of each video.",
            help_behavior_hint="",
        ),
    ] = False
    out: Annotated[
        str | None,
        arg(
            metavar="DIR",
            help="Folder for what --plot, --csv and --caption write.",
            help_behavior_hint="(default: predictions)",
        ),
    ] = None
    crops: Annotated[
        int | None,
        arg(
            metavar="N",
            help="Squares of each picture to look at and average, 1 to 9.",
            help_behavior_hint="(default: by the picture's size; 1 for networks of folders)",
        ),
    ] = None
    mirror: Annotated[
        bool,
        arg(help="Look at the mirrored picture too, and average.", help_behavior_hint=""),
    ] = False
    no_abstain: Annotated[
        bool,
        arg(
            help="Always name a class, never `unknown`.",
            help_behavior_hint="",
        ),
    ] = False
    webcam: Annotated[
        bool, arg(help="Videos: watch a camera, until Ctrl-C.", help_behavior_hint="")
    ] = False
    camera: Annotated[
        str | None,
        arg(
            metavar="N|NAME",
            help="Which camera: its number or name.",
            help_behavior_hint="(default: 0)",
        ),
    ] = None
    image_rate: Annotated[
        float | None,
        arg(
            metavar="X",
            help="Videos: each PATH names images, a folder or glob, which are the frames of one "
            "video at X a second; several image files are one video. With `-`, the rate of what "
            "comes in.",
            help_behavior_hint="",
        ),
    ] = None
    raw: Annotated[
        str | None,
        arg(
            metavar="WIDTHxHEIGHT",
            help="Videos: `-` gives raw RGB frames of this size, not JPEG images.",
            help_behavior_hint="",
        ),
    ] = None
    stop_when_sure: Annotated[
        float | None,
        arg(
            metavar="P",
            help="Videos: stop once a class has this probability, and say how much was watched.",
            help_behavior_hint="",
        ),
    ] = None
    max_seconds: Annotated[
        float | None,
        arg(
            metavar="X",
            help="Videos: stop at this time of the video.",
            help_behavior_hint="",
        ),
    ] = None
    every_frame: Annotated[
        bool,
        arg(
            help="Videos: look at every frame, not only at as many a second as in training.",
            help_behavior_hint="",
        ),
    ] = False
    memory: Annotated[
        float | None,
        arg(
            metavar="X",
            help="Videos: let frames that lie X seconds back weigh 1/e and older ones less, so "
            "that the answer follows a stream without end.",
            help_behavior_hint="(default: 10 for a camera, else all frames weigh the same)",
        ),
    ] = None
    csv: Annotated[
        bool,
        arg(help="Videos: also write the probabilities over time.", help_behavior_hint=""),
    ] = False
    caption: Annotated[
        bool,
        arg(
            help="Videos: also write each video with the answer burned into its frames.",
            help_behavior_hint="",
        ),
    ] = False
    solver: Solver = None
    num_steps: NumSteps = None
    nfe: Evaluations = None
    rtol: Tolerance = None
    atol: Tolerance = None
    device: Device = "auto"
    batch_size: BatchSize = 64


def _show(predictions: Sequence["Prediction"]) -> None:
    table = Table()
    table.add_column("file", overflow="fold")
    table.add_column("class", no_wrap=True)
    table.add_column("probability", justify="right")
    has_more = any(len(prediction.top) > 1 for prediction in predictions)
    if has_more:
        table.add_column("next", overflow="fold")
    has_reason = any(prediction.unknown for prediction in predictions)
    if has_reason:
        table.add_column("why unknown", overflow="fold")
    for prediction in predictions:
        listed = prediction.top if prediction.unknown else prediction.top[1:]
        others = ", ".join(f"{label} {value:.1%}" for label, value in listed)
        # Text: brackets in names of files and classes are not markup.
        number = "" if prediction.unknown else f"{prediction.probability:.1%}"
        cells = [prediction.path, prediction.label, number]
        cells += [others] if has_more else []
        cells += [prediction.reason or ""] if has_reason else []
        table.add_row(*map(Text, cells))
    results_console().print(table)


def _draw(loaded: "LoadedModel", predictions: Sequence["Prediction"], folder: Path) -> None:
    """Draw each photo beside its most probable classes; say where."""
    import numpy as np

    from odevision.cli.model import short_name
    from odevision.data.image import ImageReadError, read_image
    from odevision.visual import plot_top, save_figure

    unused = unused_names()
    for prediction in predictions:
        try:
            photo = read_image(prediction.path)
        except ImageReadError as error:  # a pipe, or a file that has gone since
            say_error(f"{error}; it is not drawn")
            continue
        seen = loaded.preprocessing.to_uint8(photo).permute(1, 2, 0).numpy()
        figure = plot_top(
            np.asarray(photo),
            prediction,
            seen=seen[:, :, 0] if seen.shape[2] == 1 else seen,
            model=short_name(loaded),
        )
        name = unused(Path(prediction.path).stem)
        path = save_figure(figure, folder / f"{name}-top.png")
        notes_console().print(f"wrote {path}", markup=False, soft_wrap=True)


def _note_calibration(loaded: "LoadedModel", model: str, *, abstain: bool) -> None:
    """Say what the probabilities are worth, where it is less than it could be."""
    from odevision.evaluation.calibration import calibration_of

    calibration = calibration_of(loaded.card)
    note = None
    if calibration is None:
        never = "; it never says `unknown`" if abstain else ""
        note = (
            f"note: {model} is not calibrated: its probabilities are as trained{never}. Try "
            f"`odevision calibrate {shlex.quote(model)}`, which takes 100 validation images."
        )
    elif calibration.solver != loaded.card.solver:
        note = "note: the model was calibrated under other solver settings than those given."
    if note is not None:
        notes_console().print(note, markup=False, soft_wrap=True)


def _document(prediction: "Prediction") -> dict[str, object]:
    return {
        "path": prediction.path,
        "label": prediction.label,
        "probability": prediction.probability,
        "top": [list(pair) for pair in prediction.top],
        "unknown": prediction.unknown,
        "reason": prediction.reason,
        "best_label": prediction.best_label,
        "score": prediction.score,
        "num_crops": prediction.num_crops,
    }


def run(words: Sequence[str], *, verb: str = "predict") -> int:
    """Predict the classes of files and print them.

    Args:
        words: the words after the verb.
        verb: its name.

    Returns:
        The exit code: 2 if a file could not be read.
    """
    options = parse_options(PredictOptions, words, verb=verb, description=_DESCRIPTION)
    if not options.paths and not options.webcam:
        raise UsageError("`PATH` is missing: name the files, folders or globs to classify")
    with only_results_on_stdout() if options.json else contextlib.nullcontext():
        from odevision.cli.model import load_model

        loaded = load_model(
            options.model,
            device=options.device,
            solver=options.solver,
            num_steps=options.num_steps,
            nfe=options.nfe,
            rtol=options.rtol,
            atol=options.atol,
        )
    if loaded.takes_videos:
        return _run_videos(loaded, options)
    return _run_images(loaded, options)


def _run_videos(loaded: "LoadedModel", options: PredictOptions) -> int:
    from odevision.cli.predict_video import VideoRequest, predict_videos

    refuse_given(options, _IMAGES_ONLY, "images")
    names = [field.name for field in fields(VideoRequest)]
    return predict_videos(loaded, VideoRequest(**{name: getattr(options, name) for name in names}))


def _run_images(loaded: "LoadedModel", options: PredictOptions) -> int:
    refuse_given(options, _VIDEOS_ONLY, "videos")
    if "-" in options.paths and not Path("-").exists():
        raise UsageError(
            f"`-` reads a video and needs a network of videos; {options.model} is none. Try "
            "/dev/stdin for one image"
        )
    if options.out is not None and not options.plot:
        raise UsageError("`--out` is the folder for pictures: add --plot to draw them")
    folder = folder_to_write(options.out or "predictions") if options.plot else None
    with only_results_on_stdout() if options.json else contextlib.nullcontext():
        from odevision.cli.progress import batch_progress
        from odevision.evaluation.predict import predict_images

        with batch_progress("answering") as on_batch:
            predictions, errors = predict_images(
                loaded,
                options.paths,
                top=options.top,
                batch_size=options.batch_size,
                crops=options.crops,
                mirror=options.mirror,
                abstain=not options.no_abstain,
                on_batch=on_batch,
            )
        _note_calibration(loaded, options.model, abstain=not options.no_abstain)
    if options.json:
        write_json(
            {
                "predictions": [_document(prediction) for prediction in predictions],
                "errors": [{"path": path, "message": message} for path, message in errors],
            }
        )
    elif predictions:
        _show(predictions)
    if folder is not None:
        _draw(loaded, predictions, folder)
    for path, message in errors:
        say_error(f"{path}: {message}")
    return 2 if errors else 0
