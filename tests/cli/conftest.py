import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from odevision.cli.main import main
from odevision.models.odenet import ODENetConfig
from odevision.training.config import DataConfig, OptimizerConfig, TrainConfig
from odevision.training.loop import train


@dataclass(frozen=True)
class Outcome:
    """How a command line ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of seconds on the embedded digits; good enough to be right more often than not."""
    run = tmp_path_factory.mktemp("runs") / "tiny"
    config = TrainConfig(
        recipe="tiny",
        model=ODENetConfig(channels=16, solver="midpoint", num_steps=1),
        data=DataConfig(name="mnist-mini", batch_size=32, limit=640),
        optimizer=OptimizerConfig(name="adamw", learning_rate=2e-2),
        epochs=3,
        device="cpu",
        out=str(run),
        log_every_steps=4,
    )
    train(config)
    return run


@pytest.fixture
def invoke(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Outcome]]:
    """A function that runs a command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str | Path) -> Outcome:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(code=code, out=captured.out, err=captured.err)

    yield call


@pytest.fixture
def execute(tmp_path: Path) -> Callable[..., Outcome]:
    """A function that runs a command line in a process of its own, in an empty folder."""

    def call(*words: str | Path) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-m", "odevision", *map(str, words)],
            capture_output=True,
            text=True,
            encoding="utf-8",
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            check=False,
        )
        return Outcome(code=done.returncode, out=done.stdout, err=done.stderr)

    return call
