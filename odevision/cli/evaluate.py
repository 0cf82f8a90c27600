"""`odevision evaluate`: accuracy, loss and cost of a trained model on test images."""

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from rich.table import Table
from tyro.conf import arg

from odevision.cli.arguments import parse_options
from odevision.cli.options import (
    BatchSize,
    Data,
    DataRoot,
    Device,
    Json,
    Limit,
    Model,
    NumSteps,
    Solver,
    Tolerance,
)
from odevision.cli.output import only_results_on_stdout, results_console, write_json

if TYPE_CHECKING:
    from odevision.evaluation.consistency import Variant
    from odevision.evaluation.evaluate import Evaluation

_DESCRIPTION = """\
Measure a trained model on test images.

Example: odevision evaluate runs/mnist-mini --json
"""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of `odevision evaluate`."""

    model: Model
    data: Data = None
    data_root: DataRoot = None
    limit: Limit = None
    json: Json = False
    consistency: Annotated[
        bool,
        arg(
            help="Also solve with four times the steps (or a tighter tolerance) and with another "
            "solver, and report how many answers change.",
            help_behavior_hint="",
        ),
    ] = False
    solver: Solver = None
    num_steps: NumSteps = None
    rtol: Tolerance = None
    atol: Tolerance = None
    device: Device = "auto"
    batch_size: BatchSize = 256
    num_workers: Annotated[
        int,
        arg(
            metavar="N",
            help="Processes that decode image folders too large for memory.",
        ),
    ] = 0


def describe_solver(solver: dict[str, object]) -> str:
    """Put a solver's settings into words."""
    if not solver:
        return "none"
    if solver.get("num_steps") is not None:
        return f"{solver['solver']}, {solver['num_steps']} steps"
    return f"{solver['solver']}, rtol {solver['rtol']:g}, atol {solver['atol']:g}"


def _show(evaluation: "Evaluation", variants: Sequence["Variant"]) -> None:
    console = results_console()
    console.print(evaluation.checkpoint, markup=False, soft_wrap=True)
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    rows = {
        "data": f"{evaluation.data}, {evaluation.split}",
        "images": f"{evaluation.num_samples:,}",
        "accuracy": f"{evaluation.accuracy:.2%}",
        "loss (cross-entropy)": f"{evaluation.loss:.4f}",
        "network": f"{evaluation.model}, {evaluation.num_parameters:,} parameters",
        "solver": describe_solver(evaluation.solver),
        "NFE a forward pass": f"{evaluation.nfe:.1f}",
        "time": f"{evaluation.seconds:.1f} s",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)

    console.print("Accuracy by true class, the worst first:")
    classes = Table()
    classes.add_column("class")
    classes.add_column("accuracy", justify="right")
    ordered = sorted(evaluation.per_class.items(), key=lambda item: item[1])
    for name, accuracy in ordered[:20]:
        classes.add_row(name, f"{accuracy:.2%}")
    if len(ordered) > 20:
        classes.add_row("...", "")
    console.print(classes)
    if len(ordered) > 20:
        console.print(f"{len(ordered) - 20} more classes: see --json")
    if variants:
        _show_variants(evaluation, variants)


def _show_variants(evaluation: "Evaluation", variants: Sequence["Variant"]) -> None:
    console = results_console()
    console.print("The same weights under other solvers:")
    table = Table()
    table.add_column("solver")
    for name in (
        "accuracy",
        "NFE",
        "answers changed",
        "largest change of a probability",
    ):
        table.add_column(name, justify="right")
    own = (f"{evaluation.accuracy:.2%}", f"{evaluation.nfe:.1f}", "", "")
    table.add_row(f"its own ({describe_solver(evaluation.solver)})", *own)
    for variant in variants:
        table.add_row(
            f"{variant.name} ({describe_solver(variant.solver)})",
            f"{variant.accuracy:.2%}",
            f"{variant.nfe:.1f}",
            f"{variant.changed_share:.2%}",
            f"{variant.largest_change:.4f}",
        )
    console.print(table)


def _evaluate(options: EvaluateOptions) -> tuple["Evaluation", list["Variant"]]:
    from odevision.cli.model import load_model
    from odevision.cli.progress import batch_progress
    from odevision.evaluation.answers import answer_split
    from odevision.evaluation.consistency import check_consistency
    from odevision.evaluation.evaluate import summarize
    from odevision.evaluation.split import load_test_images

    loaded = load_model(
        options.model,
        device=options.device,
        solver=options.solver,
        num_steps=options.num_steps,
        rtol=options.rtol,
        atol=options.atol,
    )
    image_set = load_test_images(
        loaded, data=options.data, data_root=options.data_root, limit=options.limit
    )
    with batch_progress("evaluating") as on_batch:
        answers = answer_split(
            loaded,
            image_set,
            batch_size=options.batch_size,
            num_workers=options.num_workers,
            on_batch=on_batch,
        )
    evaluation = summarize(loaded, image_set, answers)
    if not options.consistency:
        return evaluation, []
    if not loaded.card.solver:
        raise ValueError(
            f"`--consistency` must be used with a model that has ODE blocks, got "
            f"{loaded.card.model_name}. Leave it out."
        )
    with batch_progress("other solvers") as on_batch:
        variants = check_consistency(
            loaded,
            image_set,
            answers,
            batch_size=options.batch_size,
            num_workers=options.num_workers,
            on_batch=on_batch,
        )
    return evaluation, variants


def run(words: Sequence[str], *, verb: str = "evaluate") -> int:
    """Evaluate a model and print the result.

    Args:
        words: the words after the verb.
        verb: its name.

    Returns:
        The exit code.
    """
    options = parse_options(EvaluateOptions, words, verb=verb, description=_DESCRIPTION)
    with only_results_on_stdout() if options.json else contextlib.nullcontext():
        evaluation, variants = _evaluate(options)
    if not options.json:
        _show(evaluation, variants)
        return 0
    document = dataclasses.asdict(evaluation)
    if options.consistency:
        document["consistency"] = [dataclasses.asdict(variant) for variant in variants]
    write_json(document)
    return 0
