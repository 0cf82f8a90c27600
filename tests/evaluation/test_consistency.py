from typing import Any

import pytest
import torch

from odevision.data.sources import load_split
from odevision.evaluation import consistency
from odevision.evaluation.answers import answer_split
from odevision.evaluation.consistency import check_consistency, logit_distances, solver_variants
from odevision.training.checkpoint import LoadedModel


def test_constant_steps_are_compared_with_two_and_four_times_as_many() -> None:
    variants = solver_variants({"solver": "rk4", "num_steps": 3, "rtol": 1e-3, "atol": 1e-3})
    assert variants["4x the steps"] == {"solver": "rk4", "num_steps": 12}
    assert variants["2x the steps"] == {"solver": "rk4", "num_steps": 6}
    assert variants["dopri5 at 1e-05"]["solver"] == "dopri5"


def test_adaptive_steps_are_compared_with_a_tighter_tolerance() -> None:
    variants = solver_variants({"solver": "dopri5", "num_steps": None, "rtol": 1e-3, "atol": 1e-2})
    assert variants["100x tighter tolerance"] == {"solver": "dopri5", "rtol": 1e-5, "atol": 1e-4}
    assert "tsit5 at 1e-05" in variants


def test_a_model_without_ode_has_no_variants() -> None:
    assert solver_variants({}) == {}


def test_an_ode_that_is_solved_well_keeps_its_answers(loaded: LoadedModel) -> None:
    split = load_split("mnist-mini", "test", limit=12)
    answers = answer_split(loaded, split)
    variants = check_consistency(loaded, split, answers)
    assert [variant.solver["solver"] for variant in variants] == ["midpoint", "dopri5", "midpoint"]
    assert all(variant.largest_change < 0.05 for variant in variants)
    four, reference, two = variants
    assert 0 < two.mean_logit_distance < four.mean_logit_distance <= four.largest_logit_distance
    # The finer solve lies closer to the reference, so both are about as far from the coarse one.
    assert four.mean_logit_distance == pytest.approx(reference.mean_logit_distance, rel=0.2)
    assert four.accuracy_change == pytest.approx(four.accuracy - answers.accuracy)


def test_distances_are_in_units_of_the_scores() -> None:
    logits = torch.tensor([[3.0, 4.0], [0.0, 5.0]])
    others = torch.tensor([[3.0, 4.0], [0.0, 4.5]])
    assert logit_distances(logits, others).tolist() == pytest.approx([0.0, 0.1])
    assert logit_distances(7 * logits, 7 * others).tolist() == pytest.approx([0.0, 0.1])


def test_constant_steps_of_the_reference_method_are_compared_with_its_adaptive_ones() -> None:
    solver = {"solver": "dopri5", "num_steps": 2, "rtol": 1e-3, "atol": 1e-3}
    assert solver_variants(solver)["dopri5 at 1e-05"]["rtol"] == 1e-5


def test_workers_are_passed_on(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    split = load_split("mnist-mini", "test", limit=4)
    answers = answer_split(loaded, split)
    given: list[int] = []

    def answer(*_: Any, num_workers: int, **__: Any) -> Any:
        given.append(num_workers)
        return answers

    monkeypatch.setattr(consistency, "answer_split", answer)
    check_consistency(loaded, split, answers, num_workers=3)
    assert given == [3, 3, 3]
