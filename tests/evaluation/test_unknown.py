from pathlib import Path

import PIL.Image
import pytest
import torch
from torch import Tensor, nn

from odevision.data.sources import load_split
from odevision.evaluation.answers import class_logits
from odevision.evaluation.other_images import default_other_sets, load_other_images
from odevision.evaluation.unknown import (
    UNKNOWN_SCORES,
    Outputs,
    auroc,
    centers_to_bytes,
    class_centers,
    last_linear,
    model_outputs,
    outputs_of_set,
    read_centers,
    scores_of_set,
    unknown_scores,
)
from odevision.training.checkpoint import CheckpointError, LoadedModel


def draws(num: int, seed: int) -> Tensor:
    return torch.randn(num, generator=torch.Generator().manual_seed(seed))


def test_auroc_counts_the_pairs_in_the_right_order() -> None:
    inside, outside = draws(60, 0) + 1, draws(40, 1)
    pairs = (inside[:, None] > outside[None]).double().mean()
    assert auroc(inside, outside) == pytest.approx(float(pairs))


def test_auroc_of_equal_scores_is_one_half() -> None:
    assert auroc(torch.ones(5), torch.ones(7)) == 0.5
    assert auroc(torch.tensor([1.0, 2.0]), torch.tensor([1.0])) == 0.75


def test_auroc_mirrors_when_the_sets_change_places() -> None:
    inside, outside = draws(30, 0), draws(50, 1).round(decimals=1)
    assert auroc(inside, outside) == pytest.approx(1 - auroc(outside, inside))


def test_features_are_what_enters_the_last_linear_layer(loaded: LoadedModel) -> None:
    images = load_split("mnist-mini", "test", limit=6).images
    assert images is not None
    outputs = model_outputs(loaded.model, loaded.preprocessing.normalize(images))
    layer = last_linear(loaded.model)
    assert layer is not None
    with torch.no_grad():
        torch.testing.assert_close(layer(outputs.features), outputs.logits)
    torch.testing.assert_close(outputs.logits, class_logits(loaded, images))


def test_a_network_without_a_linear_layer_has_its_logits_as_features() -> None:
    outputs = model_outputs(nn.Flatten(), torch.ones(2, 1, 3, 1))
    assert torch.equal(outputs.features, outputs.logits)


def test_mirrored_outputs_do_not_depend_on_the_side(loaded: LoadedModel) -> None:
    split = load_split("mnist-mini", "test", limit=4)
    assert split.images is not None
    images = loaded.preprocessing.normalize(split.images)
    one, other = (
        model_outputs(loaded.model, pictures, mirror=True) for pictures in (images, images.flip(3))
    )
    torch.testing.assert_close(one.logits, other.logits)
    torch.testing.assert_close(one.features, other.features)


def test_a_set_is_answered_in_order_whatever_the_batches(loaded: LoadedModel) -> None:
    split = load_split("mnist-mini", "test", limit=20)
    whole, parts = (outputs_of_set(loaded, split, batch_size=size) for size in (20, 6))
    torch.testing.assert_close(whole.logits, parts.logits)
    torch.testing.assert_close(whole.features, parts.features)


def test_a_class_center_is_the_direction_of_its_mean() -> None:
    features = torch.tensor([[2.0, 0.0], [4.0, 0.0], [0.0, 5.0]])
    centers = class_centers(features, torch.tensor([0, 0, 2]), 3)
    torch.testing.assert_close(centers, torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]))


def test_the_energy_is_the_formula() -> None:
    outputs = Outputs(logits=torch.tensor([[1.0, 2.0]]), features=torch.zeros(1, 2))
    found = unknown_scores(outputs, outputs.logits.softmax(dim=1), score="energy", temperature=2.0)
    torch.testing.assert_close(found, 2 * torch.tensor([0.5, 1.0]).exp().sum().log()[None])


@pytest.mark.parametrize("score", UNKNOWN_SCORES)
def test_every_score_is_high_for_what_the_network_knows(score: str) -> None:
    known = torch.tensor([[4.0, 0.0, 0.0], [0.0, 5.0, 0.0]])
    strange = torch.tensor([[0.1, 0.1, 0.1], [-1.0, -1.0, -0.9]])
    scores = [
        unknown_scores(
            Outputs(logits=logits, features=logits),
            logits.softmax(dim=1),
            score=score,
            centers=torch.eye(3),
        )
        for logits in (known, strange)
    ]
    assert scores[0].min() > scores[1].max()


def test_a_score_that_does_not_exist_or_lacks_its_centers_is_refused() -> None:
    outputs = Outputs(logits=torch.zeros(1, 2), features=torch.zeros(1, 2))
    for score, message in (("entropy", "`score` must be one of"), ("feature", "`centers` must be")):
        with pytest.raises(ValueError, match=message):
            unknown_scores(outputs, outputs.logits, score=score)


def test_centers_survive_their_file_and_damage_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="feature_centers.safetensors is missing"):
        read_centers(tmp_path)
    centers = class_centers(draws(60, 0).view(20, 3), torch.arange(20) % 4, 4)
    file = tmp_path / "feature_centers.safetensors"
    file.write_bytes(centers_to_bytes(centers))
    torch.testing.assert_close(read_centers(tmp_path), centers, rtol=0, atol=1e-3)
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(CheckpointError, match="Cannot read .*feature_centers"):
        read_centers(tmp_path)


def test_auroc_of_a_set_against_itself_is_chance_and_of_others_that_of_their_scores(
    loaded: LoadedModel,
) -> None:
    digits = load_split("mnist-mini", "test", limit=40)
    textures = load_other_images(loaded, "textures", limit=40)
    of_digits, of_textures = (scores_of_set(loaded, one) for one in (digits, textures))
    assert auroc(of_digits, of_digits) == pytest.approx(0.5)
    wins = (of_digits[:, None] > of_textures).double() + (of_digits[:, None] == of_textures) / 2
    assert auroc(of_digits, of_textures) == pytest.approx(float(wins.mean()), abs=1e-9)


def test_a_network_for_digits_is_not_tried_on_digits(loaded: LoadedModel) -> None:
    assert default_other_sets(loaded) == ("textures",)


def test_other_images_fit_the_network(loaded: LoadedModel, tmp_path: Path) -> None:
    for index in range(5):
        PIL.Image.new("RGB", (50, 40), (40 * index, 0, 0)).save(tmp_path / f"{index}.png")
    folder = load_other_images(loaded, tmp_path, limit=3)
    assert folder.images is not None and folder.images.shape == (3, 1, 28, 28)
    assert len(load_other_images(loaded, "mnist-mini", limit=7)) == 7


def test_training_and_test_pictures_differ(loaded: LoadedModel) -> None:
    for name in ("textures", "mnist-mini"):
        found = [
            load_other_images(loaded, name, for_testing=testing, limit=16).images
            for testing in (False, True)
        ]
        assert found[0] is not None and found[1] is not None
        assert not torch.equal(found[0], found[1])


@pytest.mark.parametrize(
    ("name", "limit", "field"), [("nowhere", 5, "ood"), ("textures", 0, "limit")]
)
def test_what_is_not_there_is_refused(
    name: str, limit: int, field: str, loaded: LoadedModel
) -> None:
    with pytest.raises(ValueError, match=f"`{field}` must be"):
        load_other_images(loaded, name, limit=limit)
