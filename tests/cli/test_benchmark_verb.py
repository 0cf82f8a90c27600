import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from odevision.cli.benchmark import describe_bytes
from odevision.cli.benchmark_input import Subject, read_bytes, read_subject
from odevision.cli.errors import UsageError
from odevision.evaluation.compare_gradients import CONTESTANTS
from odevision.gradient import GRADIENTS

QUICK = ("--batch-size", "2", "--repeats", "1")


@pytest.fixture
def document(trained_run: Path, invoke: Callable) -> dict:
    outcome = invoke("benchmark", trained_run, *QUICK, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_the_document_has_a_row_for_each_gradient(document: dict) -> None:
    assert [row["gradient"] for row in document["rows"]] == list(CONTESTANTS)
    for row in document["rows"]:
        assert row["accuracy"] in ("exact", "convergent")
        assert row["cost"]["seconds"] > row["cost"]["seconds_forward"] > 0
        assert row["cost"]["nfe_forward"] >= 2
        assert row["cost"]["bytes_peak"] >= row["cost"]["bytes_held"] > 0


def test_the_document_recommends_an_exact_gradient_and_says_why(document: dict) -> None:
    advice = document["recommendation"]
    assert CONTESTANTS[advice["gradient"]].accuracy == "exact"
    assert advice["setting"] in advice["reason"]


def test_a_trained_model_sees_images_of_its_data(document: dict) -> None:
    assert document["images"] == "mnist-mini, test"
    assert document["input_shape"] == [2, 1, 28, 28]
    assert document["solver"]["solver"] == "midpoint"


def test_the_table_has_a_line_for_each_gradient_and_a_recommendation(
    trained_run: Path, invoke: Callable
) -> None:
    outcome = invoke("benchmark", trained_run, *QUICK)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    for name, gradient in CONTESTANTS.items():
        assert any(line.startswith(name) and gradient.accuracy in line for line in lines)
    assert "reversible: solves with coupled-midpoint" in outcome.out
    assert lines[-1].startswith("Recommended: gradient=")


@pytest.mark.parametrize("columns", [80, 120])
def test_the_table_fits_a_screen(
    columns: int, trained_run: Path, invoke: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("odevision.cli.output._PLAIN_WIDTH", columns)
    words = ("--solver", "dopri5", "--rtol", "1e-3")
    outcome = invoke("benchmark", trained_run, *QUICK, *words)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()[1:]  # the path above the table may be long
    assert max(map(len, lines)) <= columns
    assert "…" not in outcome.out
    rows = [line for line in lines if line.startswith(("direct ", "backsolve "))]
    assert [len(row.split()) for row in rows[:2]] == [10, 10]


def test_a_network_gets_fresh_weights_and_random_images(invoke: Callable) -> None:
    words = ("--solver", "rk4", "--num-steps", "1", "--input-size", "3x16x18", "--json")
    outcome = invoke("benchmark", "odenet", *QUICK, *words)
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert document["model"] == "odenet, fresh weights"
    assert (document["images"], document["input_shape"]) == ("random ones", [2, 3, 16, 18])
    assert (document["solver"]["solver"], document["solver"]["num_steps"]) == ("rk4", 1)
    assert [row["gradient"] for row in document["rows"]] == list(CONTESTANTS)


def subject(model: str, **solver: object) -> Subject:
    return read_subject(
        model, device="cpu", solver=solver, data=None, data_root=None, input_size=None, batch_size=1
    )


def test_a_tolerance_makes_the_steps_of_a_network_adaptive() -> None:
    found = subject("odenet-stacked", solver="bosh3", rtol=0.01)
    assert (found.solver["rtol"], found.solver["num_steps"]) == (0.01, None)
    assert all(block.num_steps is None for block in found.model.ode_blocks())


def test_a_fresh_network_is_the_same_each_time_and_leaves_the_generator() -> None:
    state = torch.get_rng_state()
    one, other = subject("odenet"), subject("odenet")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.images, other.images)
    for x, y in zip(one.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(x, y)


def test_little_memory_asks_for_a_slower_gradient(invoke: Callable) -> None:
    words = ("--num-steps", "1", "--input-size", "16", "--max-memory", "1B", "--json")
    advice = json.loads(invoke("benchmark", "odenet", *QUICK, *words).out)["recommendation"]
    assert not advice["fits"]
    assert "no exact gradient fits into 1 B" in advice["reason"]


def test_random_images_take_the_place_of_data_that_are_not_there(
    trained_run: Path, invoke: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    from odevision.data.sources import DataNotFoundError

    def lost(*args: object, **options: object) -> None:
        raise DataNotFoundError("nowhere")

    monkeypatch.setattr("odevision.evaluation.split.load_test_images", lost)
    with caplog.at_level(logging.WARNING, logger="odevision"):
        document = json.loads(invoke("benchmark", trained_run, *QUICK, "--json").out)
    assert document["images"] == "random ones"
    assert "nowhere" in caplog.text
    assert invoke("benchmark", trained_run, *QUICK, "--data", "mnist-mini").code == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("odent",), "did you mean `odenet`?"),
        (("mnst",), "did you mean `mnist`?"),
        (("runs/nothing",), "There is no directory runs/nothing"),
        (("resnet",), "`MODEL` must have ODE blocks"),
        (("odenet", "--solver", "dopri6"), "Did you mean 'dopri8' or 'dopri5'?"),
        (("odenet", "--solver", "rk4"), "`num_steps` must be given"),
        (("odenet", "--num-steps", "2", "--rtol", "0.1"), "without `--rtol`"),
        (("odenet", "--data", "mnist-mini"), "`--data` must go with a trained model"),
        (("odenet", "--data-root", "nowhere"), "`--data-root` must go with a trained model"),
        (("mnist", "--data", "mnist-mini", "--input-size", "28"), "leave one"),
        (("mnist", "--input-size", "3x28x28"), "the model's 1 channels, got 3"),
        (("odenet", "--input-size", "28x28"), "must be N or CxHxW"),
        (("odenet", "--input-size", "2"), "`--input-size`"),
        (("odenet", "--batch-size", "0"), "`--batch-size` must be at least 1"),
        (("odenet", "--repeats", "0"), "`repeats` must be at least 1"),
        (("odenet", "--max-memory", "lots"), "500MB or 2GiB, got `lots`"),
        (("odenet", "--max-memroy", "1GB"), "did you mean `--max-memory`?"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(
    words: tuple[str, ...], message: str, invoke: Callable
) -> None:
    outcome = invoke("benchmark", *words, "--json")
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.out == ""


def test_a_folder_without_a_checkpoint_does_not_hide_a_network(
    invoke: Callable, tmp_path: Path
) -> None:
    (tmp_path / "odenet").mkdir()
    outcome = invoke("benchmark", "odenet", "--input-size", "1", "--json")
    assert "`--input-size`" in outcome.err


@pytest.mark.parametrize(
    ("text", "number"), [("500MB", 5 * 10**8), ("2 GiB", 2**31), ("1.5k", 1536), ("7", 7)]
)
def test_an_amount_of_memory_is_read(text: str, number: int) -> None:
    assert read_bytes("--max-memory", text) == number


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1 light year", "0", "1e9"])
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--max-memory"):
        read_bytes("--max-memory", text)


@pytest.mark.parametrize(
    ("number", "text"),
    [(5, "5 B"), (999, "999 B"), (1000, "0.977 KiB"), (2**20, "1 MiB"), (2**42, "4,096 GiB")],
)
def test_bytes_have_three_digits(number: int, text: str) -> None:
    assert describe_bytes(number) == text


def test_the_gradients_are_listed_with_their_accuracy(invoke: Callable) -> None:
    lines = invoke("gradients").out.splitlines()
    assert [line.split()[0] for line in lines] == list(GRADIENTS)
    assert lines[0].split(maxsplit=1)[1].startswith("exact, ")
    entries = json.loads(invoke("gradients", "--json").out)
    for entry in entries:
        gradient = GRADIENTS[entry["name"]]
        assert (entry["accuracy"], entry["kind"]) == (gradient.accuracy, gradient.kind)
        assert entry["description"]
