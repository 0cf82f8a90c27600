import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from odevision.data.sources import load_split
from odevision.evaluation.calibrate import (
    MIN_IMAGES,
    calibrate,
    choose_thresholds,
    fit_calibration,
    load_validation_images,
    write_calibration,
)
from odevision.evaluation.calibration import calibration_of
from odevision.evaluation.other_images import load_other_images
from odevision.evaluation.unknown import CENTERS_FILE, Outputs
from odevision.training.checkpoint import (
    LoadedModel,
    load_checkpoint,
    save_checkpoint,
    stored_weights,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def clusters(num: int, *, seed: int) -> tuple[Outputs, Tensor]:
    """Features around four directions; the logits know the class in most cases."""
    labels = torch.arange(num) % 4
    features = 6 * torch.eye(4, 8)[labels] + normal(num, 8, seed=seed)
    return Outputs(logits=features[:, :4] + 2 * normal(num, 4, seed=seed + 1), features=features), (
        labels
    )


@pytest.fixture
def copied(loaded: LoadedModel, tmp_path: Path) -> LoadedModel:
    """The untrained network in a folder of its own, its held-out part on the card."""
    card = dataclasses.replace(loaded.card, validation_fraction=0.05)
    weights = stored_weights(loaded.model)
    return load_checkpoint(save_checkpoint(tmp_path / "run", weights=weights, card=card))


@pytest.mark.parametrize("kept_share", [0.9, 0.95, 1.0])
def test_the_thresholds_keep_the_share_together(kept_share: float) -> None:
    probabilities = (2 * normal(1_000, 5)).softmax(dim=1)
    labels = torch.multinomial(
        probabilities, 1, generator=torch.Generator().manual_seed(1)
    ).flatten()
    scores = normal(1_000, seed=2)
    found = choose_thresholds(probabilities, labels, scores, kept_share=kept_share)
    assert found.kept_share == pytest.approx(kept_share, abs=1e-9)
    passing = probabilities.amax(dim=1) >= found.min_probability
    # The probability gives up half of it, the score the rest.
    assert float(passing.double().mean()) == pytest.approx((1 + kept_share) / 2, abs=2e-3)
    kept = passing & (scores >= found.score)
    assert float(kept.double().mean()) == found.kept_share
    right = probabilities.argmax(dim=1) == labels
    assert found.kept_accuracy == pytest.approx(float(right[kept].double().mean()))


def test_a_probability_of_one_half_is_asked_for_where_answers_are_right_enough() -> None:
    probabilities = (9 * normal(400, 5)).softmax(dim=1)
    assert int((probabilities.amax(dim=1) < 0.5).sum()) < 10
    found = choose_thresholds(probabilities, probabilities.argmax(dim=1), normal(400, seed=2))
    assert found.min_probability == 0.5
    assert found.kept_share == 0.95
    assert found.kept_accuracy == 1


def test_the_probability_is_raised_until_answers_are_right_enough() -> None:
    # The 8 least probable of 1,000 answers are wrong, and so are 15 of the others.
    confidence = torch.linspace(0.55, 0.95, 1_000)
    probabilities = torch.stack([confidence, 1 - confidence], dim=1)
    labels = torch.zeros(1_000).long()
    labels[:8] = 1
    labels[-15:] = 1
    found = choose_thresholds(probabilities, labels, normal(1_000, seed=2))
    assert float(confidence[2]) < found.min_probability < float(confidence[6])
    assert found.elsewhere_min_probability == found.min_probability


def test_pictures_from_elsewhere_need_what_makes_answers_right_up_to_the_median() -> None:
    confidence = torch.linspace(0.55, 0.95, 1_000)
    probabilities = torch.stack([confidence, 1 - confidence], dim=1)
    labels = torch.zeros(1_000).long()
    labels[:200] = 1
    found = choose_thresholds(probabilities, labels, normal(1_000, seed=2))
    assert found.min_probability == float(confidence[25])  # half of 5 %
    assert float(confidence[170]) < found.elsewhere_min_probability <= float(confidence[200])
    never = choose_thresholds(probabilities, torch.ones(1_000).long(), normal(1_000, seed=2))
    assert never.elsewhere_min_probability == float(confidence[500])


def test_other_sizes_are_nothing_special_where_training_images_had_any() -> None:
    outputs, labels = clusters(400, seed=0)
    fitted = [
        fit_calibration(outputs, labels, {}, solver={}, is_one_size=is_one_size)[0]
        for is_one_size in (True, False)
    ]
    assert fitted[0].elsewhere_min_probability > fitted[0].min_probability
    assert fitted[1].elsewhere_min_probability == fitted[1].min_probability


def test_equal_scores_keep_all() -> None:
    probabilities = torch.tensor([[0.9, 0.1]]).repeat(200, 1)
    found = choose_thresholds(probabilities, torch.zeros(200).long(), torch.ones(200))
    assert found.kept_share == 1


def test_a_share_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="`kept_share` must be above 0 and at most 1, got 0.0"):
        choose_thresholds(
            torch.ones(2, 2) / 2, torch.zeros(2).long(), torch.ones(2), kept_share=0.0
        )


