import errno
import json
from pathlib import Path

import pytest

from odevision.training.metrics_log import MetricsLog


def events(run_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def test_every_event_is_one_json_line(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.write("train", step=3, loss=0.5)
    log.write("epoch", step=4, epoch=1, validation_loss=None)
    log.close()
    assert events(tmp_path) == [
        {"event": "train", "step": 3, "loss": 0.5},
        {"event": "epoch", "step": 4, "epoch": 1, "validation_loss": None},
    ]


def test_numbers_go_to_tensorboard_too(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.write("train", step=3, loss=0.5)
    log.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert b"train/loss" in file.read_bytes()


def test_resumed_log_is_cut_where_the_checkpoint_was(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.write("train", step=1, loss=0.5)
    length = log.sync()
    log.write("train", step=2, loss=0.4)  # after the checkpoint: lost with the process
    log.close()
    log = MetricsLog(tmp_path, num_bytes=length, step=1)
    log.write("train", step=2, loss=0.3)
    log.close()
    assert [(event["step"], event["loss"]) for event in events(tmp_path)] == [(1, 0.5), (2, 0.3)]


def test_log_shorter_than_the_checkpoint_remembers_is_kept(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.write("train", step=1, loss=0.5)
    log.close()
    MetricsLog(tmp_path, num_bytes=10_000).close()
    assert len(events(tmp_path)) == 1


def test_full_disk_is_reported_with_the_file(tmp_path: Path) -> None:
    class FullDisk:
        def write(self, content: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    log = MetricsLog(tmp_path)
    log._file.close()
    log._file = FullDisk()  # type: ignore[assignment]
    with pytest.raises(OSError, match="No space left.*metrics.jsonl"):
        log.write("train", step=1, loss=0.5)
    log.close()
