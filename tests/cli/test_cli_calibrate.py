import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from odevision.data.sources import load_split
from odevision.evaluation.examples import write_examples
from odevision.training.checkpoint import find_checkpoint, load_checkpoint, read_card


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of the run, so that its calibration stays here."""
    return Path(shutil.copytree(trained_run, tmp_path / "run"))


def test_calibrate_writes_the_card_and_prints_what_it_found(run: Path, invoke: Callable) -> None:
    outcome = invoke("calibrate", run)
    assert outcome.code == 0, outcome.err
    assert "validation images" in outcome.out and "(chosen)" in outcome.out
    card = load_checkpoint(run).card
    assert card.validation_fraction == 0.1
    assert card.calibration["num_images"] == 500
    assert card.calibration["kept_share"] == pytest.approx(0.95, abs=0.01)
    assert card.calibration["loss_after"] <= card.calibration["loss_before"]


def test_the_document_holds_the_calibration(run: Path, invoke: Callable) -> None:
    document = json.loads(invoke("calibrate", run, "--limit", "120", "--json").out)
    path = Path(document.pop("checkpoint"))
    assert document == json.loads((path / "card.json").read_text())["calibration"]
    assert document["num_images"] == 120


def test_a_run_from_before_takes_the_held_out_part_from_its_config(
    run: Path, invoke: Callable
) -> None:
    path = load_checkpoint(run).path
    values = json.loads((path / "card.json").read_text())
    del values["validation_fraction"], values["calibration"]
    (path / "card.json").write_text(json.dumps(values))
    outcome = invoke("calibrate", run)
    assert outcome.code == 0, outcome.err
    assert read_card(path).calibration["num_images"] == 500


@pytest.fixture
def able(tmp_path: Path) -> Path:
    """The shipped network for digits as if it had been trained on the embedded ones."""
    folder = Path(shutil.copytree(find_checkpoint("mnist"), tmp_path / "able"))
    card = dataclasses.replace(read_card(folder), dataset="mnist-mini", validation_fraction=0.1)
    (folder / "card.json").write_text(dataclasses.replace(card, calibration={}).to_json())
    return folder


def test_predict_then_says_unknown_with_the_reason_and_can_be_told_not_to(
    able: Path, invoke: Callable, tmp_path: Path
) -> None:
    digits = write_examples(load_split("mnist-mini", "test", limit=4), tmp_path / "digits")
    stripes = np.tile(np.array([0, 255], dtype=np.uint8).repeat(2), (28, 7))
    PIL.Image.fromarray(stripes).save(tmp_path / "stripes.png")
    assert invoke("calibrate", able, "--ood", "textures").code == 0
    outcome = invoke("predict", able, *digits, tmp_path / "stripes.png", "--json")
    assert "not calibrated" not in outcome.err
    *known, strange = json.loads(outcome.out)["predictions"]
    assert [prediction["label"] for prediction in known] == [
        path.stem.split("-")[-1] for path in digits
    ]
    assert strange["unknown"] and strange["label"] == "unknown"
    assert strange["reason"] and strange["best_label"] == strange["top"][0][0]
    table = invoke("predict", able, tmp_path / "stripes.png").out
    assert "unknown" in table and "why unknown" in table
    bold = invoke("predict", able, tmp_path / "stripes.png", "--no-abstain", "--json")
    (named,) = json.loads(bold.out)["predictions"]
    assert named["label"] == strange["best_label"] and not named["unknown"]


def test_other_solver_settings_than_the_calibrations_are_noted(
    run: Path, invoke: Callable, tmp_path: Path
) -> None:
    digits = write_examples(load_split("mnist-mini", "test", limit=1), tmp_path / "digits")
    assert invoke("calibrate", run, "--limit", "100").code == 0
    assert "other solver settings" in invoke("predict", run, *digits, "--num-steps", "3").err
    assert "other solver settings" not in invoke("predict", run, *digits).err


def test_the_reliability_diagram_is_drawn_on_request(
    run: Path, invoke: Callable, tmp_path: Path
) -> None:
    assert invoke("calibrate", run, "--limit", "100", "--plot").code == 0
    assert (run / "plots" / "reliability.png").stat().st_size > 10_000
    assert invoke("calibrate", run, "--limit", "100", "--plot", "--out", tmp_path / "x").code == 0
    assert (tmp_path / "x" / "reliability.png").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "x"], "add --plot"),
        (["--limit", "50"], "100 validation images or more, got 50"),
        (["--validation-fraction", "0.3"], "must be what the model was trained with"),
        (["--ood", "nowhere"], "`ood` must be `textures`"),
    ],
)
def test_what_cannot_be_done_is_explained_and_changes_nothing(
    words: list[str], message: str, run: Path, invoke: Callable
) -> None:
    path = load_checkpoint(run).path
    before = (path / "card.json").read_bytes()
    outcome = invoke("calibrate", run, *words)
    assert outcome.code == 2
    assert message in outcome.err
    assert (path / "card.json").read_bytes() == before
