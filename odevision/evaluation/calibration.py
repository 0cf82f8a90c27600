"""Probabilities that mean what they say: temperature scaling and the calibration error."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from odevision.evaluation.answers import Answers
from odevision.training.checkpoint import Card
from odevision.training.strict import dataclass_from_mapping

NUM_BINS = 15
"""Bins of equal width of the calibration error, as is customary (Guo et al. 2017)."""

ROUNDING = 6.0
"""How sharply probabilities bend at the floor, see `calibrated_probabilities`. On validation images
of CIFAR-10 and MNIST, 4 to 8 differ little in calibration error and loss (LOG.md, 2026-11-30)."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What validation images taught about a network's answers; the card's field `calibration`.

    Args:
        temperature: logits are divided by it, see `calibrated_probabilities`.
        floor: share that label smoothing gave every class, taken away again; 0 is temperature
            scaling.
        ece_before: expected calibration error of the softmax, 0 to 1.
        ece_temperature: of temperature scaling alone.
        ece_after: of the calibrated probabilities.
        loss_before: cross-entropy of the softmax, in nats.
        loss_after: of the calibrated probabilities.
        unknown_score: the score for "none of the classes": probability, energy or feature.
        unknown_threshold: an image with a lower score is `unknown`.
        min_probability: an image whose best class is less probable is `unknown`.
        elsewhere_min_probability: the same for a picture of another size than the network's, which
            so was not made as the training images were.
        kept_share: share of the validation images that get an answer under both rules.
        kept_accuracy: accuracy on those.
        num_images: validation images it was fitted on.
        solver: solver settings it was fitted with; empty without ODE blocks.
        auroc: score -> data without the classes -> area under the ROC curve by which the score was
            chosen.
    """

    temperature: float
    floor: float
    ece_before: float
    ece_temperature: float
    ece_after: float
    loss_before: float
    loss_after: float
    unknown_score: str
    unknown_threshold: float
    min_probability: float
    elsewhere_min_probability: float
    kept_share: float
    kept_accuracy: float
    num_images: int
    solver: dict[str, Any] = field(default_factory=dict)
    auroc: dict[str, dict[str, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the card; `calibration_of` is the inverse."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """Images whose top probability lies in one bin.

    Args:
        low: lower end of the bin, excluded.
        high: upper end, included.
        num_images: how many.
        confidence: their mean top probability; nan for none.
        accuracy: share of them answered rightly; nan for none.
    """

    low: float
    high: float
    num_images: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class CalibrationReport:
    """How well probabilities fit the truth, before and after calibration.

    Args:
        ece: expected calibration error of the softmax, 0 to 1.
        loss: its cross-entropy in nats.
        calibrated_ece: the same of the calibrated probabilities; None without a calibration.
        calibrated_loss: likewise.
        bins: of the softmax.
        calibrated_bins: of the calibrated probabilities; empty without a calibration.
    """

    ece: float
    loss: float
    calibrated_ece: float | None
    calibrated_loss: float | None
    bins: tuple[ReliabilityBin, ...]
    calibrated_bins: tuple[ReliabilityBin, ...]


def calibration_of(card: Card) -> Calibration | None:
    """Return what a card says about calibration, or None for a card from before it.

    Args:
        card: of a checkpoint.

    Raises:
        ValueError: the card's field is damaged, or has the power that was fitted before the floor.
    """
    if not card.calibration:
        return None
    if "power" in card.calibration:
        raise ValueError(
            "`calibration` must have a floor, this card has a power, as odevision wrote it before. "
            "Calibrate the model again: `odevision calibrate MODEL`."
        )
    return dataclass_from_mapping(Calibration, card.calibration, "calibration")


def calibrated_probabilities(
    logits: Float[Tensor, "num classes"], *, temperature: float, floor: float = 0.0
) -> Float[Tensor, "num classes"]:
    """Scale logits by a temperature, then take from every class the floor that training gave it.

    Label smoothing of s over K classes teaches q = (1 - s) p + s / K in place of the truth p: every
    class lies on a floor of s / K. No temperature turns q into p, since it moves sure and unsure
    answers alike. Here q = softmax(logits / temperature), and p is proportional to q - floor,
    rounded off where q is about the floor or below it, log(1 + exp(6 (q / floor - 1))), so that it
    is never 0. With floor = 0 this is temperature scaling. The order of the classes stays.

    Args:
        logits: class scores.
        temperature: above 0, in units of the logits.
        floor: 0 or more, below 1 / classes.

    Returns:
        Probabilities.
    """
    scaled = (logits / temperature).softmax(dim=1)
    if floor == 0.0:
        return scaled
    return _take_floor(scaled, floor)


def _take_floor(
    scaled: Float[Tensor, "num classes"], floor: float | Tensor
) -> Float[Tensor, "num classes"]:
    risen = functional.softplus(ROUNDING * (scaled / floor - 1.0))
    return risen / risen.sum(dim=1, keepdim=True)


def calibrate_logits(
    logits: Float[Tensor, "num classes"], calibration: Calibration | None
) -> Float[Tensor, "num classes"]:
    """Return calibrated probabilities, or the softmax where there is no calibration.

    Args:
        logits: class scores.
        calibration: of the network, or None.
    """
    if calibration is None:
        return logits.softmax(dim=1)
    return calibrated_probabilities(
        logits, temperature=calibration.temperature, floor=calibration.floor
    )


def fit_probabilities(
    logits: Float[Tensor, "num classes"],
    labels: Int64[Tensor, " num"],
    *,
    with_floor: bool = False,
) -> tuple[float, float]:
    """Fit temperature (and floor) by the least cross-entropy, in float64 by L-BFGS.

    Args:
        logits: class scores of validation images.
        labels: true class indices.
        with_floor: fit the floor too, else it is 0.

    Returns:
        Temperature, between 0.01 and 100 times the mean gap to the best class, and floor, above 0
        and below 1 / classes. A network that is right everywhere would want a temperature of 0.
    """
    num_classes = logits.shape[1]
    gaps = logits.double() - logits.double().amax(dim=1, keepdim=True)
    scale = gaps.mean().abs().clamp_min(1e-12)
    gaps = gaps / scale
    limit = math.log(100.0)
    # Before the limits: the logarithm of the temperature, and how near the floor is to 1 / classes.
    free = torch.tensor([0.0, -1.5], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [free], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def values() -> tuple[Tensor, Tensor]:
        temperature = (limit * torch.tanh(free[0] / limit)).exp()
        return temperature, torch.sigmoid(free[1].clamp_min(-20.0)) / num_classes

    def closure() -> Tensor:
        optimizer.zero_grad()
        temperature, floor = values()
        log_probabilities = (gaps / temperature).log_softmax(dim=1)
        if with_floor:
            log_probabilities = _take_floor(log_probabilities.exp(), floor).log()
        loss = functional.nll_loss(log_probabilities, labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        temperature, floor = values()
    return float(temperature * scale), float(floor) if with_floor else 0.0


def first_half(labels: Int64[Tensor, " num"]) -> Bool[Tensor, " num"]:
    """Mark every other image of each class: two halves with the same classes.

    Args:
        labels: true class indices.
    """
    order = labels.argsort(stable=True)
    counts = torch.bincount(labels)
    starts = counts.cumsum(0) - counts
    is_first = torch.empty(len(labels), dtype=torch.bool)
    is_first[order] = (torch.arange(len(labels)) - starts[labels[order]]) % 2 == 0
    return is_first


def choose_probabilities(
    logits: Float[Tensor, "num classes"], labels: Int64[Tensor, " num"]
) -> tuple[float, float]:
    """Fit a temperature, and a floor where images that it was not fitted on confirm it.

    Either half of the images judges what was fitted on the other half.

    Args:
        logits: class scores of validation images.
        labels: true class indices.

    Returns:
        Temperature and floor.
    """
    losses = {False: 0.0, True: 0.0}
    first = first_half(labels)
    for fitted, judging in ((first, ~first), (~first, first)):
        for with_floor in losses:
            temperature, floor = fit_probabilities(
                logits[fitted], labels[fitted], with_floor=with_floor
            )
            losses[with_floor] += cross_entropy(
                calibrated_probabilities(logits[judging], temperature=temperature, floor=floor),
                labels[judging],
            )
    return fit_probabilities(logits, labels, with_floor=losses[True] < losses[False])


def cross_entropy(
    probabilities: Float[Tensor, "num classes"], labels: Int64[Tensor, " num"]
) -> float:
    """Return the mean cross-entropy in nats; a probability of 0 counts as 1e-12.

    Args:
        probabilities: rows sum to 1.
        labels: true class indices.
    """
    return float(functional.nll_loss(probabilities.double().clamp_min(1e-12).log(), labels))


def reliability_bins(
    probabilities: Float[Tensor, "num classes"],
    labels: Int64[Tensor, " num"],
    *,
    num_bins: int = NUM_BINS,
) -> tuple[ReliabilityBin, ...]:
    """Sort images by their top probability into bins of equal width.

    Args:
        probabilities: rows sum to 1.
        labels: true class indices.
        num_bins: bins from 0 to 1.

    Returns:
        All bins, empty ones too, in rising order.
    """
    confidence, answer = probabilities.double().max(dim=1)
    is_right = (answer == labels).double()
    index = (confidence * num_bins).ceil().long().clamp(1, num_bins) - 1
    bins = []
    for number in range(num_bins):
        inside = index == number
        bins.append(
            ReliabilityBin(
                low=number / num_bins,
                high=(number + 1) / num_bins,
                num_images=int(inside.sum()),
                confidence=float(confidence[inside].mean()),
                accuracy=float(is_right[inside].mean()),
            )
        )
    return tuple(bins)


def expected_calibration_error(
    probabilities: Float[Tensor, "num classes"],
    labels: Int64[Tensor, " num"],
    *,
    num_bins: int = NUM_BINS,
) -> float:
    """Return ECE = sum over bins of (images in the bin / images) * |accuracy - confidence|.

    Images are sorted into bins of equal width by the probability of their best class; confidence is
    the mean of that probability. Chance alone makes it positive: about 0.01 at 2,500 images and
    0.005 at 10,000 for a perfectly calibrated network of 90 % accuracy.

    Args:
        probabilities: rows sum to 1.
        labels: true class indices.
        num_bins: bins from 0 to 1.
    """
    return _weighted_gap(reliability_bins(probabilities, labels, num_bins=num_bins))


def _weighted_gap(bins: tuple[ReliabilityBin, ...]) -> float:
    filled = [one for one in bins if one.num_images]
    total = sum(one.num_images for one in filled)
    return sum(one.num_images * abs(one.accuracy - one.confidence) for one in filled) / total


def calibration_report(answers: Answers, card: Card) -> CalibrationReport:
    """Compare probabilities with the truth, before and after the calibration of the card.

    Args:
        answers: of the network, to a split.
        card: of the network.
    """
    bins = reliability_bins(answers.probabilities, answers.labels)
    calibration = calibration_of(card)
    found: Mapping[str, Any] = {
        "calibrated_ece": None,
        "calibrated_loss": None,
        "calibrated_bins": (),
    }
    if calibration is not None:
        probabilities = calibrate_logits(answers.logits, calibration)
        calibrated_bins = reliability_bins(probabilities, answers.labels)
        found = {
            "calibrated_ece": _weighted_gap(calibrated_bins),
            "calibrated_loss": cross_entropy(probabilities, answers.labels),
            "calibrated_bins": calibrated_bins,
        }
    return CalibrationReport(ece=_weighted_gap(bins), loss=answers.loss, bins=bins, **found)
