import io
from pathlib import Path

import pytest
from rich.console import Console

from odevision.training.progress import BarProgress, LineProgress, choose_progress, duration
from odevision.training.report import EpochReport, RunReport, StepReport

RUN = RunReport(
    recipe="mnist",
    run_dir="runs/[red]mnist",
    device="cpu",
    precision="fp32",
    num_parameters=208_266,
    num_training_samples=54_000,
    num_validation_samples=6_000,
    sample_name="images",
    epochs=10,
    num_steps=100,
    step=20,
)
STEP = StepReport(
    step=21,
    epoch=3,
    loss=0.25,
    accuracy=0.925,
    learning_rate=0.1,
    images_per_second=512.0,
    nfe_forward=20.0,
    nfe_backward=18.0,
    memory_bytes=3 * 2**29,
    seconds=3.0,
)
EPOCH = EpochReport(
    step=30,
    epoch=3,
    train_loss=0.2,
    train_accuracy=0.9,
    validation_loss=0.1,
    validation_accuracy=0.9512,
    nfe_forward=20.0,
    nfe_backward=18.0,
    images_per_second=512.0,
    seconds=3725.0,
)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_pipe_gets_one_line_an_epoch() -> None:
    console = Console(file=io.StringIO(), soft_wrap=True)
    progress = LineProgress(console)
    progress.start(RUN)
    progress.advance(21, 3)
    progress.step(STEP)
    progress.epoch(EPOCH)
    progress.message("Stopped")
    progress.close()
    first, second, third = text_of(console).splitlines()
    assert "208,266 parameters" in first
    assert "runs/[red]mnist" in first
    assert (
        second.split()
        == (
            "epoch 3/10 train 90.00 % loss 0.2000 validation 95.12 % loss 0.1000 512 images/s "
            "NFE 20+18 1:02:05 ETA 2:24:52 1.5 GiB"
        ).split()
    )
    assert third == "Stopped"


def test_terminal_gets_a_bar_with_all_numbers() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=200, color_system=None)
    progress = BarProgress(console)
    progress.start(RUN)
    progress.advance(21, 3)
    progress.step(STEP)
    progress._bar.refresh()
    progress.epoch(EPOCH)
    progress.close()
    text = text_of(console)
    for part in ("epoch 3/10", "21%", "left", "0.2500", "92.5 %", "512 images/s", "1.50 GiB"):
        assert part in text
    assert "NFE 20+18" in text
    assert "validation 95.12 %" in text


def test_bar_closes_before_it_was_started() -> None:
    BarProgress(Console(file=io.StringIO(), force_terminal=True)).close()


def test_display_suits_the_stream(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w") as stream:
        assert isinstance(choose_progress(stream), LineProgress)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (125.0, "2:05"), (3725.0, "1:02:05")]
)
def test_duration_is_written_like_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text
