import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from odevision.data.sources import load_split
from odevision.evaluation.answers import class_probabilities
from odevision.training.checkpoint import load_checkpoint


def test_the_document_has_what_the_contract_names(trained_run: Path, execute: Callable) -> None:
    outcome = execute("evaluate", trained_run, "--limit", "50", "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert 0 <= document["accuracy"] <= 1
    assert document["loss"] > 0
    assert document["num_samples"] == 50
    assert document["num_parameters"] == 13_674
    assert document["nfe"] == 2
    assert all(0 <= accuracy <= 1 for accuracy in document["per_class"].values())
    assert sum(map(sum, document["confusion_matrix"])) == 50
    assert document["data"] == "mnist-mini"
    assert document["solver"]["solver"] == "midpoint"


def test_accuracy_and_loss_are_those_of_the_network(trained_run: Path, invoke: Callable) -> None:
    document = json.loads(invoke("evaluate", trained_run, "--limit", "64", "--json").out)
    loaded = load_checkpoint(trained_run)
    split = load_split("mnist-mini", "test", limit=64)
    assert split.images is not None
    probabilities = class_probabilities(loaded, split.images)
    right = (probabilities.argmax(dim=1) == split.labels).float().mean()
    loss = torch.nn.functional.nll_loss(probabilities.log(), split.labels)
    assert document["accuracy"] == pytest.approx(float(right))
    assert document["loss"] == pytest.approx(float(loss), rel=1e-5)


def test_the_batch_size_does_not_matter_with_constant_steps(
    trained_run: Path, invoke: Callable
) -> None:
    words = ("evaluate", trained_run, "--limit", "60", "--json", "--batch-size")
    one, other = (json.loads(invoke(*words, size).out) for size in ("60", "7"))
    assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
    assert one["confusion_matrix"] == other["confusion_matrix"]


def test_the_table_shows_accuracy_and_classes(trained_run: Path, invoke: Callable) -> None:
    outcome = invoke("evaluate", trained_run, "--limit", "50")
    assert outcome.code == 0
    assert "accuracy" in outcome.out
    assert "13,674" in outcome.out


def test_a_checkpoint_directory_is_a_model_too(trained_run: Path, invoke: Callable) -> None:
    checkpoint = max((trained_run / "checkpoints").iterdir())
    document = json.loads(invoke("evaluate", checkpoint, "--limit", "10", "--json").out)
    assert document["checkpoint"] == str(checkpoint)


def test_another_solver_can_be_asked_for(trained_run: Path, invoke: Callable) -> None:
    words = ("--limit", "20", "--json", "--solver", "rk4", "--num-steps", "3")
    document = json.loads(invoke("evaluate", trained_run, *words).out)
    assert document["nfe"] == 12
    assert document["solver"]["solver"] == "rk4"


def test_consistency_reports_finer_and_other_solvers(trained_run: Path, invoke: Callable) -> None:
    words = ("evaluate", trained_run, "--limit", "30", "--consistency")
    variants = json.loads(invoke(*words, "--json").out)["consistency"]
    assert variants[0]["name"] == "4x the steps"
    assert variants[0]["nfe"] == 8
    assert variants[1]["solver"]["solver"] == "dopri5"
    assert all(0 <= variant["changed_share"] <= 1 for variant in variants)
    assert "answers changed" in invoke(*words).out


def test_a_data_set_with_other_classes_is_refused(
    trained_run: Path, invoke: Callable, tmp_path: Path
) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "pets" / "train" / name).mkdir(parents=True)
    outcome = invoke("evaluate", trained_run, "--data", tmp_path / "pets", "--json")
    assert outcome.code == 2
    assert "does not know cat, dog" in outcome.err
    assert outcome.out == ""


def test_a_missing_model_leaves_stdout_empty(execute: Callable) -> None:
    outcome = execute("evaluate", "nothing-of-that-name", "--json")
    assert outcome.code == 2
    assert outcome.out == ""
    assert "nothing-of-that-name" in outcome.err
    assert "Traceback" not in outcome.err


def test_missing_data_are_named(trained_run: Path, invoke: Callable, tmp_path: Path) -> None:
    outcome = invoke("evaluate", trained_run, "--data", "mnist", "--data-root", tmp_path)
    assert outcome.code == 2
    assert str(tmp_path) in outcome.err


def test_a_truncated_checkpoint_is_refused(
    trained_run: Path, invoke: Callable, tmp_path: Path
) -> None:
    checkpoint = max((trained_run / "checkpoints").iterdir())
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "card.json").write_bytes((checkpoint / "card.json").read_bytes())
    weights = (checkpoint / "weights.safetensors").read_bytes()
    (copy / "weights.safetensors").write_bytes(weights[: len(weights) // 2])
    outcome = invoke("evaluate", copy)
    assert outcome.code == 2
    assert "weights.safetensors" in outcome.err


@pytest.mark.parametrize("option", ["--limit", "--batch-size"])
def test_a_count_of_zero_is_refused(option: str, trained_run: Path, invoke: Callable) -> None:
    outcome = invoke("evaluate", trained_run, option, "0", "--json")
    assert outcome.code == 2
    assert outcome.out == ""


def test_a_device_that_is_not_there_is_refused(
    trained_run: Path, invoke: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    outcome = invoke("evaluate", trained_run, "--device", "cuda")
    assert outcome.code == 2
    assert "`--device` must be a device of this machine" in outcome.err
