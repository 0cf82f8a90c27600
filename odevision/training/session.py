"""What the parts of the training loop share during one call of `train`."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from accelerate import Accelerator
from torch import nn

from odevision.models.registry import Model
from odevision.training.batches import TrainingData
from odevision.training.config import TrainConfig
from odevision.training.divergence import LossGuard
from odevision.training.metrics_log import MetricsLog
from odevision.training.report import Progress
from odevision.training.run_dir import Run
from odevision.training.state import TrainingState
from odevision.training.stop import Deadline, StopRequest

Stopped = Literal["done", "max_minutes", "interrupted"]


@dataclass(kw_only=True)
class Session:
    """One call of `train`; what outlives it is in `state`.

    Args:
        config: of the run.
        run: its directory.
        accelerator: device and precision.
        data: training and validation batches.
        state: all that changes, and is saved.
        network: `state.model` as prepared by the accelerator.
        evaluated: a copy of the network that takes the weights to be validated.
        log: metrics.jsonl and TensorBoard.
        progress: whoever watches.
        stop: Ctrl-C.
        deadline: end of the time that was given.
        started: clock at the call.
        guard: checks the losses.
        checkpoint: the newest one, None before the first.
        earlier_seconds: wall time of the calls that this one resumes.
        saved_at: clock at the newest checkpoint.
        save_seconds: how long the latest checkpoint took; 0 before.
        validation_seconds: how long the latest validation took; 0 before.
        learning_rate: of the latest step, for the weights.
    """

    config: TrainConfig
    run: Run
    accelerator: Accelerator
    data: TrainingData
    state: TrainingState
    network: nn.Module
    evaluated: Model
    log: MetricsLog
    progress: Progress
    stop: StopRequest
    deadline: Deadline
    started: float
    guard: LossGuard = field(default_factory=LossGuard)
    checkpoint: Path | None = field(init=False)
    earlier_seconds: float = field(init=False)
    saved_at: float = field(default_factory=time.perf_counter)
    save_seconds: float = 0.0
    validation_seconds: float = 0.0
    learning_rate: float = 0.0

    def __post_init__(self) -> None:
        """Go on from where the run stands."""
        self.checkpoint = self.run.checkpoint
        self.earlier_seconds = self.state.seconds

    @property
    def seconds(self) -> float:
        """Wall time of the run, the calls before this one included."""
        return self.earlier_seconds + time.perf_counter() - self.started

    @property
    def num_steps(self) -> int:
        """Planned steps of the whole run."""
        return self.config.epochs * len(self.data.training)

    @property
    def num_parameters(self) -> int:
        """Parameters of the network, frozen ones included."""
        return sum(p.numel() for p in self.state.model.parameters())

    @property
    def metrics(self) -> dict[str, float | int]:
        """Those of the latest validation and its step, with the epochs and seconds until now."""
        seconds = round(self.state.seconds, 3)
        return {**self.state.metrics, "epochs": self.state.epoch, "seconds": seconds}
