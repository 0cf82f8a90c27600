"""Whether a trained network is an ODE: a finer or another solver must give the same answers.

A network trained at one step size can learn to depend on that step (then it is a ResNet in
disguise). The same weights are therefore solved more finely and by another method, and the answers
are compared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from odevision.data.image_set import ImageSet
from odevision.evaluation.answers import Answers, answer_split, device_of
from odevision.training.checkpoint import LoadedModel, load_checkpoint

STEPS_FACTOR = 4
"""A finer constant-step solve takes this many times the steps."""

TOLERANCE_FACTOR = 0.01
"""A finer adaptive solve multiplies its tolerances by this."""

_REFERENCE_TOLERANCE = 1e-5


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The same weights under other solver settings.

    Args:
        name: what differs, in words.
        solver: the settings.
        accuracy: share of right answers, 0 to 1.
        loss: mean cross-entropy in nats.
        nfe: vector field evaluations in a forward pass.
        changed_share: share of the images whose predicted class differs from the model's own.
        largest_change: largest difference of any class probability.
    """

    name: str
    solver: dict[str, Any]
    accuracy: float
    loss: float
    nfe: float
    changed_share: float
    largest_change: float


def solver_variants(solver: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Choose what to compare a model's solver with.

    Args:
        solver: the model's settings; empty without ODE blocks.

    Returns:
        Words -> overrides for `load_checkpoint`: the same method more finely, and an adaptive
        method of high order at a tight tolerance.
    """
    if not solver:
        return {}
    method = solver["solver"]
    if solver.get("num_steps") is not None:
        num_steps = STEPS_FACTOR * int(solver["num_steps"])
        finer = {f"{STEPS_FACTOR}x the steps": {"solver": method, "num_steps": num_steps}}
    else:
        tolerances = {key: float(solver[key]) * TOLERANCE_FACTOR for key in ("rtol", "atol")}
        finer = {
            f"{1 / TOLERANCE_FACTOR:g}x tighter tolerance": {
                "solver": method,
                **tolerances,
            }
        }
    other = "tsit5" if method == "dopri5" else "dopri5"
    reference = {
        "solver": other,
        "rtol": _REFERENCE_TOLERANCE,
        "atol": _REFERENCE_TOLERANCE,
    }
    return {**finer, f"{other} at {_REFERENCE_TOLERANCE:g}": reference}


def check_consistency(
    loaded: LoadedModel,
    image_set: ImageSet,
    answers: Answers,
    *,
    batch_size: int = 256,
    num_workers: int = 0,
    on_batch: Callable[[int, int], None] | None = None,
) -> list[Variant]:
    """Compare a model's answers with those under finer and other solvers.

    Args:
        loaded: the model.
        image_set: the images.
        answers: its own answers to them.
        batch_size: images at once.
        num_workers: processes that decode files of sets too large for memory.
        on_batch: called after each batch with (images answered, images in all) of a variant.

    Returns:
        One entry a variant; none for a model without ODE blocks.
    """
    variants = []
    predicted = answers.probabilities.argmax(dim=1)
    for name, overrides in solver_variants(loaded.card.solver).items():
        variant = load_checkpoint(loaded.path, device=device_of(loaded), **overrides)
        other = answer_split(
            variant,
            image_set,
            batch_size=batch_size,
            num_workers=num_workers,
            on_batch=on_batch,
        )
        changed = other.probabilities.argmax(dim=1) != predicted
        variants.append(
            Variant(
                name=name,
                solver=dict(variant.card.solver),
                accuracy=other.accuracy,
                loss=other.loss,
                nfe=other.nfe,
                changed_share=float(changed.double().mean()),
                largest_change=float((other.probabilities - answers.probabilities).abs().max()),
            )
        )
    return variants