def test_the_score_that_tells_the_hardest_set_best_is_chosen() -> None:
    inside, labels = clusters(400, seed=0)
    # Large logits, so that the energy takes them for known, but features of no class.
    features = torch.cat([torch.zeros(200, 4), 6 + normal(200, 4, seed=7)], dim=1)
    strange = Outputs(logits=30 * torch.eye(4).repeat(50, 1), features=features)
    dull = Outputs(logits=0.1 * normal(200, 4, seed=9), features=features)
    calibration, centers = fit_calibration(
        inside, labels, {"strange": strange, "dull": dull}, solver={"solver": "rk4"}
    )
    assert calibration.unknown_score == "feature"
    assert centers is not None and centers.shape == (4, 8)
    assert calibration.auroc["feature"]["strange"] > 0.95
    assert calibration.auroc["energy"]["strange"] < 0.5
    assert calibration.solver == {"solver": "rk4"}
    assert calibration.kept_share == pytest.approx(0.95, abs=0.005)
    assert calibration.kept_accuracy > float(
        (inside.logits.argmax(dim=1) == labels).double().mean()
    )


def test_without_other_pictures_it_is_the_energy() -> None:
    calibration, centers = fit_calibration(*clusters(200, seed=0), {}, solver={})
    assert calibration.unknown_score == "energy"
    assert centers is None


def test_features_too_large_to_store_are_not_offered() -> None:
    outputs, labels = clusters(200, seed=0)
    wide = Outputs(logits=outputs.logits, features=normal(200, 30_000))
    calibration, centers = fit_calibration(wide, labels, {"same": wide}, solver={})
    assert set(calibration.auroc) == {"probability", "energy"}
    assert centers is None


def test_a_calibration_is_written_whole_and_read_again(copied: LoadedModel) -> None:
    weights = (copied.path / "weights.safetensors").read_bytes()
    validation = load_validation_images(copied, limit=120)
    textures = load_other_images(copied, "textures", for_testing=False, limit=40)
    found = calibrate(copied, validation, [textures])
    written = write_calibration(copied, found)
    again = load_checkpoint(copied.path)
    assert calibration_of(again.card) == calibration_of(written.card) == found.calibration
    assert (copied.path / "weights.safetensors").read_bytes() == weights
    assert (copied.path / CENTERS_FILE).exists() == (found.centers is not None)
    assert [path.name for path in copied.path.parent.iterdir()] == [copied.path.name]


def test_solver_settings_given_on_loading_are_not_written(copied: LoadedModel) -> None:
    fine = load_checkpoint(copied.path, num_steps=5)
    write_calibration(fine, calibrate(fine, load_validation_images(fine, limit=100)))
    card = load_checkpoint(copied.path).card
    assert card.solver["num_steps"] == 2
    assert card.calibration["solver"]["num_steps"] == 5


def test_a_calibration_without_centers_removes_those_of_an_earlier_one(
    copied: LoadedModel,
) -> None:
    (copied.path / CENTERS_FILE).write_bytes(b"old")
    write_calibration(copied, calibrate(copied, load_validation_images(copied, limit=100)))
    assert not (copied.path / CENTERS_FILE).exists()


def test_the_held_out_images_are_those_of_the_training(copied: LoadedModel) -> None:
    expected = load_split("mnist-mini", "validation", validation_fraction=0.05).images
    found = load_validation_images(copied).images
    assert expected is not None and found is not None
    assert torch.equal(found, expected)


def test_another_part_than_was_held_out_is_refused(copied: LoadedModel) -> None:
    with pytest.raises(ValueError, match=r"`validation_fraction` must be what .* 0.05, got 0.2"):
        load_validation_images(copied, validation_fraction=0.2)


def test_an_unknown_part_must_be_given(loaded: LoadedModel) -> None:
    with pytest.raises(ValueError, match="`validation_fraction` must be given"):
        load_validation_images(loaded)
    assert len(load_validation_images(loaded, validation_fraction=0.02)) == 100


def test_too_few_images_are_refused(copied: LoadedModel) -> None:
    few = load_validation_images(copied, limit=MIN_IMAGES - 1)
    with pytest.raises(ValueError, match=f"{MIN_IMAGES} validation images or more, got 99"):
        calibrate(copied, few)


def test_two_folders_that_end_alike_are_two_sets(copied: LoadedModel) -> None:
    images = load_validation_images(copied)
    others = [dataclasses.replace(images, name=f"{parent}/other") for parent in ("a", "b")]
    found = calibrate(copied, images, others)
    assert set(found.calibration.auroc["energy"]) == {"a/other", "b/other"}
