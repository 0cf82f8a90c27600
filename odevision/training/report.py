"""What the training loop tells whoever watches it."""

import logging
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """What is about to be trained.

    Args:
        recipe: its name.
        run_dir: where everything is written.
        device: for example `cpu` or `cuda:0`.
        precision: `fp32` or `bf16`.
        num_parameters: of the network.
        num_training_samples: images or videos in the training part.
        num_validation_samples: held out of it.
        sample_name: `images` or `videos`.
        epochs: planned.
        num_steps: planned, over all epochs.
        step: taken already (by a run that is being resumed).
    """

    recipe: str
    run_dir: str
    device: str
    precision: str
    num_parameters: int
    num_training_samples: int
    num_validation_samples: int
    sample_name: str
    epochs: int
    num_steps: int
    step: int


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """Means over the steps since the last one of these.

    Args:
        step: taken so far.
        epoch: from 1.
        loss: mean training loss, label smoothing included.
        accuracy: fraction of training images.
        learning_rate: of the last step, for the weights.
        images_per_second: forward, backward and update.
        nfe_forward: evaluations of all vector fields in a forward pass.
        nfe_backward: in a backward pass.
        memory_bytes: peak.
        seconds: of training so far, all calls together.
    """

    step: int
    epoch: int
    loss: float
    accuracy: float
    learning_rate: float
    images_per_second: float
    nfe_forward: float
    nfe_backward: float
    memory_bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """An epoch's means.

    Args:
        step: taken so far.
        epoch: from 1.
        train_loss: mean training loss, label smoothing included.
        train_accuracy: fraction of (augmented) training images.
        validation_loss: mean cross entropy without label smoothing; None if not evaluated.
        validation_accuracy: fraction of validation images; None if not evaluated.
        nfe_forward: evaluations of all vector fields in a training forward pass.
        nfe_backward: in a backward pass.
        images_per_second: training only.
        seconds: of training so far, all calls together.
    """

    step: int
    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    nfe_forward: float
    nfe_backward: float
    images_per_second: float
    seconds: float


@runtime_checkable
class Progress(Protocol):
    """Watches a training run; every method returns at once."""

    def start(self, report: RunReport) -> None:
        """Training begins."""

    def advance(self, step: int, epoch: int) -> None:
        """A step was taken (its numbers may still be on their way)."""

    def step(self, report: StepReport) -> None:
        """New means of some steps."""

    def epoch(self, report: EpochReport) -> None:
        """An epoch ended."""

    def message(self, text: str) -> None:
        """Something the user should read."""

    def close(self) -> None:
        """Training ended, well or not."""


class SilentProgress:
    """Shows nothing; messages go to the log."""

    def start(self, report: RunReport) -> None:
        """Show nothing."""

    def advance(self, step: int, epoch: int) -> None:
        """Show nothing."""

    def step(self, report: StepReport) -> None:
        """Show nothing."""

    def epoch(self, report: EpochReport) -> None:
        """Show nothing."""

    def message(self, text: str) -> None:
        """Log the text."""
        logger.info(text)

    def close(self) -> None:
        """Show nothing."""
