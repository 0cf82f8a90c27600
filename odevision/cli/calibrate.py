"""`odevision calibrate`: probabilities that mean what they say, and when to answer `unknown`."""

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.table import Table
from tyro.conf import arg

from odevision.cli.arguments import parse_options
from odevision.cli.options import BatchSize, DataRoot, Device, Json, Model
from odevision.cli.output import (
    notes_console,
    only_results_on_stdout,
    results_console,
    write_json,
)

if TYPE_CHECKING:
    from odevision.evaluation.calibrate import CalibratedModel
    from odevision.evaluation.calibration import Calibration
    from odevision.training.checkpoint import LoadedModel

_DESCRIPTION = """\
Calibrate a trained network of images on those that were held out from training, and write the
result into its card. From then on `predict` states calibrated probabilities, and says `unknown`
where a photo looks like none of the classes. The test images are not read. `train` does this at its
end.

Example: odevision calibrate runs/mnist-mini --plot
"""


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """Options of `odevision calibrate`."""

    model: Model
    data_root: DataRoot = None
    ood: Annotated[
        tuple[str, ...],
        arg(
            metavar="NAME|DIR ...",
            help="Pictures without the model's classes, by which the score is chosen: `textures`, "
            "the training images of a data set, or a folder.",
            help_behavior_hint="(default: textures, and mnist-mini unless the model knows digits)",
        ),
    ] = ()
    validation_fraction: Annotated[
        float | None,
        arg(
            metavar="X",
            help="Part of the training images that was held out.",
            help_behavior_hint="(default: as the card or the run says)",
        ),
    ] = None
    limit: Annotated[
        int | None,
        arg(
            metavar="N",
            help="Only N of the validation images, 100 or more.",
            help_behavior_hint="(default: all)",
        ),
    ] = None
    json: Json = False
    plot: Annotated[
        bool,
        arg(
            help="Also draw the reliability diagram (reliability.png).",
            help_behavior_hint="",
        ),
    ] = False
    out: Annotated[
        str | None,
        arg(
            metavar="DIR",
            help="Folder for the picture that --plot draws.",
            help_behavior_hint="(default: RUN/plots; plots/NAME for shipped weights)",
        ),
    ] = None
    device: Device = "auto"
    batch_size: BatchSize = 256


def calibrate_and_write(
    loaded: "LoadedModel", options: CalibrateOptions
) -> tuple["LoadedModel", "CalibratedModel"]:
    """Calibrate a model on its validation images and write its card.

    Args:
        loaded: the model.
        options: data, limits and batch size.

    Returns:
        The model with its new card, and what was found.

    Raises:
        ValueError: there are too few validation images, or it is not known which they are.
        DataNotFoundError: the data is not there.
        CheckpointWriteError: the checkpoint cannot be written.
    """
    from odevision.cli.progress import batch_progress
    from odevision.evaluation.calibrate import (
        OTHER_LIMIT,
        calibrate,
        load_validation_images,
        write_calibration,
    )
    from odevision.evaluation.other_images import default_other_sets, load_other_images

    image_set = load_validation_images(
        loaded,
        data_root=options.data_root,
        validation_fraction=options.validation_fraction,
        limit=options.limit,
    )
    others = [
        load_other_images(
            loaded,
            name,
            for_testing=False,
            # It comes along: where data sets lie does not matter to it.
            data_root=None if name == "mnist-mini" else options.data_root,
            limit=OTHER_LIMIT,
        )
        for name in options.ood or default_other_sets(loaded)
    ]
    with batch_progress("calibrating") as on_batch:
        found = calibrate(
            loaded, image_set, others, batch_size=options.batch_size, on_batch=on_batch
        )
    return write_calibration(loaded, found), found


def _show(path: Path, calibration: "Calibration") -> None:
    console = results_console()
    console.print(str(path), markup=False, soft_wrap=True)
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    rows = {
        "validation images": f"{calibration.num_images:,}",
        "calibration error (ECE) as trained": f"{calibration.ece_before:.2%}",
        "... with a temperature": f"{calibration.ece_temperature:.2%}",
        "... as chosen": f"{calibration.ece_after:.2%}",
        "loss as trained, calibrated": f"{calibration.loss_before:.4f}, "
        f"{calibration.loss_after:.4f}",
        "temperature, floor": f"{calibration.temperature:.3f}, {calibration.floor:.2%}",
        "unknown below": f"{calibration.unknown_score} {calibration.unknown_threshold:.4g}, "
        f"probability {calibration.min_probability:.1%}",
        "... a photo of another size": f"probability {calibration.elsewhere_min_probability:.1%}",
        "images answered": f"{calibration.kept_share:.1%}",
        "accuracy on those": f"{calibration.kept_accuracy:.2%}",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)
    if not any(calibration.auroc.values()):
        return
    console.print("How well each score tells other pictures apart (area under the ROC curve):")
    areas = Table()
    areas.add_column("score")
    others = list(next(iter(calibration.auroc.values())))
    for other in others:
        areas.add_column(other, justify="right")
    for score, values in calibration.auroc.items():
        mark = " (chosen)" if score == calibration.unknown_score else ""
        areas.add_row(f"{score}{mark}", *(f"{values[other]:.4f}" for other in others))
    console.print(areas)


def _draw(loaded: "LoadedModel", found: "CalibratedModel", folder: Path) -> None:
    from odevision.cli.model import short_name
    from odevision.evaluation.calibration import calibrate_logits, reliability_bins
    from odevision.visual import plot_reliability, save_figure

    calibration = found.calibration
    panels = [
        (f"{name}: ECE {error:.2%}", reliability_bins(probabilities, found.labels))
        for name, error, probabilities in (
            ("as trained", calibration.ece_before, calibrate_logits(found.logits, None)),
            ("calibrated", calibration.ece_after, calibrate_logits(found.logits, calibration)),
        )
    ]
    title = f"{short_name(loaded)}: {calibration.num_images:,} validation images"
    figure = plot_reliability(panels, title=title)
    path = save_figure(figure, folder / "reliability.png")
    notes_console().print(f"wrote {path}", markup=False, soft_wrap=True)


def run(words: Sequence[str], *, verb: str = "calibrate") -> int:
    """Calibrate a model, write its card, and print what was found.

    Args:
        words: the words after the verb.
        verb: its name.

    Returns:
        The exit code.
    """
    options = parse_options(CalibrateOptions, words, verb=verb, description=_DESCRIPTION)
    from odevision.cli.errors import UsageError

    if options.out is not None and not options.plot:
        raise UsageError("`--out` is the folder for the picture: add --plot to draw it")
    with only_results_on_stdout() if options.json else contextlib.nullcontext():
        from odevision.cli.evaluate_measure import picture_folder
        from odevision.cli.model import load_model

        loaded = load_model(options.model, device=options.device)
        folder = picture_folder(loaded, options.out) if options.plot else None
        loaded, found = calibrate_and_write(loaded, options)
    if options.json:
        write_json({"checkpoint": str(loaded.path), **dataclasses.asdict(found.calibration)})
    else:
        _show(loaded.path, found.calibration)
    if folder is not None:
        _draw(loaded, found, folder)
    return 0
