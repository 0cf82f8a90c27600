"""Whether a trained network is an ODE: a finer or another solver must give the same answers.

A network trained at one step size can learn to depend on that step (then it is a ResNet in
disguise). The same weights are therefore solved more finely and by another method, and the answers
are compared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from odevision.data.image_set import ImageSet
from odevision.evaluation.answers import Answers, answer_split, device_of
from odevision.training.checkpoint import LoadedModel, load_checkpoint

STEPS_FACTORS = (4, 2)
"""Finer constant-step solves take this many times the steps."""

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
        changed_share: share of the images or videos whose predicted class differs from the model's
            own.
        largest_change: largest difference of any class probability.
        accuracy_change: accuracy less the model's own, -1 to 1.
        mean_logit_distance: L2 distance of an image's class scores from the model's own, mean over
            the images, in units of the root mean square of the L2 norm of the model's own.
        largest_logit_distance: the largest over the images, in the same units.
    """

    name: str
    solver: dict[str, Any]
    accuracy: float
    loss: float
    nfe: float
    changed_share: float
    largest_change: float
    accuracy_change: float
    mean_logit_distance: float
    largest_logit_distance: float


def solver_variants(solver: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Choose what to compare a model's solver with.

    Args:
        solver: the model's settings; empty without ODE blocks.

    Returns:
        Words -> overrides for `load_checkpoint`: the same method more finely (at constant steps,
        under four times and twice as many), and an adaptive method of high order at a tight
        tolerance.
    """
    if not solver:
        return {}
    method = solver["solver"]
    if solver.get("num_steps") is not None:
        num_steps = int(solver["num_steps"])
        first, *others = (
            (f"{factor}x the steps", {"solver": method, "num_steps": factor * num_steps})
            for factor in STEPS_FACTORS
        )
        return dict([first, _reference("dopri5"), *others])
    tolerances = {key: float(solver[key]) * TOLERANCE_FACTOR for key in ("rtol", "atol")}
    finer = {"solver": method, **tolerances}
    # Its own method at a tight tolerance is what the first variant is already.
    reference = _reference("tsit5" if method == "dopri5" else "dopri5")
    return dict([(f"{1 / TOLERANCE_FACTOR:g}x tighter tolerance", finer), reference])


def _reference(method: str) -> tuple[str, dict[str, Any]]:
    tolerances = dict.fromkeys(("rtol", "atol"), _REFERENCE_TOLERANCE)
    return f"{method} at {_REFERENCE_TOLERANCE:g}", {"solver": method, **tolerances}


def logit_distances(
    logits: Float[Tensor, "num classes"], others: Float[Tensor, "num classes"]
) -> Float[Tensor, " num"]:
    """Measure how far class scores have moved.

        |others_i - logits_i| / sqrt(mean_j |logits_j|^2), with the L2 norm over the classes

    Args:
        logits: the scores to compare with, which give the unit.
        others: the same images' scores under other settings.

    Returns:
        One distance an image; 0 where nothing moved.
    """
    scale = logits.square().sum(dim=1).mean().sqrt()
    return (others - logits).norm(dim=1) / scale.clamp(min=torch.finfo(logits.dtype).tiny)


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

    def answer(variant: LoadedModel) -> Answers:
        return answer_split(
            variant,
            image_set,
            batch_size=batch_size,
            num_workers=num_workers,
            on_batch=on_batch,
        )

    return compare_solvers(loaded, answers, answer)


def compare_solvers(
    loaded: LoadedModel, answers: Answers, answer: Callable[[LoadedModel], Answers]
) -> list[Variant]:
    """Compare a model's answers, to images or videos, with those under other solvers.

    Args:
        loaded: the model.
        answers: its own.
        answer: gives the answers of the model it is called with to the same images or videos.

    Returns:
        One entry a variant; none for a model without ODE blocks.
    """
    variants = []
    predicted = answers.probabilities.argmax(dim=1)
    for name, overrides in solver_variants(loaded.card.solver).items():
        variant = load_checkpoint(loaded.path, device=device_of(loaded), **overrides)
        other = answer(variant)
        changed = other.probabilities.argmax(dim=1) != predicted
        distances = logit_distances(answers.logits, other.logits)
        variants.append(
            Variant(
                name=name,
                solver=dict(variant.card.solver),
                accuracy=other.accuracy,
                loss=other.loss,
                nfe=other.nfe,
                changed_share=float(changed.double().mean()),
                largest_change=float((other.probabilities - answers.probabilities).abs().max()),
                accuracy_change=other.accuracy - answers.accuracy,
                mean_logit_distance=float(distances.mean()),
                largest_logit_distance=float(distances.max()),
            )
        )
    return variants
