"""The trained networks that come along are small, whole, and as good as their cards say."""

import csv
from pathlib import Path

import pytest

import odevision
from odevision.data.preprocessing import Preprocessing
from odevision.evaluation.evaluate import evaluate
from odevision.evaluation.predict import predict_images
from odevision.training.checkpoint import list_weights, load_checkpoint, read_card

WEIGHTS = Path(odevision.__file__).parent / "weights"


def test_all_weights_together_take_8_megabytes_at_most() -> None:
    assert sum(file.stat().st_size for file in WEIGHTS.rglob("*") if file.is_file()) <= 8_000_000


@pytest.mark.parametrize("name", list_weights())
def test_a_card_states_what_was_measured(name: str) -> None:
    card = read_card(WEIGHTS / name)
    assert card.metrics["test_num_samples"] == 10_000
    assert 0.9 < card.metrics["test_accuracy"] < 1
    assert (path := WEIGHTS / name / "README.md").is_file()
    assert f"{card.metrics['test_accuracy']:.2%}".replace("%", " %") in path.read_text()
    assert card.metrics["test_consistency"]
    assert Preprocessing.from_dict(card.preprocessing).num_channels == card.model["in_channels"]


def test_both_networks_come_along() -> None:
    assert {"cifar10", "mnist"} <= set(list_weights())


def test_the_digits_network_knows_digits_it_was_not_trained_on() -> None:
    evaluation = evaluate(load_checkpoint("mnist"), data="mnist-mini", limit=200)
    assert evaluation.accuracy >= 0.98


def test_the_digits_network_gives_the_same_answers_with_four_times_the_steps() -> None:
    coarse = evaluate(load_checkpoint("mnist"), data="mnist-mini", limit=200)
    fine = evaluate(load_checkpoint("mnist", num_steps=4), data="mnist-mini", limit=200)
    assert fine.nfe == 4 * coarse.nfe
    assert abs(fine.accuracy - coarse.accuracy) <= 0.01


def test_the_photo_network_names_photos_from_elsewhere_or_says_unknown(real_data: Path) -> None:
    with open(real_data / "photos" / "labels.csv", newline="") as file:
        truth = {row["file"]: row["cifar10_class"] for row in csv.DictReader(file)}
    predictions, errors = predict_images(
        load_checkpoint("cifar10"), [real_data / "photos" / name for name in truth]
    )
    assert not errors
    right = sum(one.label == truth[Path(one.path).name] for one in predictions)
    unknown = sum(one.unknown for one in predictions)
    assert right >= 5
    assert right + unknown >= len(truth) - 1


def test_the_photo_network_reaches_its_accuracy_on_real_photos(real_data: Path) -> None:
    from PIL import Image

    labels = (real_data / "cifar10" / "labels.u8").read_bytes()[50_000:50_200]
    loaded = load_checkpoint("cifar10")
    with Image.open(real_data / "cifar10" / "test_batch.webp") as sheet:
        boxes = [(x % 100 * 32, x // 100 * 32) for x in range(200)]
        images = [sheet.convert("RGB").crop((x, y, x + 32, y + 32)) for x, y in boxes]
    import torch

    pixels = torch.stack([loaded.preprocessing.to_uint8(image) for image in images])
    with torch.inference_mode():
        answers = loaded.model(loaded.preprocessing.normalize(pixels)).argmax(1).tolist()
    right = sum(answer == label for answer, label in zip(answers, labels, strict=True))
    assert right / 200 >= 0.89
