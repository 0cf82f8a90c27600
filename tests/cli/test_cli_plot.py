import shutil
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest

ALL = ["confusion.png", "nfe.png", "predictions.png", "training_curves.png", "trajectories.png"]


def test_all_pictures_of_a_run_are_written_and_named(
    trained_run: Path, invoke: Callable, tmp_path: Path
) -> None:
    outcome = invoke("plot", trained_run, "--out", tmp_path / "pictures", "--limit", "60")
    assert outcome.code == 0, outcome.err
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ALL
    assert sorted(Path(line).name for line in outcome.out.splitlines()) == ALL
    for path in (tmp_path / "pictures").iterdir():
        with PIL.Image.open(path) as image:
            assert min(image.size) > 400


def test_a_run_shorter_than_a_line_of_its_log_has_its_nfe(
    trained_run: Path, invoke: Callable, tmp_path: Path
) -> None:
    shutil.copytree(trained_run, tmp_path / "copy")
    log = tmp_path / "copy" / "metrics.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(line for line in lines if '"event": "train"' not in line))
    assert len(log.read_text()) < sum(map(len, lines))
    outcome = invoke("plot", "copy", "--limit", "30", "--out", "pictures")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "pictures" / "nfe.png").is_file()


def test_a_checkpoint_without_its_run_has_no_curves_and_says_so(
    trained_run: Path, invoke: Callable, tmp_path: Path
) -> None:
    copy = tmp_path / "copied"
    shutil.copytree(max((trained_run / "checkpoints").iterdir()), copy)
    outcome = invoke("plot", copy, "--limit", "30")
    assert outcome.code == 0
    assert sorted(path.name for path in (tmp_path / "plots" / "copied").iterdir()) == [
        "confusion.png",
        "predictions.png",
        "trajectories.png",
    ]
    assert "training_curves.png was not written" in outcome.err
    assert "metrics.jsonl" in outcome.err


@pytest.mark.parametrize("metrics", ["", '{"event": "train", "step": 1, "loss": 2.0}\n'])
def test_a_run_without_an_epoch_has_no_curves_and_says_so(
    metrics: str, trained_run: Path, invoke: Callable, tmp_path: Path
) -> None:
    shutil.copytree(trained_run, tmp_path / "copy")
    (tmp_path / "copy" / "metrics.jsonl").write_text(metrics)
    outcome = invoke("plot", "copy", "--limit", "30")
    assert outcome.code == 0, outcome.err
    assert "training_curves.png was not written" in outcome.err
    assert "nfe.png was not written" in outcome.err


def test_a_broken_metrics_file_is_an_error(
    trained_run: Path, invoke: Callable, tmp_path: Path
) -> None:
    shutil.copytree(trained_run, tmp_path / "copy")
    (tmp_path / "copy" / "metrics.jsonl").write_text("broken\n{}\n")
    outcome = invoke("plot", "copy", "--limit", "30")
    assert outcome.code == 2
    assert "line 1: not JSON" in outcome.err
