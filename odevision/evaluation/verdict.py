"""From what a network says about the crops of a picture to one answer, or to `unknown` and why."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from odevision.evaluation.calibration import Calibration

UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One answer for a picture.

    Args:
        probabilities: of the classes, mean over the crops.
        score: how much the picture looks like training images, median over the crops; None
            without a calibration.
        reason: why the answer should be `unknown`, in words; None if it should not.
    """

    probabilities: Float[Tensor, " classes"]
    score: float | None
    reason: str | None


def judge(
    probabilities: Float[Tensor, "crops classes"],
    scores: Float[Tensor, " crops"] | None,
    calibration: Calibration | None,
    class_names: Sequence[str],
    *,
    is_elsewhere: bool = False,
) -> Verdict:
    """Join the crops of a picture to one answer.

    A picture is `unknown` if its score is below the threshold, if half of its crops or more are of
    another class than their mean, or if the best class is less probable than the level that the
    calibration chose.

    Args:
        probabilities: of each crop.
        scores: of each crop; None without a calibration.
        calibration: of the network; None gives no reason ever.
        class_names: names in index order.
        is_elsewhere: whether the picture has another size than the network's images.
    """
    mean = probabilities.mean(dim=0)
    if calibration is None or scores is None:
        return Verdict(probabilities=mean, score=None, reason=None)
    best = int(mean.argmax())
    # torch's median of an even number is the lower of the two in the middle.
    score = float(scores.median())
    num_crops = len(probabilities)
    num_agreeing = int((probabilities.argmax(dim=1) == best).sum())
    least = calibration.elsewhere_min_probability if is_elsewhere else calibration.min_probability
    reason = None
    if score < calibration.unknown_threshold:
        reason = (
            f"looks like none of the {len(class_names)} classes ({calibration.unknown_score} "
            f"{score:.3g} < {calibration.unknown_threshold:.3g})"
        )
    elif 2 * num_agreeing <= num_crops:
        reason = f"the crops disagree ({num_agreeing} of {num_crops} say {class_names[best]})"
    elif float(mean[best]) < least:
        reason = (
            f"no class is probable enough ({class_names[best]} {float(mean[best]):.1%} < "
            f"{least:.1%})"
        )
    return Verdict(probabilities=mean, score=score, reason=reason)


def judge_all(
    probabilities: Float[Tensor, "all_crops classes"],
    scores: Float[Tensor, " all_crops"] | None,
    counts: Sequence[int],
    calibration: Calibration | None,
    class_names: Sequence[str],
    *,
    are_elsewhere: Sequence[bool],
) -> list[Verdict]:
    """Judge several pictures whose crops lie one after the other.

    Args:
        probabilities: of all crops of all pictures.
        scores: likewise; None without a calibration.
        counts: crops of each picture.
        calibration: of the network, or None.
        class_names: names in index order.
        are_elsewhere: of each picture, whether it has another size than the network's images.

    Returns:
        One verdict a picture.
    """
    parts = probabilities.split(list(counts))
    score_parts: Sequence[Tensor | None] = (
        [None] * len(parts) if scores is None else torch.split(scores, list(counts))
    )
    return [
        judge(part, own, calibration, class_names, is_elsewhere=is_elsewhere)
        for part, own, is_elsewhere in zip(parts, score_parts, are_elsewhere, strict=True)
    ]
