"""A first training, as a new user runs it, on the embedded digits: train, evaluate, draw."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def odevision(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "odevision", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.slow
def test_the_first_training_reaches_97_percent_on_the_embedded_test_images(tmp_path: Path) -> None:
    trained = odevision("train", "mnist-mini", cwd=tmp_path)
    assert "odevision evaluate runs/mnist-mini" in trained.stdout
    evaluation = json.loads(odevision("evaluate", "runs/mnist-mini", "--json", cwd=tmp_path).stdout)
    assert evaluation["num_samples"] == 1_000
    assert evaluation["num_parameters"] == 208_266
    assert evaluation["accuracy"] >= 0.97

    words = ("predict", "runs/mnist-mini", "runs/mnist-mini/examples", "--json")
    document = json.loads(odevision(*words, cwd=tmp_path).stdout)
    assert len(document["predictions"]) == 5 and document["errors"] == []

    odevision("plot", "runs/mnist-mini", "--out", "pictures", cwd=tmp_path)
    assert {file.name for file in (tmp_path / "pictures").glob("*.png")} == {
        "predictions.png",
        "training_curves.png",
        "confusion.png",
        "trajectories.png",
        "nfe.png",
    }
