"""`odevision evaluate` with a network of videos."""

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from odevision.cli.evaluate_measure import picture_folder, refuse_without_ode
from odevision.cli.evaluate_tables import mirror_row, show_consistency, show_evaluation
from odevision.cli.options import samples_at_once
from odevision.cli.output import (
    notes_console,
    only_results_on_stdout,
    results_console,
    write_json,
)

if TYPE_CHECKING:
    from odevision.evaluation.calibration import CalibrationReport
    from odevision.evaluation.consistency import Variant
    from odevision.evaluation.evaluate import Evaluation, MirrorResult
    from odevision.evaluation.video_answers import RateResult, WatchedResult
    from odevision.training.card import LoadedModel


@dataclass(frozen=True, kw_only=True)
class VideoEvaluationRequest:
    """What `odevision evaluate` is asked to measure on videos.

    Args:
        consistency: also answer under other solvers.
        data: video data set, folder or CSV file; None takes what the model was trained on.
        data_root: where data sets lie.
        cache_dir: where decoded frames are kept; None takes the user's cache folder.
        limit: only so many videos.
        mirror: also answer each video together with its mirror image.
        rates: also answer at other frame rates.
        watched: also answer after shares of each video.
        plot: draw what was measured.
        out: folder for the pictures.
        json: write one JSON document.
        batch_size: videos at once; None takes what suits them.
    """

    consistency: bool
    data: str | None
    data_root: str | None
    cache_dir: str | None
    limit: int | None
    mirror: bool
    rates: bool
    watched: bool
    plot: bool
    out: str | None
    json: bool
    batch_size: int | None


@dataclass(kw_only=True)
class _Report:
    evaluation: "Evaluation"
    calibration: "CalibrationReport"
    mean_frames: float
    mirror: "MirrorResult | None" = None
    consistency: "list[Variant] | None" = None
    rates: "list[RateResult] | None" = None
    watched: "list[WatchedResult] | None" = None


def evaluate_videos(loaded: "LoadedModel", request: VideoEvaluationRequest) -> int:
    """Evaluate a network of videos and print the result.

    Args:
        loaded: the model.
        request: what to measure.

    Returns:
        The exit code.
    """
    folder = picture_folder(loaded, request.out) if request.plot else None
    with only_results_on_stdout() if request.json else contextlib.nullcontext():
        report = _measure(loaded, request)
    if request.json:
        write_json(_document(report))
    else:
        _show(report)
    if folder is not None:
        _draw(loaded, report, folder)
    return 0


def _measure(loaded: "LoadedModel", request: VideoEvaluationRequest) -> _Report:
    from odevision.cli.progress import batch_progress
    from odevision.evaluation.calibration import calibration_report
    from odevision.evaluation.consistency import compare_solvers
    from odevision.evaluation.evaluate import compare_mirrored, summarize
    from odevision.evaluation.video_answers import (
        answer_videos,
        check_rates,
        check_watched,
        load_test_videos,
    )

    if request.consistency:
        refuse_without_ode(loaded, "--consistency")
    size = samples_at_once(request.batch_size, loaded)
    source, labels = load_test_videos(
        loaded,
        data=request.data,
        data_root=request.data_root,
        limit=request.limit,
        cache_dir=request.cache_dir,
    )
    with batch_progress("evaluating") as on_batch:
        answers, mean_frames = answer_videos(
            loaded, source, labels, batch_size=size, on_batch=on_batch
        )
        report = _Report(
            evaluation=summarize(loaded, source, answers),
            calibration=calibration_report(answers, loaded.card),
            mean_frames=mean_frames,
        )
        if request.mirror:
            mirrored, _ = answer_videos(
                loaded, source, labels, mirror=True, batch_size=size, on_batch=on_batch
            )
            report.mirror = compare_mirrored(answers, mirrored)
        if request.consistency:
            report.consistency = compare_solvers(
                loaded,
                answers,
                lambda variant: answer_videos(
                    variant, source, labels, batch_size=size, on_batch=on_batch
                )[0],
            )
        if request.rates:
            report.rates = check_rates(loaded, source, answers, batch_size=size, on_batch=on_batch)
        if request.watched:
            report.watched = check_watched(
                loaded, source, answers, batch_size=size, on_batch=on_batch
            )
    return report


def _document(report: _Report) -> dict[str, Any]:
    document = dataclasses.asdict(report.evaluation)
    document["calibration"] = dataclasses.asdict(report.calibration)
    document["mean_frames"] = report.mean_frames
    if report.mirror is not None:
        document["mirror"] = dataclasses.asdict(report.mirror)
    for name in ("consistency", "rates", "watched"):
        section = getattr(report, name)
        if section is not None:
            document[name] = [dataclasses.asdict(one) for one in section]
    return document


def _show(report: _Report) -> None:
    evaluation = report.evaluation
    frames = report.mean_frames
    show_evaluation(
        evaluation,
        {
            "calibration error (ECE)": f"{report.calibration.ece:.2%}",
            "frames a video": f"{frames:.1f}",
            "frames a second": f"{frames * evaluation.num_samples / evaluation.seconds:.0f}",
            **mirror_row(report.mirror),
        },
        samples="videos",
    )
    if report.consistency is not None:
        show_consistency(evaluation, report.consistency)
    console = results_console()
    if report.rates is not None:
        console.print("At other frame rates, with the same weights:")
        table = Table()
        table.add_column("frames")
        for name in ("a video", "accuracy", "difference", "answers changed"):
            table.add_column(name, justify="right")
        for one in report.rates:
            difference = 100 * (one.accuracy - evaluation.accuracy)
            table.add_row(
                one.condition,
                f"{one.mean_frames:.1f}",
                f"{one.accuracy:.2%}",
                f"{difference:+.2f} points",
                f"{one.changed_share:.2%}",
            )
        console.print(table)
    if report.watched is not None:
        console.print("After a part of each video:")
        table = Table()
        for name in ("watched", "accuracy"):
            table.add_column(name, justify="right")
        for one in report.watched:
            table.add_row(f"{one.share:.0%}", f"{one.accuracy:.2%}")
        console.print(table)


def _draw(loaded: "LoadedModel", report: _Report, folder: Path) -> None:
    from odevision.cli.model import short_name
    from odevision.cli.plot_video import draw_confusion, draw_share_watched
    from odevision.visual import save_figure

    name, found = short_name(loaded), report.evaluation
    figures = {"confusion.png": draw_confusion(name, found)}
    if report.watched is not None:
        figures["share_watched.png"] = draw_share_watched(name, found, report.watched)
    for file_name, figure in figures.items():
        written = save_figure(figure, folder / file_name)
        notes_console().print(f"wrote {written}", markup=False, soft_wrap=True)
