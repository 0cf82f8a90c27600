import dataclasses
import json
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from odevision.evaluation.answers import Answers
from odevision.evaluation.calibration import (
    Calibration,
    calibrate_logits,
    calibrated_probabilities,
    calibration_of,
    calibration_report,
    choose_probabilities,
    expected_calibration_error,
    first_half,
    fit_probabilities,
    reliability_bins,
)
from odevision.training.checkpoint import Card

CARD = Card(model_name="x", model={}, preprocessing={}, class_names=("a", "b"), dataset="x")


def sampled(num: int, *, temperature: float, floor: float = 0.0) -> tuple[Tensor, Tensor]:
    """Logits, and labels drawn from the probabilities that the map makes of them."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(num, 5, generator=generator)
    probabilities = calibrated_probabilities(logits, temperature=temperature, floor=floor)
    return logits, torch.multinomial(probabilities, 1, generator=generator)[:, 0]


def test_no_floor_is_the_softmax_of_the_scaled_logits() -> None:
    logits = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    found = calibrated_probabilities(logits, temperature=2.5)
    torch.testing.assert_close(found, (logits / 2.5).softmax(dim=1))


@pytest.mark.parametrize("floor", [0.0, 0.01, 0.09])
def test_the_order_of_the_classes_stays(floor: float) -> None:
    logits = torch.randn(50, 10, generator=torch.Generator().manual_seed(0))
    found = calibrated_probabilities(logits, temperature=0.7, floor=floor)
    assert torch.equal(found.argsort(dim=1), logits.argsort(dim=1))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    logits, labels = sampled(20_000, temperature=temperature)
    found, floor = fit_probabilities(logits, labels)
    assert found == pytest.approx(temperature, rel=0.05)
    assert floor == 0


def test_the_fit_is_the_least_loss() -> None:
    logits, labels = sampled(2_000, temperature=2.0)
    best, _ = fit_probabilities(logits, labels)

    def loss(temperature: float) -> float:
        return float(functional.cross_entropy(logits.double() / temperature, labels))

    assert loss(best) < min(loss(0.99 * best), loss(1.01 * best))


def test_the_floor_that_made_the_labels_is_found() -> None:
    logits, labels = sampled(20_000, temperature=2.0, floor=0.05)
    temperature, floor = choose_probabilities(logits, labels)
    assert floor == pytest.approx(0.05, rel=0.1)
    assert temperature == pytest.approx(2.0, rel=0.1)


def test_label_smoothing_is_undone_where_it_was_learned_exactly() -> None:
    logits = 3 * torch.randn(500, 10, generator=torch.Generator().manual_seed(0)).double()
    truth = logits.softmax(dim=1)
    learned = (0.8 * truth + 0.02).log()
    found = calibrated_probabilities(learned, temperature=1.0, floor=0.02)
    # What is left is the rounding: 0.003 for each class that is hardly possible.
    assert (found - truth).abs().max() < 0.25 * (learned.softmax(dim=1) - truth).abs().max()


def test_without_a_floor_in_the_answers_next_to_none_is_fitted() -> None:
    logits, labels = sampled(20_000, temperature=1.5)
    _, floor = fit_probabilities(logits, labels, with_floor=True)
    assert 0 < floor < 0.002


def test_a_network_that_is_always_right_gets_a_finite_temperature() -> None:
    logits = 5 * torch.eye(10).repeat(20, 1)
    temperature, floor = choose_probabilities(logits, logits.argmax(dim=1))
    assert math.isfinite(temperature) and temperature > 0
    assert 0 <= floor < 0.1


def test_equal_logits_are_no_problem() -> None:
    temperature, _ = fit_probabilities(torch.zeros(100, 10), torch.arange(100) % 10)
    found = calibrated_probabilities(torch.zeros(3, 10), temperature=temperature, floor=0.05)
    torch.testing.assert_close(found, torch.full((3, 10), 0.1))


@pytest.mark.parametrize("labels", [[0, 1] * 10, [0] * 10 + [1] * 10, [2, 2, 0, 2, 2, 0]])
def test_both_halves_have_the_same_classes(labels: list[int]) -> None:
    tensor = torch.tensor(labels)
    first = first_half(tensor)
    counts = [torch.bincount(tensor[half], minlength=3) for half in (first, ~first)]
    assert (counts[0] - counts[1]).abs().max() <= 1


def test_calibration_lowers_the_error_of_a_network_that_is_too_sure() -> None:
    logits, labels = sampled(40_000, temperature=3.0)
    before = expected_calibration_error(logits.softmax(dim=1), labels)
    temperature, floor = choose_probabilities(logits, labels)
    after = calibrated_probabilities(logits, temperature=temperature, floor=floor)
    assert before > 0.1
    assert expected_calibration_error(after, labels) < 0.01


def test_the_error_is_the_weighted_gap_of_the_bins() -> None:
    # Three images at 0.9, of which one is right; one image at 0.6, right.
    probabilities = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    labels = torch.tensor([0, 1, 1, 1])
    expected = (3 * abs(1 / 3 - 0.9) + 1 * abs(1 - 0.6)) / 4
    assert expected_calibration_error(probabilities, labels) == pytest.approx(expected, abs=1e-6)


def test_bins_hold_every_image_once_up_to_both_ends() -> None:
    probabilities = torch.tensor([[1.0, 0.0], [0.5, 0.5], [2 / 3, 1 / 3], [1.0, 0.0]])
    bins = reliability_bins(probabilities, torch.zeros(4, dtype=torch.int64), num_bins=10)
    assert [one.num_images for one in bins] == [0, 0, 0, 0, 1, 0, 1, 0, 0, 2]
    assert math.isnan(bins[0].accuracy)
    assert bins[-1].accuracy == 1


def test_a_calibration_survives_the_card(calibration: Calibration) -> None:
    text = json.loads(dataclasses.replace(CARD, calibration=calibration.to_dict()).to_json())
    card = dataclasses.replace(CARD, calibration=text["calibration"])
    assert calibration_of(card) == calibration


def test_a_card_from_before_has_no_calibration_and_gives_the_softmax() -> None:
    assert calibration_of(CARD) is None
    logits = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(calibrate_logits(logits, None), logits.softmax(dim=1))


def test_a_damaged_calibration_is_refused_by_name(calibration: Calibration) -> None:
    damaged = {**calibration.to_dict(), "temperature": "warm"}
    with pytest.raises(ValueError, match="`calibration.temperature` must be"):
        calibration_of(dataclasses.replace(CARD, calibration=damaged))


def test_a_card_with_a_power_asks_for_another_calibration(calibration: Calibration) -> None:
    values = calibration.to_dict()
    values["power"] = values.pop("floor")
    with pytest.raises(ValueError, match="`calibration` must have a floor.*odevision calibrate"):
        calibration_of(dataclasses.replace(CARD, calibration=values))


def test_the_report_compares_before_and_after(calibration: Calibration) -> None:
    logits, labels = sampled(2_000, temperature=2.0, floor=0.02)
    answers = Answers(
        probabilities=logits.softmax(dim=1),
        logits=logits,
        labels=labels,
        loss=float(functional.cross_entropy(logits, labels)),
        nfe=0.0,
        seconds=0.0,
    )
    plain = calibration_report(answers, CARD)
    assert plain.calibrated_ece is None and plain.calibrated_loss is None
    card = dataclasses.replace(CARD, calibration=calibration.to_dict())
    report = calibration_report(answers, card)
    assert (
        report.ece
        == plain.ece
        == pytest.approx(expected_calibration_error(answers.probabilities, labels))
    )
    assert report.calibrated_ece is not None and report.calibrated_ece < report.ece
    assert report.calibrated_loss is not None and report.calibrated_loss < report.loss
    assert sum(one.num_images for one in report.calibrated_bins) == 2_000
