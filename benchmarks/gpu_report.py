"""What `benchmarks.cifar10_gpu` says of its runs: a table, the consistency, the goals."""

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.training_runs import markdown, mean_std

Run = dict[str, Any]

MOST_ACCURACY_CHANGE = 0.003
MOST_CHANGED_SHARE = 0.015
MOST_BUDGET_LOSS = 0.015
JUDGED_VARIANTS = ("dopri5 at 1e-05", "4x the steps")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Goal:
    """What a part is to reach.

    Args:
        seeds: runs whose mean counts.
        accuracy: on the test images, mean over the seeds, 0 to 1.
        minutes: of a training, mean over the seeds, on an H200 or the like.
        parameters: at most so many.
    """

    seeds: int
    accuracy: float
    minutes: float = 10.0
    parameters: int | None = None


GOALS = {
    "cifar10": Goal(seeds=5, accuracy=0.95, minutes=3.0),
    "best": Goal(seeds=3, accuracy=0.96),
    "small": Goal(seeds=3, accuracy=0.93, parameters=300_000),
}


def table(runs: Sequence[Run]) -> str:
    """Mean and standard deviation over the seeds as a Markdown table, a row a network."""
    columns = {  # head: key, factor, digits
        "test %": ("test_accuracy", 100, 2),
        "with mirror %": ("mirrored_accuracy", 100, 2),
        "validation %": ("validation_accuracy", 100, 2),
        "minutes": ("seconds", 1 / 60, 2),
        "parameters": ("num_parameters", 1, 0),
        "mult-adds, M": ("multiply_adds", 1e-6, 1),
        "NFE": ("nfe", 1, 0),
    }
    rows = []
    for name in dict.fromkeys(run["name"] for run in runs):
        of_it = [run for run in runs if run["name"] == name]
        cells = [name, str(len(of_it))]
        for key, factor, digits in columns.values():
            cells.append(mean_std([factor * run[key] for run in of_it], digits))
        rows.append(cells)
    return markdown(["", "n", *columns], rows)


def consistency_table(runs: Sequence[Run]) -> str:
    """The first seeds under finer and other solvers and budgets; empty without an ODE."""
    rows = []
    for run in runs:
        for name, found in run.get("variants", {}).items():
            rows.append(
                [
                    f"{run['name']}, seed {run['seed']}",
                    name,
                    f"{100 * found['accuracy']:.2f}",
                    f"{100 * found['accuracy_change']:+.2f}",
                    f"{100 * found['changed_share']:.2f}",
                    f"{found['mean_logit_distance']:.3f}",
                ]
            )
        for nfe, accuracy in run.get("accuracy_at", {}).items():
            change = accuracy - run["test_accuracy"]
            budget = [f"{nfe} evaluations a block", f"{100 * accuracy:.2f}", f"{100 * change:+.2f}"]
            rows.append([f"{run['name']}, seed {run['seed']}", *budget, "-", "-"])
    heads = ["", "solved by", "test %", "change", "answers changed %", "logit distance"]
    return markdown(heads, rows) if rows else ""


def judge(part: str, runs: Sequence[Run]) -> list[str]:
    """One line a goal: whether it is met. None for a part without goals.

    Args:
        part: name of the part.
        runs: its runs so far.
    """
    goal = GOALS.get(part)
    if goal is None or not runs:
        return []
    accuracy = statistics.mean(run["test_accuracy"] for run in runs)
    minutes = statistics.mean(run["seconds"] for run in runs) / 60
    checks = [
        (
            len(runs) >= goal.seeds and accuracy >= goal.accuracy,
            f"test accuracy {100 * accuracy:.2f} % (n = {len(runs)}), aimed at "
            f"{100 * goal.accuracy:.0f} % (n = {goal.seeds})",
        ),
        (minutes <= goal.minutes, f"{minutes:.2f} minutes, aimed at {goal.minutes:g}"),
    ]
    if goal.parameters is not None:
        parameters = max(run["num_parameters"] for run in runs)
        checks.append(
            (parameters <= goal.parameters, f"{parameters:,} parameters of {goal.parameters:,}")
        )
    for run in runs:
        checks += _consistency_checks(run)
    return [f"{'met   ' if is_met else 'MISSED'} {text}" for is_met, text in checks]


def _consistency_checks(run: Run) -> list[tuple[bool, str]]:
    checks = []
    for name in JUDGED_VARIANTS:
        found = run.get("variants", {}).get(name)
        if found is None:
            continue
        change, share = found["accuracy_change"], found["changed_share"]
        is_met = abs(change) <= MOST_ACCURACY_CHANGE and share < MOST_CHANGED_SHARE
        text = f"{name}: accuracy {100 * change:+.2f}, answers changed {100 * share:.2f} %"
        checks.append((is_met, f"{text}, aimed at 0.3 and 1.5 %"))
    at = run.get("accuracy_at", {})
    if "2" in at and "16" in at:
        loss = at["16"] - at["2"]
        text = f"2 evaluations a block lose {100 * loss:.2f} against 16, aimed at 1.5"
        checks.append((loss <= MOST_BUDGET_LOSS, text))
    return checks
