"""The tables of `odevision evaluate`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from odevision.cli.output import results_console

if TYPE_CHECKING:
    from odevision.evaluation.consistency import Variant
    from odevision.evaluation.corruptions import CorruptionResult
    from odevision.evaluation.evaluate import Evaluation, MirrorResult
    from odevision.evaluation.sweep import SweepPoint


def describe_solver(solver: Mapping[str, object]) -> str:
    """Put a solver's settings into words."""
    if not solver:
        return "none"
    if (num := solver.get("num_steps")) is not None:
        return f"{solver['solver']}, {num} step{'' if num == 1 else 's'}"
    return f"{solver['solver']}, rtol {solver['rtol']:g}, atol {solver['atol']:g}"


def show_evaluation(
    evaluation: "Evaluation", extra: Mapping[str, str], *, samples: str = "images"
) -> None:
    """Print the figures of an evaluation, and the accuracy of each class.

    Args:
        evaluation: the result.
        extra: more rows, name -> value.
        samples: what was answered.
    """
    console = results_console()
    console.print(evaluation.checkpoint, markup=False, soft_wrap=True)
    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    rows = {
        "data": f"{evaluation.data}, {evaluation.split}",
        samples: f"{evaluation.num_samples:,}",
        "accuracy": f"{evaluation.accuracy:.2%}",
        "loss (cross-entropy)": f"{evaluation.loss:.4f}",
        **extra,
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


def mirror_row(result: "MirrorResult | None") -> dict[str, str]:
    """A row of the figures for what mirroring brings, if that was asked for."""
    if result is None:
        return {}
    return {"accuracy with mirror": f"{result.accuracy:.2%} (twice the NFE)"}


def _table(first: str, *others: str) -> Table:
    table = Table()
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right", overflow="fold")
    return table


def show_consistency(evaluation: "Evaluation", variants: Sequence["Variant"]) -> None:
    """Print what the same weights answer under finer and other solvers."""
    console = results_console()
    console.print("The same weights under other solvers:")
    table = _table(
        "solver",
        "accuracy",
        "NFE",
        "answers changed",
        "largest change of a probability",
        "distance of logits: mean",
        "largest",
    )
    own = (f"{evaluation.accuracy:.2%}", f"{evaluation.nfe:.1f}", "", "", "", "")
    table.add_row(f"its own ({describe_solver(evaluation.solver)})", *own)
    for variant in variants:
        table.add_row(
            f"{variant.name} ({describe_solver(variant.solver)})",
            f"{variant.accuracy:.2%}",
            f"{variant.nfe:.1f}",
            f"{variant.changed_share:.2%}",
            f"{variant.largest_change:.4f}",
            f"{variant.mean_logit_distance:.4f}",
            f"{variant.largest_logit_distance:.4f}",
        )
    console.print(table)


def show_sweep(points: Sequence["SweepPoint"], spread: float | None) -> None:
    """Print a sweep.

    Args:
        points: its points.
        spread: accuracy at 16 evaluations a block less that at 2; None if unknown.
    """
    console = results_console()
    console.print("The same weights at other budgets; * marks the model's own:")
    table = _table(
        "solver",
        "steps or tolerance",
        "NFE a block",
        "NFE",
        "accuracy",
        "answers changed",
        "ms an image",
    )
    for point in points:
        steps = f"{point.num_steps} steps" if point.tolerance is None else f"{point.tolerance:g}"
        table.add_row(
            f"{point.solver}{' *' if point.is_own else ''}",
            steps,
            f"{point.nfe_per_block:.1f}",
            f"{point.nfe:.1f}",
            f"{point.accuracy:.2%}",
            f"{point.changed_share:.2%}",
            f"{point.milliseconds_per_image:.2f}",
        )
    console.print(table)
    if spread is not None:
        console.print(
            f"16 evaluations a block are {100 * spread:+.2f} points more accurate than 2."
        )


def show_corruptions(result: "CorruptionResult") -> None:
    """Print the accuracy under each corruption at each severity."""
    console = results_console()
    console.print("Accuracy under corruptions, by severity:")
    table = _table("corruption", *map(str, result.severities), "mean")
    for name, shares in result.accuracy.items():
        mean = sum(shares) / len(shares)
        table.add_row(name.replace("_", " "), *(f"{share:.2%}" for share in shares), f"{mean:.2%}")
    console.print(table)
    console.print(
        f"Mean corruption error (not divided by another network's): {result.mean_error:.2%}; "
        f"without corruption {1 - result.clean_accuracy:.2%}."
    )


def show_unknown(aurocs: Mapping[str, float]) -> None:
    """Print how well the score for "none of the classes" tells other data apart."""
    console = results_console()
    console.print("Other data told apart from the test images (AUROC; 50 % is chance):")
    table = _table("other data", "AUROC")
    for name, auroc in aurocs.items():
        table.add_row(name, f"{auroc:.2%}")
    console.print(table)
