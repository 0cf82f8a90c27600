"""`odevision train folder` on a folder of a few pictures, from the command line to a prediction."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from odevision.cli.train_config import read_request
from odevision.models.backbone_ode import BackboneODEConfig
from odevision.recipes.folder import plan_for
from odevision.training.batches import load_training_data
from odevision.training.checkpoint import load_checkpoint

QUICK = ("--epochs", "1", "--data.image-size", "32", "--data.batch-size", "8", "--device", "cpu")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three classes of noise about one color each, ten files to train on and two to validate on."""
    generator = np.random.default_rng(0)
    root = tmp_path / "pictures"
    for split, num in (("train", 10), ("val", 2)):
        for label, name in enumerate(("blue", "green", "red")):
            (root / split / name).mkdir(parents=True)
            for i in range(num):
                pixels = generator.integers(0, 120, (40, 48, 3), dtype=np.uint8)
                pixels[:, :, 2 - label] += 120
                PIL.Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    return root


def test_a_folder_is_trained_evaluated_and_predicted(invoke: Callable, pictures: Path) -> None:
    trained = invoke("train", "folder", "--data", pictures, *QUICK, "--out", "run")
    assert trained.code == 0, trained.err
    assert "odevision evaluate run" in trained.out
    assert load_checkpoint("run").card.class_names == ("blue", "green", "red")
    evaluated = invoke("evaluate", "run")
    assert evaluated.code == 0, evaluated.err
    predicted = invoke("predict", "run", pictures / "val" / "red" / "0.png")
    assert predicted.code == 0, predicted.err


def test_without_test_images_no_evaluation_is_proposed(invoke: Callable, pictures: Path) -> None:
    shutil.rmtree(pictures / "val")
    trained = invoke("train", "folder", "--data", pictures, *QUICK, "--out", "run")
    assert trained.code == 0, trained.err
    assert "odevision predict run" in trained.out
    assert "odevision evaluate" not in trained.out


def test_a_backbone_is_fine_tuned_from_files_with_every_augmentation(
    invoke: Callable, pictures: Path
) -> None:
    outcome = invoke(
        "train", "folder", "--data", pictures, *QUICK, "--out", "run",
        "--model.name", "backbone-ode", "--model.no-pretrained", "--model.freeze-backbone",
        "--model.backbone", "torchvision/mobilenet_v3_small",
        "--data.in-memory-bytes", "0", "--mixup-alpha", "0.2", "--cutmix-alpha", "1",
        "--data.augmentation.rand-augment", "2", "--data.augmentation.hue", "0.05",
        "--data.augmentation.crop-scale", "0.08", "1", "--data.augmentation.grayscale", "0.2",
        "--data.augmentation.blur", "0.5", "--data.augmentation.erasing", "0.25",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    loaded = load_checkpoint("run")
    assert isinstance(loaded.model.config, BackboneODEConfig)
    assert loaded.card.model["backbone"] == "torchvision/mobilenet_v3_small"


def test_a_damaged_image_found_on_the_way_stops_a_run_that_goes_on(
    invoke: Callable, pictures: Path
) -> None:
    words = (
        "train", "folder", "--data", pictures, *QUICK, "--data.in-memory-bytes", "0",
        # The recipe's own network looks at the images before the run begins.
        "--model.name", "backbone-ode", "--model.no-pretrained",
        "--model.backbone", "torchvision/mobilenet_v3_small",
    )  # fmt: skip
    broken = sorted((pictures / "train" / "red").iterdir())
    whole = {path: path.read_bytes() for path in broken}
    for path in broken:  # the header stays good
        path.write_bytes(whole[path][: len(whole[path]) // 2])
    outcome = invoke(*words, "--out", "run")
    assert outcome.code == 2
    assert "The run is saved" in outcome.err and "under the same name, then" in outcome.err
    for path in broken:
        path.write_bytes(whole[path])
    resumed = invoke("train", "folder", "--out", "run", "--resume")
    assert resumed.code == 0, resumed.err


def test_pretrained_weights_see_images_as_they_are_used_to(pictures: Path) -> None:
    pytest.importorskip("timm")
    words = [
        "folder", "--data", str(pictures), "--data.image-size", "32", "--data.batch-size", "8",
        "--model.name", "backbone-ode", "--model.backbone", "timm/tf_efficientnetv2_s.in1k",
    ]  # fmt: skip
    for more, mean in (([], 0.5), (["--model.no-pretrained"], 0.485)):
        config = read_request([*words, *more], description="").config
        data = load_training_data(config, torch.device("cpu"))
        assert data.preprocessing.mean[0] == mean
        images, _ = next(iter(data.validation.epoch(0)))
        assert images.min() >= -mean / data.preprocessing.std[0] - 1e-6


def test_a_config_file_scales_the_network_to_its_image_size(pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "size.yaml"
    file.write_text("data: {image_size: 224}\n")
    words = ["folder", "--data", str(pictures), "--config", str(file)]
    for more, size in (([], 224), (["--data.image-size", "32"], 32)):
        config = read_request([*words, *more], description="").config
        assert config.data.image_size == size and config.model.widths == plan_for(size).widths


def test_photos_are_predicted_as_they_were_validated(invoke: Callable, pictures: Path) -> None:
    assert invoke("train", "folder", "--data", pictures, *QUICK, "--out", "run").code == 0
    photo = pictures / "large.png"
    PIL.Image.new("RGB", (300, 200)).save(photo)
    for more, num in ((), 1), (("--crops", "3"), 3):
        outcome = invoke("predict", "run", photo, "--json", *more)
        assert json.loads(outcome.out)["predictions"][0]["num_crops"] == num


def test_the_network_grows_with_the_image_size(pictures: Path) -> None:
    words = ["folder", "--data", str(pictures)]
    for size in (32, 64, 224):
        config = read_request([*words, f"--data.image-size={size}"], description="").config
        assert config.data.image_size == size
        assert config.model.widths == plan_for(size).widths
        assert config.model.num_classes == 3
    assert read_request(words, description="").config.data.image_size == 64


def test_without_a_folder_the_recipe_asks_for_one(invoke: Callable) -> None:
    outcome = invoke("train", "folder")
    assert outcome.code == 2
    assert "`--data` is missing" in outcome.err


def test_the_help_of_the_recipe_needs_no_folder(invoke: Callable) -> None:
    outcome = invoke("train", "folder", "--help")
    assert outcome.code == 0
    assert "--data.augmentation.crop-scale" in outcome.out


@pytest.mark.parametrize("size", ["4", "many"])
def test_an_impossible_image_size_is_refused(invoke: Callable, pictures: Path, size: str) -> None:
    outcome = invoke("train", "folder", "--data", pictures, "--data.image-size", size)
    assert outcome.code == 2
    assert "image" in outcome.err and "Traceback" not in outcome.err
