import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest

from odevision.data.sources import load_split
from odevision.evaluation.answers import answer_split
from odevision.evaluation.examples import write_examples
from odevision.training.checkpoint import load_checkpoint


@pytest.fixture
def digits(tmp_path: Path) -> list[Path]:
    """Test images as files."""
    return write_examples(load_split("mnist-mini", "test", limit=4), tmp_path / "digits", number=4)


def test_predict_on_a_saved_test_image_equals_evaluate_on_it(
    trained_run: Path, digits: list[Path], invoke: Callable
) -> None:
    document = json.loads(invoke("predict", trained_run, *digits, "--top", "10", "--json").out)
    loaded = load_checkpoint(trained_run)
    answers = answer_split(loaded, load_split("mnist-mini", "test", limit=4))
    for prediction, row in zip(document["predictions"], answers.probabilities, strict=True):
        expected = dict(zip(loaded.card.class_names, row.tolist(), strict=True))
        assert dict(prediction["top"]) == pytest.approx(expected, abs=1e-6)
        assert prediction["label"] == max(expected, key=expected.__getitem__)


def test_a_terminal_sees_how_far_it_is_and_a_pipe_does_not(
    trained_run: Path, digits: list[Path], invoke: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("predict", trained_run, *digits, "--batch-size", "2", "--json")
    assert "answering" not in invoke(*words).err
    monkeypatch.setenv("FORCE_COLOR", "1")
    outcome = invoke(*words)
    assert "answering" in outcome.err and "4/4" in outcome.err
    assert len(json.loads(outcome.out)["predictions"]) == 4


def test_the_document_has_what_the_contract_names(
    trained_run: Path, digits: list[Path], execute: Callable
) -> None:
    outcome = execute("predict", trained_run, digits[0], "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert set(document) == {"predictions", "errors"}
    assert document["errors"] == []
    (prediction,) = document["predictions"]
    assert set(prediction) == {
        "path",
        "label",
        "probability",
        "top",
        "unknown",
        "reason",
        "best_label",
        "score",
        "num_crops",
    }
    assert prediction["unknown"] is False and prediction["reason"] is None
    assert "not calibrated" in outcome.err and "odevision calibrate" in outcome.err
    assert prediction["path"] == str(digits[0])
    assert len(prediction["top"]) == 5
    assert prediction["top"][0] == [prediction["label"], prediction["probability"]]
    values = [probability for _, probability in prediction["top"]]
    assert values == sorted(values, reverse=True)


def test_an_unreadable_file_is_reported_and_the_others_are_predicted(
    trained_run: Path, digits: list[Path], execute: Callable, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"not an image")
    outcome = execute("predict", trained_run, digits[0], broken, digits[1], "--json")
    assert outcome.code == 2
    document = json.loads(outcome.out)
    assert [entry["path"] for entry in document["predictions"]] == [str(p) for p in digits[:2]]
    (error,) = document["errors"]
    assert error["path"] == str(broken)
    assert error["message"]
    assert str(broken) in outcome.err
    assert "Traceback" not in outcome.err


def test_a_file_name_that_is_no_text_is_shown_escaped(
    trained_run: Path, digits: list[Path], invoke: Callable, tmp_path: Path
) -> None:
    odd = os.fsdecode(b"odd\xff.png")
    shutil.copy(digits[0], tmp_path / odd)
    outcome = invoke("predict", trained_run, odd)
    assert outcome.code == 0
    assert "odd\\udcff.png" in outcome.out


def test_standard_input_is_for_videos(trained_run: Path, invoke: Callable) -> None:
    outcome = invoke("predict", trained_run, "-")
    assert outcome.code == 2 and "needs a network of videos" in outcome.err


def test_a_missing_file_and_an_empty_folder_do_not_stop_the_others(
    trained_run: Path, digits: list[Path], invoke: Callable, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    paths = [tmp_path / "missing.png", tmp_path / "empty", digits[0], tmp_path / "*.gif"]
    outcome = invoke("predict", trained_run, *paths, "--json")
    assert outcome.code == 2
    document = json.loads(outcome.out)
    assert len(document["predictions"]) == 1
    assert {error["path"] for error in document["errors"]} == {
        str(path) for path in paths if path != digits[0]
    }


def test_folders_and_globs_are_searched(
    trained_run: Path, digits: list[Path], invoke: Callable
) -> None:
    by_folder = json.loads(invoke("predict", trained_run, digits[0].parent, "--json").out)
    by_glob = json.loads(invoke("predict", trained_run, digits[0].parent / "*.png", "--json").out)
    assert [entry["path"] for entry in by_folder["predictions"]] == sorted(map(str, digits))
    assert by_glob == by_folder


def test_a_photo_of_any_size_and_mode_is_predicted(
    trained_run: Path, invoke: Callable, tmp_path: Path
) -> None:
    PIL.Image.new("CMYK", (548, 882), (10, 200, 30, 0)).save(tmp_path / "photo.jpg")
    outcome = invoke("predict", trained_run, tmp_path / "photo.jpg", "--json")
    assert outcome.code == 0
    assert len(json.loads(outcome.out)["predictions"]) == 1


def test_the_table_shows_file_class_and_probability(
    trained_run: Path, digits: list[Path], invoke: Callable
) -> None:
    outcome = invoke("predict", trained_run, digits[0], "--top", "1")
    assert outcome.code == 0
    assert "probability" in outcome.out
    assert "%" in outcome.out


def test_brackets_in_a_file_name_are_no_markup(
    trained_run: Path, digits: list[Path], invoke: Callable, tmp_path: Path
) -> None:
    (tmp_path / "[red]x.png").write_bytes(digits[0].read_bytes())
    outcome = invoke("predict", trained_run, "[red]x.png")
    assert outcome.code == 0
    assert "[red]x.png" in outcome.out


def test_more_classes_than_there_are_means_all(
    trained_run: Path, digits: list[Path], invoke: Callable
) -> None:
    document = json.loads(invoke("predict", trained_run, digits[0], "--top", "99", "--json").out)
    assert len(document["predictions"][0]["top"]) == 10


def test_a_top_of_zero_is_refused(trained_run: Path, digits: list[Path], invoke: Callable) -> None:
    outcome = invoke("predict", trained_run, digits[0], "--top", "0")
    assert outcome.code == 2
    assert "`top` must be at least 1, got 0" in outcome.err


def test_without_files_the_usage_is_explained(trained_run: Path, invoke: Callable) -> None:
    outcome = invoke("predict", trained_run)
    assert outcome.code == 2
    assert "`PATH` is missing" in outcome.err


def test_plot_draws_a_picture_for_each_photo(
    trained_run: Path, digits: list[Path], invoke: Callable, tmp_path: Path
) -> None:
    words = ("--plot", "--out", tmp_path / "drawn", "--json")
    outcome = invoke("predict", trained_run, digits[0], digits[1], *words)
    assert outcome.code == 0
    assert len(json.loads(outcome.out)["predictions"]) == 2
    pictures = sorted((tmp_path / "drawn").iterdir())
    assert [path.name for path in pictures] == [f"{path.stem}-top.png" for path in digits[:2]]


def test_what_cannot_be_read_again_is_answered_and_not_drawn(
    trained_run: Path, digits: list[Path], invoke: Callable, tmp_path: Path, monkeypatch
) -> None:
    from odevision.cli import predict

    show = predict._show
    monkeypatch.setattr(predict, "_show", lambda found: (digits[0].unlink(), show(found)))
    outcome = invoke("predict", trained_run, *digits[:2], "--plot", "--out", tmp_path / "drawn")
    assert digits[0].name in outcome.out and "it is not drawn" in outcome.err
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == [f"{digits[1].stem}-top.png"]


def test_a_folder_for_pictures_without_pictures_is_refused(
    trained_run: Path, digits: list[Path], invoke: Callable
) -> None:
    outcome = invoke("predict", trained_run, digits[0], "--out", "x")
    assert outcome.code == 2
    assert "add --plot" in outcome.err


@pytest.mark.parametrize("verb", ["predict", "evaluate", "calibrate", "plot"])
def test_a_folder_that_cannot_be_made_is_refused_before_the_work(
    verb: str, trained_run: Path, digits: list[Path], invoke: Callable
) -> None:
    words = {"predict": [digits[0], "--plot"], "plot": []}.get(verb, ["--plot"])
    outcome = invoke(verb, trained_run, *words, "--out", digits[1])
    assert outcome.code == 2
    assert f"`--out` must be a folder that can be made, got {digits[1]}" in outcome.err
    assert outcome.out == ""
