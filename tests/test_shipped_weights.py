"""The trained networks that come along are small, whole, and as good as their cards say."""

import csv
from pathlib import Path

import pytest

import odevision
from odevision.data.motion import write_motion_videos
from odevision.data.video import open_video
from odevision.evaluation.evaluate import evaluate
from odevision.evaluation.predict import predict_images
from odevision.evaluation.predict_video import predict_stream
from odevision.evaluation.video_answers import (
    answer_videos,
    check_rates,
    load_test_videos,
)
from odevision.training.checkpoint import list_weights, load_checkpoint, read_card

WEIGHTS = Path(odevision.__file__).parent / "weights"


VIDEO_WEIGHTS = ("motion", "ucf5")
NUM_TESTED = {"cifar10": 10_000, "mnist": 10_000, "motion": 1_000, "ucf5": 105}


def test_those_of_videos_take_4_megabytes_at_most() -> None:
    files = [file for name in VIDEO_WEIGHTS for file in (WEIGHTS / name).iterdir()]
    assert sum(file.stat().st_size for file in files) <= 4_000_000


def test_all_weights_together_take_8_megabytes_at_most() -> None:
    assert sum(file.stat().st_size for file in WEIGHTS.rglob("*") if file.is_file()) <= 8_000_000


@pytest.mark.parametrize("name", list_weights())
def test_a_card_states_what_was_measured(name: str) -> None:
    card = read_card(WEIGHTS / name)
    assert card.metrics["test_num_samples"] == NUM_TESTED[name]
    assert 0.8 < card.metrics["test_accuracy"] <= 1
    assert (path := WEIGHTS / name / "README.md").is_file()
    assert f"{card.metrics['test_accuracy']:.2%}".replace("%", " %") in path.read_text()
    assert card.metrics["test_consistency"]
    loaded = load_checkpoint(name)
    assert loaded.takes_videos == (name in VIDEO_WEIGHTS)
    if not loaded.takes_videos:
        assert loaded.preprocessing.num_channels == card.model["in_channels"]


def test_what_comes_along_is_listed() -> None:
    assert list_weights() == sorted(NUM_TESTED)


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


def test_the_motion_network_tells_clips_at_any_rate() -> None:
    loaded = load_checkpoint("motion")
    source, labels = load_test_videos(loaded, limit=100)
    answers, _ = answer_videos(loaded, source, labels, batch_size=50)
    assert answers.accuracy >= 0.98
    for one in check_rates(loaded, source, answers, batch_size=50):
        assert one.accuracy >= answers.accuracy - 0.03, one


def test_the_motion_network_answers_real_files(tmp_path: Path) -> None:
    files = write_motion_videos(tmp_path, num=10)
    for file in files:
        with open_video(file) as source:
            prediction = predict_stream(load_checkpoint("motion"), source)
        assert prediction.label == file.parent.name


def test_the_ucf5_network_answers_untouched_videos_as_they_come(real_data: Path) -> None:
    loaded = load_checkpoint("ucf5")
    files = sorted((real_data / "ucf101" / "original").glob("*.avi"))
    right = 0
    for file in files:
        with open_video(file, cover=loaded.clip_preprocessing.size) as source:
            prediction = predict_stream(loaded, source)
        right += prediction.label == file.name.split("_")[1]
    assert len(files) == 10 and right >= 8
