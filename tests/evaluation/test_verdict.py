import dataclasses

import pytest
import torch

from odevision.evaluation.calibration import Calibration
from odevision.evaluation.verdict import judge, judge_all

NAMES = ("cat", "dog", "ship")
SURE = torch.tensor([[0.9, 0.08, 0.02], [0.8, 0.1, 0.1]])


def test_crops_are_averaged(calibration: Calibration) -> None:
    verdict = judge(SURE, torch.tensor([0.9, 0.8]), calibration, NAMES)
    torch.testing.assert_close(verdict.probabilities, torch.tensor([0.85, 0.09, 0.06]))
    assert verdict.score == pytest.approx(0.8)
    assert verdict.reason is None


def test_a_low_score_is_a_reason_in_words(calibration: Calibration) -> None:
    verdict = judge(SURE, torch.tensor([0.6, 0.5]), calibration, NAMES)
    assert verdict.reason == "looks like none of the 3 classes (feature 0.5 < 0.7)"


def test_crops_that_disagree_are_a_reason(calibration: Calibration) -> None:
    probabilities = torch.tensor([[0.95, 0.05, 0.0], [0.3, 0.7, 0.0], [0.1, 0.2, 0.7]])
    verdict = judge(probabilities, torch.ones(3), calibration, NAMES)
    assert verdict.reason == "the crops disagree (1 of 3 say cat)"


def test_a_low_probability_is_a_reason(calibration: Calibration) -> None:
    verdict = judge(torch.tensor([[0.36, 0.34, 0.3]]), torch.ones(1), calibration, NAMES)
    assert verdict.reason == "no class is probable enough (cat 36.0% < 40.0%)"


def test_a_picture_from_elsewhere_needs_more(calibration: Calibration) -> None:
    probabilities = torch.tensor([[0.55, 0.3, 0.15]])
    own, elsewhere = (
        judge(probabilities, torch.ones(1), calibration, NAMES, is_elsewhere=is_elsewhere)
        for is_elsewhere in (False, True)
    )
    assert own.reason is None
    assert elsewhere.reason == "no class is probable enough (cat 55.0% < 60.0%)"


def test_an_image_on_the_thresholds_gets_an_answer(calibration: Calibration) -> None:
    exact = dataclasses.replace(calibration, unknown_threshold=0.75, min_probability=0.5)
    probabilities = torch.tensor([[0.5, 0.25, 0.25]])
    assert judge(probabilities, torch.tensor([0.75]), exact, NAMES).reason is None


def test_without_a_calibration_there_is_never_a_reason() -> None:
    verdict = judge(torch.tensor([[0.34, 0.33, 0.33], [0.1, 0.8, 0.1]]), None, None, NAMES)
    assert verdict.reason is None and verdict.score is None


def test_pictures_are_told_apart_by_their_counts(calibration: Calibration) -> None:
    both = torch.cat([SURE, torch.tensor([[0.1, 0.1, 0.8]])])
    verdicts = judge_all(
        both, torch.tensor([0.9, 0.9, 0.1]), [2, 1], calibration, NAMES, are_elsewhere=[False, True]
    )
    assert [int(verdict.probabilities.argmax()) for verdict in verdicts] == [0, 2]
    assert [verdict.reason is None for verdict in verdicts] == [True, False]
    plain = judge_all(both, None, [2, 1], None, NAMES, are_elsewhere=[False, True])
    assert [verdict.score for verdict in plain] == [None, None]
