"""The live display of a training run: a bar on a terminal, one line an epoch elsewhere."""

import sys
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from odevision.training.report import EpochReport, Progress, RunReport, StepReport


def choose_progress(stream: TextIO | None = None) -> Progress:
    """Choose the display that suits a stream.

    Args:
        stream: where to write; None means stderr, so that stdout stays for results.

    Returns:
        A bar if the stream is a terminal, else plain lines.
    """
    console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True)
    return BarProgress(console) if console.is_terminal else LineProgress(console)


def run_line(report: RunReport) -> str:
    """Say in one line what is about to be trained.

    Args:
        report: of the run.

    Returns:
        The line.
    """
    return (
        f"{report.recipe}: {report.num_parameters:,} parameters, {report.num_training_samples:,} "
        f"training and {report.num_validation_samples:,} validation {report.sample_name}, "
        f"{report.epochs} epochs "
        f"on {report.device} in {report.precision}; writing to {report.run_dir}"
    )


def epoch_line(report: EpochReport, epochs: int) -> str:
    """Say in one line how an epoch went.

    Args:
        report: of the epoch.
        epochs: planned.

    Returns:
        The line.
    """
    validation = (
        "not validated"
        if report.validation_accuracy is None
        else f"validation {100 * report.validation_accuracy:.2f} % "
        f"loss {report.validation_loss:.4f}"
    )
    nfe = f"  NFE {report.nfe_forward:.0f}+{report.nfe_backward:.0f}" if report.nfe_forward else ""
    return (
        f"epoch {report.epoch:{len(str(epochs))}}/{epochs}  train {100 * report.train_accuracy:.2f}"
        f" % loss {report.train_loss:.4f}  {validation}  {report.images_per_second:.0f} images/s"
        f"{nfe}  {duration(report.seconds)}"
    )


def duration(seconds: float) -> str:
    """Write a wall time.

    Args:
        seconds: at least 0.

    Returns:
        Like `1:02:03`, or `2:03` under an hour.
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class LineProgress:
    """One line an epoch, for logs and pipes.

    Args:
        console: where to write.
    """

    def __init__(self, console: Console) -> None:
        """Remember the console."""
        self._console = console
        self._epochs = 0
        self._memory_bytes = 0

    def start(self, report: RunReport) -> None:
        """Say what is trained."""
        self._epochs = report.epochs
        self._print(run_line(report))

    def advance(self, step: int, epoch: int) -> None:
        """Show nothing: a line is for an epoch."""

    def step(self, report: StepReport) -> None:
        """Keep the memory for the epoch's line."""
        self._memory_bytes = report.memory_bytes

    def epoch(self, report: EpochReport) -> None:
        """Write the epoch's line, with the time left and the peak memory."""
        left = report.seconds / report.epoch * (self._epochs - report.epoch)
        line = f"{epoch_line(report, self._epochs)}  ETA {duration(left)}"
        if self._memory_bytes:
            line += f"  {self._memory_bytes / 2**30:.1f} GiB"
        self._print(line)

    def message(self, text: str) -> None:
        """Write the text."""
        self._print(text)

    def close(self) -> None:
        """Nothing to take down."""

    def _print(self, text: str) -> None:
        # markup off: a path may hold [brackets]
        self._console.print(text, markup=False)


class BarProgress:
    """A bar with epoch, time left, loss, accuracy, speed, NFE and memory; finished epochs above it.

    Args:
        console: a terminal.
    """

    def __init__(self, console: Console) -> None:
        """Lay out the bar."""
        self._console = console
        self._epochs = 0
        self._bar = Bar(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=10),
            TaskProgressColumn(),
            TextColumn("[dim]left[/]"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            console=console,
            refresh_per_second=4,
            transient=True,
        )
        self._task = self._bar.add_task("train", total=None, epoch="", numbers="", start=False)

    def start(self, report: RunReport) -> None:
        """Say what is trained and show the bar."""
        self._epochs = report.epochs
        self._console.print(run_line(report), markup=False)
        self._bar.update(
            self._task, total=report.num_steps, completed=report.step, epoch=f"1/{report.epochs}"
        )
        self._bar.start_task(self._task)
        self._bar.start()

    def advance(self, step: int, epoch: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=step, epoch=f"{epoch}/{self._epochs}")

    def step(self, report: StepReport) -> None:
        """Show new numbers beside the bar."""
        nfe = (
            f"NFE {report.nfe_forward:.0f}+{report.nfe_backward:.0f}  "
            if report.nfe_forward
            else ""
        )
        numbers = (
            f"loss {report.loss:.4f}  {100 * report.accuracy:.1f} %  "
            f"{report.images_per_second:.0f} images/s  {nfe}{report.memory_bytes / 2**30:.2f} GiB"
        )
        self._bar.update(self._task, numbers=numbers)

    def epoch(self, report: EpochReport) -> None:
        """Write the epoch's line above the bar."""
        self._console.print(epoch_line(report, self._epochs), markup=False)

    def message(self, text: str) -> None:
        """Write the text above the bar."""
        self._console.print(text, markup=False)

    def close(self) -> None:
        """Remove the bar; the lines stay."""
        self._bar.stop()
