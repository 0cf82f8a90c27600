"""The benchmarks of videos run and say what they promise, at a size of seconds."""

import functools
from pathlib import Path

import pytest

from benchmarks import video_memory, video_networks, video_streaming
from odevision.evaluation.video_answers import load_test_videos
from odevision.models.video import VideoODERNNConfig
from odevision.training.checkpoint import load_checkpoint
from odevision.training.config import TrainConfig
from odevision.training.loop import train
from odevision.training.video_data import VideoDataConfig


def test_memory_is_flat_in_chunks_and_the_gradient_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(video_memory, "FRAMES", (16, 32))
    monkeypatch.setattr(video_memory, "SIZE", (48, 64))
    methods = {name: video_memory.METHODS[name] for name in ("plain", "in chunks")}
    monkeypatch.setattr(video_memory, "METHODS", methods)
    rows = {(row["method"], row["frames"]): row for row in video_memory.measure("video-odernn", 1)}
    plain, chunked = (
        [rows[method, n]["live_bytes"] for n in (16, 32)] for method in ("plain", "in chunks")
    )
    assert plain[1] > 1.7 * plain[0] and chunked[1] < 1.1 * chunked[0]
    assert all(
        row["gradient_difference"] < 1e-5 for (name, _), row in rows.items() if name != "plain"
    )
    text = video_memory.report("video-odernn", 1, list(rows.values()))
    assert "Most over least live bytes" in text


def test_a_long_video_is_made_and_watched(tmp_path: Path) -> None:
    data = VideoDataConfig(name="motion", limit=10, height=32, width=32, batch_size=10)
    model = VideoODERNNConfig(num_classes=10, stem_width=8, widths=(8,))
    config = TrainConfig(model=model, data=data, epochs=1, device="cpu", out=str(tmp_path / "run"))
    loaded = load_checkpoint(train(config).run_dir)
    path = tmp_path / "long.mp4"
    assert video_streaming.make_video(path, [], minutes=0.2) == 300
    result = video_streaming.watch(loaded, path)
    assert result["num_frames"] == 300
    settled = [num for seconds, num in result["resident"] if seconds >= 10]
    assert (result["resident_least"], result["resident_most"]) == (min(settled), max(settled))
    result |= video_streaming.watch_at_own_rate(loaded, path)
    assert result["share_looked_at"] == pytest.approx(8 / 25, abs=0.01)
    assert "| frames | 300" in video_streaming.report("m", (32, 32), result, "a machine")


def test_networks_are_trained_tested_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = functools.partial(load_test_videos, limit=10)
    monkeypatch.setattr(video_networks, "load_test_videos", few)
    words = ["motion", "--only", "video-(convgru|mean)", "--seeds", "0", "--out", str(tmp_path)]
    words += ["--data.limit", "20", "--data.batch-size", "8", "--epochs", "1", "--device", "cpu"]
    video_networks.main(words)
    runs = video_networks.finished(tmp_path)
    assert [run["network"] for run in runs] == ["video-convgru", "video-mean"]
    for run in runs:
        assert run["num_videos"] == 10 and run["seed"] == 0 and run["live_bytes"] > 1e6
        assert all(0 <= run[name] <= 1 for name in ("test", *video_networks.CONDITIONS))
        # At matched parameters: the recipe's network has 207,082.
        assert abs(run["parameters"] / 207_082 - 1) < 0.05
    first = capsys.readouterr().out
    monkeypatch.delattr(video_networks, "train_and_test")
    video_networks.main(words)  # nothing is trained again
    assert capsys.readouterr().out in first and "`video-mean` | 1 |" in first
    again = [runs[0], {**runs[0], "seed": 1, "test": runs[0]["test"] + 0.1}]
    assert " ± 7.1 |" in video_networks.table(again)


def test_a_training_that_was_stopped_is_not_tested(tmp_path: Path) -> None:
    words = ["motion", "--only", "video-mean", "--out", str(tmp_path), "--max-minutes", "1e-6"]
    words += ["--data.limit", "20", "--data.batch-size", "8", "--epochs", "2", "--device", "cpu"]
    with pytest.raises(SystemExit, match="the training was stopped"):
        video_networks.main(words)
    assert video_networks.finished(tmp_path) == []
