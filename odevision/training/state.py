"""Everything that changes during a run, and so has to be in a checkpoint."""

from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from odevision.models.registry import Model
from odevision.training.random_state import generator_states, restore_generators
from odevision.training.running_metrics import RunningMetrics

_NUMBERS = (
    "epoch",
    "batch",
    "step",
    "seconds",
    "window_seconds",
    "epoch_seconds",
    "log_bytes",
    "metrics",
)


@dataclass(kw_only=True)
class TrainingState:
    """Weights, optimizer, schedule, average, position in the data, and metrics so far.

    The order of the images and their augmentation are functions of seed, epoch and batch, so the
    two numbers `epoch` and `batch` are the whole position of the sampler.

    Args:
        model: the network that is trained.
        ema: running average of its weights, if there is one.
        optimizer: with its moments.
        schedule: of the learning rate.
        window: metrics since the last log line.
        epoch_metrics: metrics of the present epoch.
        data: fingerprint of the images or videos that `epoch` and `batch` are positions in.
        epoch: the present one, from 0; also the number of finished epochs.
        batch: the next one of the epoch, from 0.
        step: optimizer steps taken.
        seconds: wall time of earlier calls and this one up to the last `seconds` update.
        window_seconds: training time since the last log line.
        epoch_seconds: training time in the present epoch.
        log_bytes: length of metrics.jsonl.
        metrics: of the latest validation; empty before.
    """

    model: Model
    ema: AveragedModel | None
    optimizer: Optimizer
    schedule: LRScheduler
    window: RunningMetrics
    epoch_metrics: RunningMetrics
    data: str
    epoch: int = 0
    batch: int = 0
    step: int = 0
    seconds: float = 0.0
    window_seconds: float = 0.0
    epoch_seconds: float = 0.0
    log_bytes: int = 0
    metrics: dict[str, float | int] = field(default_factory=dict)

    @property
    def best_model(self) -> nn.Module:
        """The network that is validated and stored: the average, if there is one."""
        return self.model if self.ema is None else self.ema.module

    def state_dict(self) -> dict[str, Any]:
        """Take everything, the global random generators included.

        Returns:
            Tensors and plain values.
        """
        return {
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "window": self.window.state_dict(),
            "epoch_metrics": self.epoch_metrics.state_dict(),
            "generators": generator_states(),
            "data": self.data,
            **{name: getattr(self, name) for name in _NUMBERS},
        }

    def load_state_dict(self, values: dict[str, Any]) -> None:
        """Go on from what was taken before.

        Args:
            values: from `state_dict`.

        Raises:
            ValueError: the images or videos are not those of then.
        """
        if values.get("data", self.data) != self.data:
            raise ValueError(
                "`data` must be what it was to resume, but images or videos were added, removed or "
                "renamed since: others would be validated on. Put them back as they were, or start "
                "a new run with another --out."
            )
        self.model.load_state_dict(values["model"])
        if self.ema is not None:
            self.ema.load_state_dict(values["ema"])
        self.optimizer.load_state_dict(values["optimizer"])
        self.schedule.load_state_dict(values["schedule"])
        self.window.load_state_dict(values["window"])
        self.epoch_metrics.load_state_dict(values["epoch_metrics"])
        for name in _NUMBERS:
            setattr(self, name, values[name])
        restore_generators(values["generators"])
