"""`odevision evaluate`: accuracy, loss and cost of a trained model on test images or videos."""

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from odevision.cli.arguments import parse_options, refuse_given
from odevision.cli.errors import UsageError
from odevision.cli.evaluate_measure import (
    Report,
    Subject,
    draw,
    measure_consistency,
    measure_corruptions,
    measure_mirror,
    measure_sweep,
    measure_unknown,
    picture_folder,
    refuse_without_ode,
)
from odevision.cli.evaluate_tables import (
    mirror_row,
    show_consistency,
    show_corruptions,
    show_evaluation,
    show_sweep,
    show_unknown,
)
from odevision.cli.options import (
    CacheDir,
    Data,
    DataRoot,
    Device,
    Evaluations,
    Json,
    Limit,
    Model,
    NumSteps,
    SamplesAtOnce,
    Solver,
    Tolerance,
    samples_at_once,
)
from odevision.cli.output import notes_console, only_results_on_stdout, write_json

if TYPE_CHECKING:
    from odevision.training.card import LoadedModel

_DESCRIPTION = """\
Measure a trained model on test images: accuracy and cost, whether it really is an ODE, what it
answers on a smaller budget, and how it holds under corruptions. Of a network of videos: accuracy,
also at other frame rates and after a part of each video.

Example: odevision evaluate runs/mnist-mini --consistency --json
         odevision evaluate runs/ucf5 --data-root DATA --rates --watched
"""

