import json
import shutil
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
    right = [row[i] for i, row in enumerate(document["confusion_matrix"])]
    assert document["accuracy"] == pytest.approx(sum(right) / 50)
    assert document["loss"] > 0
    assert document["num_samples"] == 50
    assert document["num_parameters"] == 13_674
    assert document["nfe"] == 2
    per_class = [
        right[i] / sum(row) for i, row in enumerate(document["confusion_matrix"]) if sum(row)
    ]
    assert list(document["per_class"].values()) == pytest.approx(per_class)
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
    document = json.loads(invoke(*words, "--json").out)
    variants = document["consistency"]
    assert variants[0]["name"] == "4x the steps"
    assert variants[0]["nfe"] == 8
    assert variants[1]["solver"]["solver"] == "dopri5"
    assert variants[2]["name"] == "2x the steps"
    # Two steps are close to four and to the solution, and no logit is the same to the bit.
    assert all(0 < variant["mean_logit_distance"] < 1 for variant in variants)
    for variant in variants:  # an answer that is right now and was wrong before has changed
        moved = abs(variant["accuracy"] - document["accuracy"])
        assert moved - 1e-9 <= variant["changed_share"] < 0.2
    assert "answers changed" in invoke(*words).out


def test_a_budget_of_evaluations_can_be_asked_for(trained_run: Path, invoke: Callable) -> None:
    words = ("evaluate", trained_run, "--limit", "20", "--json")
    document = json.loads(invoke(*words, "--nfe", "8").out)
    assert (document["nfe"], document["solver"]["num_steps"]) == (8, 4)
    document = json.loads(invoke(*words, "--nfe", "8", "--solver", "rk4").out)
    assert (document["nfe"], document["solver"]["num_steps"]) == (8, 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--nfe", "3"), "got 3. Try 2 or 4"),
        (("--nfe", "4", "--num-steps", "2"), "`nfe` must not be given together with `num_steps`"),
        (("--nfe", "4", "--rtol", "0.1"), "`nfe` must not be given together with `rtol`"),
        (("--out", "pictures"), "add --plot"),
        (("--rtol", "0.1"), "`rtol` must be given with a solver that adapts its steps"),
        (("--ood", "--sweep"), "`--ood` needs a value"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    words: tuple[str, ...], message: str, trained_run: Path, invoke: Callable
) -> None:
    outcome = invoke("evaluate", trained_run, "--limit", "4", "--json", *words)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.out == ""


def test_what_cannot_be_measured_is_refused_before_anything_is(
    trained_run: Path, invoke: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "odevision.evaluation.answers.answer_split", lambda *_, **__: pytest.fail("answered")
    )
    outcome = invoke("evaluate", trained_run, "--sweep", "--ood", "nowhere")
    assert outcome.code == 2 and "nowhere" in outcome.err
    monkeypatch.setattr("odevision.data.corruptions.SMALLEST_SIDE", 64)
    outcome = invoke("evaluate", trained_run, "--corruptions")
    assert outcome.code == 2 and "a side of at least 64 pixels" in outcome.err


def test_a_folder_that_only_the_card_names_is_explained(
    trained_run: Path, invoke: Callable, tmp_path: Path
) -> None:
    run = tmp_path / "moved"
    shutil.copytree(trained_run, run)
    for card in run.rglob("card.json"):
        card.write_text(card.read_text().replace('"mnist-mini"', '"pictures"'))
    outcome = invoke("evaluate", run)
    assert outcome.code == 2
    assert "was trained on the folder pictures, which is not in" in outcome.err


def test_a_sweep_is_reported_and_drawn(
    trained_run: Path, invoke: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from odevision.evaluation import sweep

    monkeypatch.setattr(sweep, "STEP_SOLVERS", ("midpoint", "rk4"))
    monkeypatch.setattr(sweep, "ADAPTIVE_SOLVERS", ("bosh3",))
    words = ("evaluate", trained_run, "--limit", "20", "--sweep")
    outcome = invoke(*words, "--json", "--plot", "--out", tmp_path / "pictures")
    points = json.loads(outcome.out)["sweep"]
    assert points[0]["is_own"] and points[0]["nfe_per_block"] == 2
    assert {point["solver"] for point in points} == {"midpoint", "rk4", "bosh3"}
    assert (tmp_path / "pictures" / "sweep.png").stat().st_size > 1_000
    assert (tmp_path / "pictures" / "reliability.png").is_file()
    table = invoke(*words).out
    assert "midpoint *" in table and "more accurate than 2" in table


def test_corruptions_are_reported_and_drawn(
    trained_run: Path, invoke: Callable, tmp_path: Path
) -> None:
    words = ("evaluate", trained_run, "--limit", "10", "--corruptions")
    outcome = invoke(*words, "--json", "--plot", "--out", tmp_path)
    document = json.loads(outcome.out)["corruptions"]
    assert len(document["accuracy"]) == 15
    assert all(len(shares) == 5 for shares in document["accuracy"].values())
    shares = [share for row in document["accuracy"].values() for share in row]
    assert document["mean_error"] == pytest.approx(1 - sum(shares) / 75)
    assert (tmp_path / "corruptions.png").is_file()
    assert (tmp_path / "corruption_examples.png").is_file()
    assert "impulse noise" in invoke(*words).out


def test_the_mirror_stays_apart_from_the_plain_accuracy(
    trained_run: Path, invoke: Callable
) -> None:
    words = ("evaluate", trained_run, "--limit", "60", "--json")
    plain = json.loads(invoke(*words).out)
    both = json.loads(invoke(*words, "--mirror").out)
    assert both["accuracy"] == plain["accuracy"] and both["nfe"] == plain["nfe"]
    assert "mirror" not in plain
    assert both["mirror"]["nfe"] == 2 * plain["nfe"]
    # Mirrored digits are other signs: a network for digits loses by it.
    assert both["mirror"]["loss"] > plain["loss"]


def test_other_data_are_told_apart(trained_run: Path, invoke: Callable) -> None:
    words = ("evaluate", trained_run, "--limit", "40", "--ood", "textures")
    auroc = json.loads(invoke(*words, "--json").out)["ood"]["textures"]
    assert 0 < auroc < 1
    table = invoke(*words).out
    assert "AUROC" in table and f"{auroc:.2%}" in table


def test_the_calibration_error_is_in_every_document(trained_run: Path, invoke: Callable) -> None:
    document = json.loads(invoke("evaluate", trained_run, "--limit", "60", "--json").out)
    assert 0 < document["calibration"]["ece"] < 1
    assert sum(one["num_images"] for one in document["calibration"]["bins"]) == 60


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
