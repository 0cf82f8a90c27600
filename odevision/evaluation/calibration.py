"""Probabilities that mean what they say: temperature scaling and the calibration error."""

import dataclasses
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


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What validation images taught about a network's answers; the card's field `calibration`.

    Args:
        temperature: logits are divided by it, see `calibrated_probabilities`.
        power: shape of the map; 1 is temperature scaling.
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
    power: float
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
        ValueError: the card's field is damaged.
    """
    if not card.calibration:
        return None
    return dataclass_from_mapping(Calibration, card.calibration, "calibration")


def calibrated_probabilities(
    logits: Float[Tensor, "num classes"], *, temperature: float, power: float = 1.0
) -> Float[Tensor, "num classes"]:
    """Return softmax(-((max - logits) / temperature) ** power) over the classes.

    With power = 1 this is temperature scaling. A network trained with label smoothing pulls sure
    answers together, so that no temperature fits both these and the unsure ones; a power above 1
    stretches large gaps more than small ones. Either way the order of the classes stays.

    Args:
        logits: class scores.
        temperature: above 0, in units of the logits.
        power: above 0.

    Returns:
        Probabilities.
    """
    gaps = (logits.amax(dim=1, keepdim=True) - logits) / temperature
    return (-gaps.pow(power)).softmax(dim=1)


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
        logits, temperature=calibration.temperature, power=calibration.power
    )


def fit_probabilities(
    logits: Float[Tensor, "num classes"],
    labels: Int64[Tensor, " num"],
    *,
    with_power: bool = False,
) -> tuple[float, float]:
    """Fit temperature (and power) by the least cross-entropy, in float64 by L-BFGS.

    Args:
        logits: class scores of validation images.
        labels: true class indices.
        with_power: fit the power too, else it is 1.

    Returns:
        Temperature, between 0.01 and 100 times the mean gap to the best class, and power, between
        1/4 and 4. A network that is right everywhere would want a temperature of 0.
    """
    gaps = logits.double().amax(dim=1, keepdim=True) - logits.double()
    scale = gaps.mean().clamp_min(1e-12)
    # A gap of 0 (the best class) has an infinite slope under a power below 1.
    gaps = (gaps / scale).clamp_min(1e-9)
    logs = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    limits = torch.tensor([100.0, 4.0], dtype=torch.float64).log()
    optimizer = torch.optim.LBFGS(
        [logs], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def values() -> tuple[Tensor, Tensor]:
        temperature, power = (limits * torch.tanh(logs / limits)).exp()
        return temperature, power if with_power else torch.ones_like(power)

    def closure() -> Tensor:
        optimizer.zero_grad()
        temperature, power = values()
        loss = functional.cross_entropy(-(gaps / temperature).pow(power), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        temperature, power = values()
    return float(temperature * scale), float(power)


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
    """Fit a temperature, and a power where images that it was not fitted on confirm it.

    Either half of the images judges what was fitted on the other half.

    Args:
        logits: class scores of validation images.
        labels: true class indices.

    Returns:
        Temperature and power.
    """
    losses = {False: 0.0, True: 0.0}
    first = first_half(labels)
    for fitted, judging in ((first, ~first), (~first, first)):
        for with_power in losses:
            temperature, power = fit_probabilities(
                logits[fitted], labels[fitted], with_power=with_power
            )
            losses[with_power] += cross_entropy(
                calibrated_probabilities(logits[judging], temperature=temperature, power=power),
                labels[judging],
            )
    return fit_probabilities(logits, labels, with_power=losses[True] < losses[False])


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
