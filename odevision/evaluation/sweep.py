"""Accuracy of the same weights against evaluations of the vector field, solver and tolerance."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from odevision.data.image_set import ImageSet
from odevision.evaluation.answers import Answers, answer_split, device_of, ode_blocks
from odevision.models.budget import most_steps
from odevision.ode.solvers import SOLVERS
from odevision.training.checkpoint import LoadedModel, load_checkpoint

BUDGETS = (2, 4, 8, 16)
"""Evaluations a block with constant steps."""

STEP_SOLVERS = ("euler", "midpoint", "heun", "heun3", "rk4", "dopri5", "tsit5", "leapfrog")

TOLERANCES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)

ADAPTIVE_SOLVERS = ("bosh3", "dopri5", "tsit5")


@dataclass(frozen=True, kw_only=True)
class SweepPoint:
    """The same weights under one setting of the solver.

    Args:
        solver: its name.
        num_steps: constant steps a block; None where the steps adapt.
        tolerance: rtol of adaptive steps, and atol but for the model's own setting, which may have
            another; None where the steps are constant.
        nfe_per_block: vector field evaluations in a forward pass of a block, mean over the images
            and the blocks.
        nfe: the same of all blocks.
        accuracy: share of right answers, 0 to 1.
        loss: mean cross-entropy in nats.
        changed_share: share of the images whose predicted class differs from the model's own.
        milliseconds_per_image: wall time of a batch over its images, median over the batches.
        is_own: whether this is the setting that the model is used with.
    """

    solver: str
    num_steps: int | None
    tolerance: float | None
    nfe_per_block: float
    nfe: float
    accuracy: float
    loss: float
    changed_share: float
    milliseconds_per_image: float
    is_own: bool


def sweep_settings(solver: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Choose the settings of a sweep.

    Args:
        solver: the model's own settings; empty without ODE blocks.

    Returns:
        Overrides for `load_checkpoint`, the model's own settings first; none without ODE blocks.
        Each solver of `STEP_SOLVERS` and the model's own takes the most constant steps that a
        budget of `BUDGETS` pays for: dopri5, with six evaluations a step, 6 of 8 and 12 of 16.
    """
    if not solver:
        return []
    own, gradient = str(solver["solver"]), str(solver.get("gradient", "checkpointed"))
    settings = [_own_setting(solver)]
    for name in dict.fromkeys((*STEP_SOLVERS, own)):
        if SOLVERS[name].iterates:
            continue
        counts = dict.fromkeys(most_steps(name, nfe, gradient=gradient) for nfe in BUDGETS)
        settings += [{"solver": name, "num_steps": count} for count in counts if count > 0]
    adaptive = [own] if SOLVERS[own].adaptive else []
    for name in dict.fromkeys((*ADAPTIVE_SOLVERS, *adaptive)):
        settings += [{"solver": name, "rtol": x, "atol": x} for x in TOLERANCES]
    return [settings[0], *(one for one in settings[1:] if one != settings[0])]


def _own_setting(solver: Mapping[str, Any]) -> dict[str, Any]:
    names = ("solver", "num_steps") if solver.get("num_steps") else ("solver", "rtol", "atol")
    return {name: solver[name] for name in names}


def sweep(
    loaded: LoadedModel,
    image_set: ImageSet,
    *,
    batch_size: int = 256,
    num_workers: int = 0,
    on_batch: Callable[[int, int], None] | None = None,
) -> Iterator[SweepPoint]:
    """Answer a split under every setting of `sweep_settings`.

    Args:
        loaded: the model.
        image_set: the images.
        batch_size: images at once.
        num_workers: processes that decode files of sets too large for memory.
        on_batch: called after each batch with (images answered, images in all) of a setting.

    Yields:
        One point a setting, the model's own first; none for a model without ODE blocks.
    """
    predicted = None
    num_blocks = len(ode_blocks(loaded))
    for setting in sweep_settings(loaded.card.solver):
        variant = load_checkpoint(loaded.path, device=device_of(loaded), **setting)
        answers, seconds = _timed(variant, image_set, batch_size, num_workers, on_batch)
        answered = answers.probabilities.argmax(dim=1)
        is_own = predicted is None
        predicted = answered if predicted is None else predicted
        used = variant.card.solver
        is_constant = used["num_steps"] is not None
        yield SweepPoint(
            solver=str(used["solver"]),
            num_steps=used["num_steps"],
            tolerance=None if is_constant else float(used["rtol"]),
            nfe_per_block=answers.nfe / num_blocks,
            nfe=answers.nfe,
            accuracy=answers.accuracy,
            loss=answers.loss,
            changed_share=float((answered != predicted).double().mean()),
            milliseconds_per_image=1e3 * statistics.median(seconds),
            is_own=is_own,
        )


def _timed(
    loaded: LoadedModel,
    image_set: ImageSet,
    batch_size: int,
    num_workers: int,
    on_batch: Callable[[int, int], None] | None,
) -> tuple[Answers, list[float]]:
    """Answer a split; also the seconds an image of each batch."""
    seconds: list[float] = []
    before = (time.perf_counter(), 0)

    def note(done: int, total: int) -> None:
        nonlocal before
        now = time.perf_counter()
        seconds.append((now - before[0]) / (done - before[1]))
        if on_batch is not None:
            on_batch(done, total)
        before = (time.perf_counter(), done)

    answers = answer_split(
        loaded, image_set, batch_size=batch_size, num_workers=num_workers, on_batch=note
    )
    return answers, seconds


def accuracy_spread(points: Sequence[SweepPoint], low: int, high: int) -> float | None:
    """Return how much accuracy a small budget loses against a large one, with constant steps.

    Args:
        points: of a sweep.
        low: evaluations a block of the small budget.
        high: those of the large one.

    Returns:
        Accuracy at `high` less that at `low` under the model's own solver, -1 to 1; None where one
        of them was not measured.
    """
    own = next((point.solver for point in points if point.is_own), None)
    found = {
        round(point.nfe_per_block): point.accuracy
        for point in points
        if point.solver == own and point.num_steps is not None
    }
    return found[high] - found[low] if low in found and high in found else None
