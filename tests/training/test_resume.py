"""A resumed run is the run that was never stopped: weights bitwise, metrics line by line."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch

from odevision.models.odenet import ODENetConfig
from odevision.models.odenet_stacked import ODENetStackedConfig
from odevision.training import device
from odevision.training.checkpoint import load_training_state, newest_checkpoint
from odevision.training.config import DataConfig, OptimizerConfig, to_yaml
from odevision.training.loop import train
from odevision.training.report import SilentProgress

CLOCKS = {"seconds", "images_per_second", "memory_bytes"}
STACKED = ODENetStackedConfig(in_channels=1, widths=(16,))


class Killed(BaseException):
    """Ends a run without its consent."""


class KillAt(SilentProgress):
    def __init__(self, step: int) -> None:
        self.kill_step = step

    def advance(self, step: int, epoch: int) -> None:
        if step == self.kill_step:
            raise Killed


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def assert_same_run(first: Path, second: Path) -> None:
    paths = [newest_checkpoint(run) for run in (first, second)]
    assert paths[0] is not None and paths[1] is not None
    assert paths[0].name == paths[1].name
    weights = [(path / "weights.safetensors").read_bytes() for path in paths]
    assert weights[0] == weights[1]
    states = [load_training_state(path) for path in paths]
    for state in states:
        # The run-time type checks of the tests draw from python's generator.
        del state["generators"]["python"]
    for name in ("model", "ema", "optimizer", "schedule", "generators", "epoch_metrics", "window"):
        assert same(states[0][name], states[1][name]), name
    assert metrics_of(first) == metrics_of(second)


def metrics_of(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in line if key not in CLOCKS} for line in lines]


@pytest.mark.parametrize("kill_step", [1, 14, 20])
@pytest.mark.parametrize("checkpoint_every_minutes", [0.0, 60.0])
def test_killed_run_resumes_to_the_same_weights_and_log(
    small_config, tmp_path: Path, kill_step: int, checkpoint_every_minutes: float
) -> None:
    options = {"ema_decay": 0.9, "checkpoint_every_minutes": checkpoint_every_minutes}
    whole = small_config(out=str(tmp_path / "whole"), **options)
    parts = small_config(out=str(tmp_path / "parts"), **options)
    train(whole)
    with pytest.raises(Killed):
        train(parts, progress=KillAt(kill_step))
    train(parts, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize(
    "changes",
    [
        {"model": STACKED, "ema_decay": 0.9},
        {"optimizer": OptimizerConfig(name="adamw", learning_rate=0.01), "gradient_clip": 0.5},
        {"precision": "bf16", "weights_dtype": "float16"},
        {"model": ODENetConfig(channels=4, gradient="direct")},
        {"model": ODENetConfig(channels=4, warm_start=True), "ema_decay": 0.9},
    ],
    ids=["batch-norm", "adamw", "bf16", "dopri5", "warm-start"],
)
def test_every_kind_of_run_resumes_exactly(
    small_config, tmp_path: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "why_not_bf16", lambda name: None)
    whole = small_config(out=str(tmp_path / "whole"), **changes)
    parts = small_config(out=str(tmp_path / "parts"), checkpoint_every_minutes=0.0, **changes)
    train(whole)
    with pytest.raises(Killed):
        train(parts, progress=KillAt(14))
    train(parts, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("stop_step", [5, 10, 20])
def test_interrupted_run_resumes_exactly(small_config, tmp_path: Path, stop_step: int) -> None:
    class InterruptAt(SilentProgress):
        def advance(self, step: int, epoch: int) -> None:
            if step == stop_step:
                os.kill(os.getpid(), signal.SIGINT)

    whole, parts = (small_config(out=str(tmp_path / name)) for name in ("whole", "parts"))
    train(whole)
    assert train(parts, progress=InterruptAt()).stopped == "interrupted"
    assert train(parts, resume=True).stopped == "done"
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_finished_run_resumes_to_itself(small_config) -> None:
    config = small_config()
    first = train(config)
    again = train(config, resume=True)
    assert again.stopped == "done"
    assert again.checkpoint_dir == first.checkpoint_dir
    assert again.metrics == first.metrics


def test_run_without_a_checkpoint_resumes_at_its_first_step(small_config, tmp_path: Path) -> None:
    whole, parts = (small_config(out=str(tmp_path / name)) for name in ("whole", "parts"))
    train(whole)
    with pytest.raises(Killed):
        train(parts, progress=KillAt(2))
    assert newest_checkpoint(tmp_path / "parts") is None
    train(parts, resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("in_memory_bytes", [0, 2**30], ids=["files", "memory"])
def test_a_run_does_not_go_on_with_other_data(
    small_config, tmp_path: Path, in_memory_bytes: int
) -> None:
    for name in ("a", "b"):
        (tmp_path / "data" / "train" / name).mkdir(parents=True)
        for i in range(10):
            gray = PIL.Image.new("RGB", (8, 8), (20 * i, 90 * (name == "b"), 0))
            gray.save(tmp_path / "data" / "train" / name / f"{i}.png")
    data = DataConfig(
        name=str(tmp_path / "data"), batch_size=4, image_size=16, in_memory_bytes=in_memory_bytes
    )
    model = ODENetConfig(channels=4, solver="euler", num_steps=1, num_classes=2, in_channels=3)
    config = small_config(data=data, model=model, checkpoint_every_minutes=0.0)
    with pytest.raises(Killed):
        train(config, progress=KillAt(3))
    file = tmp_path / "data" / "train" / "a" / "0.png"
    moved = file.rename(file.with_name("zero.png"))
    with pytest.raises(ValueError, match="images or videos were added, removed or renamed"):
        train(config, resume=True)
    moved.rename(file)
    assert train(config, resume=True).stopped == "done"


SCRIPT = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from odevision.training.config import from_yaml
    from odevision.training.loop import train
    from odevision.training.report import SilentProgress

    class KillAt(SilentProgress):
        def advance(self, step, epoch):
            if step == int(sys.argv[3]):
                os.kill(os.getpid(), signal.SIGKILL)

    train(from_yaml(Path(sys.argv[1]).read_text()), resume=sys.argv[2] == "resume",
          progress=KillAt())
    """
)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_process_killed_in_the_middle_of_an_epoch_resumes_bitwise(
    small_config, tmp_path: Path
) -> None:
    options = {"ema_decay": 0.9, "checkpoint_every_minutes": 0.0}

    # All runs are processes of their own: what else this one has computed, and with how many
    # threads, may change the order in which its library adds.
    def run(name: str, mode: str, kill_step: int) -> int:
        config = tmp_path / f"{name}.yaml"
        config.write_text(to_yaml(small_config(out=str(tmp_path / name), **options)))
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-c", SCRIPT, str(config), mode, str(kill_step)]
        return subprocess.run(command, env=environment, check=False).returncode

    assert run("whole", "new", 0) == 0
    assert run("parts", "new", 14) == -signal.SIGKILL
    newest = newest_checkpoint(tmp_path / "parts")
    assert newest is not None and newest.name == "step-00000013"  # in the middle of epoch 2
    assert run("parts", "resume", 0) == 0
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
