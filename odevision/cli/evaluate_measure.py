"""What `odevision evaluate` measures: one function a section of its report."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odevision.cli.output import folder_to_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from odevision.data.image_set import ImageSet
    from odevision.evaluation.answers import Answers
    from odevision.evaluation.calibration import CalibrationReport
    from odevision.evaluation.consistency import Variant
    from odevision.evaluation.corruptions import CorruptionResult
    from odevision.evaluation.evaluate import Evaluation, MirrorResult
    from odevision.evaluation.sweep import SweepPoint
    from odevision.training.checkpoint import LoadedModel

_EXAMPLE_SEVERITY = 3


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured, and how.

    Args:
        name: of the model, for titles.
        loaded: the model.
        image_set: the images.
        others: images of other kinds, by name.
        answers: its answers to the images.
        batch_size: images at once.
        num_workers: processes that decode files.
    """

    name: str
    loaded: "LoadedModel"
    image_set: "ImageSet"
    others: "dict[str, ImageSet]"
    answers: "Answers"
    batch_size: int
    num_workers: int


@dataclass(kw_only=True)
class Report:
    """Every section that was asked for; the others are None."""

    evaluation: "Evaluation"
    calibration: "CalibrationReport"
    consistency: "list[Variant] | None" = None
    sweep: "list[SweepPoint] | None" = None
    corruptions: "CorruptionResult | None" = None
    mirror: "MirrorResult | None" = None
    ood: dict[str, float] | None = None
    figures: "dict[str, Figure]" = field(default_factory=dict)


@contextmanager
def _progress(description: str) -> Iterator[Callable[[int, int], None]]:
    from odevision.cli.progress import batch_progress

    with batch_progress(description) as on_batch:
        yield on_batch


def refuse_without_ode(loaded: "LoadedModel", option: str) -> None:
    """Refuse an option that needs ODE blocks.

    Args:
        loaded: the model.
        option: as the user typed it.

    Raises:
        ValueError: the model has none.
    """
    if not loaded.card.solver:
        raise ValueError(
            f"`{option}` must be used with a model that has ODE blocks, got "
            f"{loaded.card.model_name}. Leave it out."
        )


def measure_consistency(subject: Subject) -> "list[Variant]":
    """Answer under finer and other solvers."""
    from odevision.evaluation.consistency import check_consistency

    with _progress("other solvers") as on_batch:
        return check_consistency(
            subject.loaded,
            subject.image_set,
            subject.answers,
            batch_size=subject.batch_size,
            num_workers=subject.num_workers,
            on_batch=on_batch,
        )


def measure_sweep(subject: Subject) -> "list[SweepPoint]":
    """Answer at many budgets."""
    from odevision.evaluation.sweep import sweep

    with _progress("other budgets") as on_batch:
        return list(
            sweep(
                subject.loaded,
                subject.image_set,
                batch_size=subject.batch_size,
                num_workers=subject.num_workers,
                on_batch=on_batch,
            )
        )


def measure_corruptions(subject: Subject) -> "CorruptionResult":
    """Answer corrupted images."""
    from odevision.evaluation.corruptions import check_corruptions

    with _progress("corrupted images") as on_batch:
        return check_corruptions(
            subject.loaded,
            subject.image_set,
            subject.answers,
            batch_size=subject.batch_size,
            on_batch=on_batch,
        )


def measure_mirror(subject: Subject) -> "MirrorResult":
    """Answer each image together with its mirror image."""
    from odevision.evaluation.evaluate import evaluate_mirrored

    with _progress("mirrored images") as on_batch:
        return evaluate_mirrored(
            subject.loaded,
            subject.image_set,
            subject.answers,
            batch_size=subject.batch_size,
            num_workers=subject.num_workers,
            on_batch=on_batch,
        )


def measure_unknown(subject: Subject) -> dict[str, float]:
    """Tell the other images apart from the test images.

    Args:
        subject: the model, its test images, and others.

    Returns:
        Name -> AUROC.
    """
    from odevision.evaluation.unknown import auroc, scores_of_set

    others = subject.others
    with _progress("other data") as on_batch:
        inside, *outside = (
            scores_of_set(
                subject.loaded,
                image_set,
                batch_size=subject.batch_size,
                num_workers=subject.num_workers,
                on_batch=on_batch,
            )
            for image_set in (subject.image_set, *others.values())
        )
    return {name: auroc(inside, scores) for name, scores in zip(others, outside, strict=True)}


def draw(subject: Subject, report: Report) -> "dict[str, Figure]":
    """Draw the sections that have a picture.

    Returns:
        File name -> figure.
    """
    from odevision.visual import plot_corruption_examples, plot_corruptions, plot_sweep

    images = f"{report.evaluation.num_samples:,} {subject.image_set.name} test images"
    title = f"{subject.name}, {images}"
    figures = {"reliability.png": _reliability(report.calibration, title)}
    if report.sweep is not None:
        figures["sweep.png"] = plot_sweep(report.sweep, title=title)
    if report.corruptions is not None:
        figures["corruptions.png"] = plot_corruptions(
            report.corruptions, title=f"{subject.name}: {subject.image_set.name} under corruptions"
        )
        figures["corruption_examples.png"] = plot_corruption_examples(
            _examples(subject), title=f"Severity {_EXAMPLE_SEVERITY}"
        )
    return figures


def _reliability(calibration: "CalibrationReport", title: str) -> "Figure":
    from odevision.visual import plot_reliability

    panels = [(f"as computed, ECE {calibration.ece:.1%}", calibration.bins)]
    if calibration.calibrated_ece is not None:
        name = f"calibrated, ECE {calibration.calibrated_ece:.1%}"
        panels.append((name, calibration.calibrated_bins))
    return plot_reliability(panels, title=title)


def _examples(subject: Subject) -> dict[str, Any]:
    """The first image as it is and under each corruption."""
    from odevision.data.corruptions import CORRUPTIONS, corrupt
    from odevision.data.image import read_image

    if subject.image_set.images is not None:
        image = subject.image_set.images[:1]
    else:
        assert subject.image_set.paths is not None
        photo = read_image(subject.image_set.paths[0])
        image = subject.loaded.preprocessing.to_uint8(photo)[None]
    changed = {name: corrupt(image, name, _EXAMPLE_SEVERITY)[0] for name in CORRUPTIONS}
    return {"as it is": image[0], **changed}


def picture_folder(loaded: "LoadedModel", out: str | None) -> Path:
    """Make and return the folder of pictures: `out`, or the run's `plots`, or `plots/NAME`.

    Args:
        loaded: the model.
        out: as the user named it.

    Raises:
        UsageError: it cannot be written.
    """
    from odevision.cli.model import run_directory, short_name

    if out is not None:
        return folder_to_write(out)
    run_dir = run_directory(loaded)
    own = Path("plots") / short_name(loaded) if run_dir is None else run_dir / "plots"
    return folder_to_write(own)
