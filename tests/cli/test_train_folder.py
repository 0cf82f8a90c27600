"""`odevision train folder` on a folder of a few pictures, from the command line to a prediction."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from odevision.cli.train_config import read_request
from odevision.models.backbone_ode import BackboneODEConfig
from odevision.recipes.folder import plan_for
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