_IMAGES_ONLY = ("sweep", "corruptions", "ood", "num_workers")
_VIDEOS_ONLY = ("rates", "watched", "cache_dir")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of `odevision evaluate`."""

    model: Model
    data: Data = None
    data_root: DataRoot = None
    cache_dir: CacheDir = None
    limit: Limit = None
    json: Json = False
    consistency: Annotated[
        bool,
        arg(
            help="Also solve with two and four times the steps (or a tighter tolerance) and with "
            "another solver, and report how many answers change.",
            help_behavior_hint="",
        ),
    ] = False
    sweep: Annotated[
        bool,
        arg(
            help="Also report accuracy and time against evaluations of the vector field, solver "
            "and tolerance: about forty evaluations, so try --limit first.",
            help_behavior_hint="",
        ),
    ] = False
    corruptions: Annotated[
        bool,
        arg(
            help="Also report accuracy under the fifteen usual corruptions at five severities: 75 "
            "evaluations, so try --limit first.",
            help_behavior_hint="",
        ),
    ] = False
    mirror: Annotated[
        bool,
        arg(
            help="Also report the accuracy of the mean of each image's (or video's) and its mirror "
            "image's class scores, apart from the plain accuracy.",
            help_behavior_hint="",
        ),
    ] = False
    ood: Annotated[
        tuple[str, ...],
        arg(
            metavar="NAME|DIR...",
            help="Also report how well other data are told apart from the test images (AUROC): "
            "data sets, image folders, or `textures`.",
            help_behavior_hint="",
        ),
    ] = ()
    rates: Annotated[
        bool,
        arg(
            help="Videos: also report accuracy at half and twice the frame rate, with irregular "
            "gaps, and with half of the frames dropped.",
            help_behavior_hint="",
        ),
    ] = False
    watched: Annotated[
        bool,
        arg(
            help="Videos: also report accuracy after a part of each video.",
            help_behavior_hint="",
        ),
    ] = False
    plot: Annotated[
        bool,
        arg(
            help="Also draw the reliability diagram, and the sweep and the corruptions asked for; "
            "of videos, the confusion matrix and the accuracy after a part of each.",
            help_behavior_hint="",
        ),
    ] = False
    out: Annotated[
        str | None,
        arg(
            metavar="DIR",
            help="Folder for the pictures.",
            help_behavior_hint="(default: RUN/plots, or plots/NAME for shipped weights)",
        ),
    ] = None
    solver: Solver = None
    num_steps: NumSteps = None
    nfe: Evaluations = None
    rtol: Tolerance = None
    atol: Tolerance = None
    device: Device = "auto"
    batch_size: SamplesAtOnce = None
    num_workers: Annotated[
        int,
        arg(
            metavar="N",
            help="Processes that decode image folders too large for memory.",
        ),
    ] = 0


def _answer(loaded: "LoadedModel", options: EvaluateOptions) -> Subject:
    from odevision.cli.model import short_name
    from odevision.cli.progress import batch_progress
    from odevision.data.corruptions import check_shape
    from odevision.evaluation.answers import answer_split
    from odevision.evaluation.other_images import load_other_images
    from odevision.evaluation.split import load_test_images

    batch_size = samples_at_once(options.batch_size, loaded)
    # Before any image is answered, which can take long.
    for name, is_asked in (("--consistency", options.consistency), ("--sweep", options.sweep)):
        if is_asked:
            refuse_without_ode(loaded, name)
    if options.corruptions:
        side = loaded.preprocessing.image_size
        check_shape(loaded.preprocessing.num_channels, side, side)
    where: dict[str, Any] = {"data_root": options.data_root, "limit": options.limit}
    image_set = load_test_images(loaded, data=options.data, **where)
    others = {name: load_other_images(loaded, name, **where) for name in options.ood}
    with batch_progress("evaluating") as on_batch:
        answers = answer_split(
            loaded,
            image_set,
            batch_size=batch_size,
            num_workers=options.num_workers,
            on_batch=on_batch,
        )
    return Subject(
        name=short_name(loaded),
        loaded=loaded,
        image_set=image_set,
        others=others,
        answers=answers,
        batch_size=batch_size,
        num_workers=options.num_workers,
    )


def _evaluate(loaded: "LoadedModel", options: EvaluateOptions) -> Report:
    from odevision.evaluation.calibration import calibration_report
    from odevision.evaluation.evaluate import summarize

    folder = picture_folder(loaded, options.out) if options.plot else None
    subject = _answer(loaded, options)
    report = Report(
        evaluation=summarize(subject.loaded, subject.image_set, subject.answers),
        calibration=calibration_report(subject.answers, subject.loaded.card),
    )
    if options.mirror:
        report.mirror = measure_mirror(subject)
    if options.consistency:
        report.consistency = measure_consistency(subject)
    if options.sweep:
        report.sweep = measure_sweep(subject)
    if options.corruptions:
        report.corruptions = measure_corruptions(subject)
    if options.ood:
        report.ood = measure_unknown(subject)
    if folder is not None:
        report.figures = {
            str(folder / name): figure for name, figure in draw(subject, report).items()
        }
    return report


def _document(report: Report) -> dict[str, Any]:
    document = dataclasses.asdict(report.evaluation)
    document["calibration"] = dataclasses.asdict(report.calibration)
    if report.consistency is not None:
        document["consistency"] = [dataclasses.asdict(one) for one in report.consistency]
    if report.sweep is not None:
        document["sweep"] = [dataclasses.asdict(point) for point in report.sweep]
    for name in ("corruptions", "mirror"):
        section = getattr(report, name)
        if section is not None:
            document[name] = dataclasses.asdict(section)
    if report.ood is not None:
        document["ood"] = report.ood
    return document


def _show(report: Report) -> None:
    calibration = report.calibration
    extra = {"calibration error (ECE)": f"{calibration.ece:.2%}"}
    if calibration.calibrated_ece is not None:
        extra["ECE calibrated"] = f"{calibration.calibrated_ece:.2%}"
        extra["loss calibrated"] = f"{calibration.calibrated_loss:.4f}"
    show_evaluation(report.evaluation, {**extra, **mirror_row(report.mirror)})
    if report.consistency is not None:
        show_consistency(report.evaluation, report.consistency)
    if report.sweep is not None:
        from odevision.evaluation.sweep import accuracy_spread

        show_sweep(report.sweep, accuracy_spread(report.sweep, 2, 16))
    if report.corruptions is not None:
        show_corruptions(report.corruptions)
    if report.ood is not None:
        show_unknown(report.ood)


def _run_videos(loaded: "LoadedModel", options: EvaluateOptions) -> int:
    from odevision.cli.evaluate_video import VideoEvaluationRequest, evaluate_videos

    refuse_given(options, _IMAGES_ONLY, "images")
    names = [field.name for field in dataclasses.fields(VideoEvaluationRequest)]
    request = VideoEvaluationRequest(**{name: getattr(options, name) for name in names})
    return evaluate_videos(loaded, request)


def run(words: Sequence[str], *, verb: str = "evaluate") -> int:
    """Evaluate a model and print the result.

    Args:
        words: the words after the verb.
        verb: its name.

    Returns:
        The exit code.
    """
    options = parse_options(EvaluateOptions, words, verb=verb, description=_DESCRIPTION)
    if options.out is not None and not options.plot:
        raise UsageError("`--out` is the folder for pictures: add --plot to draw them")
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
    refuse_given(options, _VIDEOS_ONLY, "videos")
    with only_results_on_stdout() if options.json else contextlib.nullcontext():
        report = _evaluate(loaded, options)
    if options.json:
        write_json(_document(report))
    else:
        _show(report)
    if report.figures:
        from odevision.visual import save_figure

        for path, figure in report.figures.items():
            written = save_figure(figure, Path(path))
            notes_console().print(f"wrote {written}", markup=False, soft_wrap=True)
    return 0
