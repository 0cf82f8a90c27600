"""Notice a loss or weights that are not finite, before they are stored."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


class TrainingDivergedError(RuntimeError):
    """The loss or the weights are not finite.

    Args:
        step: optimizer steps taken before the bad one.
        epoch: epoch of the bad step, from 1.
        what: what is not finite.
        checkpoint: the last good checkpoint, if there is one.
    """

    def __init__(self, *, step: int, epoch: int, what: str, checkpoint: Path | None) -> None:
        """Compose the message."""
        self.step, self.epoch, self.checkpoint = step, epoch, checkpoint
        saved = (
            f"The last good checkpoint is {checkpoint}."
            if checkpoint
            else "There is no checkpoint yet."
        )
        super().__init__(
            f"Training diverged: {what} at step {step} of epoch {epoch}. {saved} Likely cause: the "
            "learning rate is too high for this model and batch size, or bf16 is too coarse. Try "
            "a third of optimizer.learning_rate, a longer schedule.warmup_fraction, "
            "gradient_clip 1.0, or precision fp32."
        )


class LossGuard:
    """Looks at the loss of every step, without waiting for a GPU at every step.

    On the CPU each loss is checked at once, before the optimizer's step. On a GPU reading a number
    means to wait for all work queued so far; losses are collected there and checked together, at
    every log line and before every checkpoint, so that nothing bad is ever stored.
    """

    def __init__(self) -> None:
        """Start with no losses."""
        self._pending: list[tuple[int, int, Tensor]] = []

    def add(self, loss: Tensor, *, step: int, epoch: int) -> None:
        """Take note of a step's loss.

        Args:
            loss: scalar.
            step: optimizer steps taken before this one.
            epoch: from 1.
        """
        self._pending.append((step, epoch, loss.detach()))

    def check(self, checkpoint: Path | None) -> None:
        """Check all losses since the last check.

        Args:
            checkpoint: the last good checkpoint, for the message.

        Raises:
            TrainingDivergedError: naming the first step with a loss that is not finite.
        """
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        values = torch.stack([loss for _, _, loss in pending]).tolist()  # one wait for them all
        for (step, epoch, _), value in zip(pending, values, strict=True):
            if not math.isfinite(value):
                raise TrainingDivergedError(
                    step=step, epoch=epoch, what=f"the loss is {value}", checkpoint=checkpoint
                )


@torch.no_grad()
def first_not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """Look for a weight that is not finite.

    Args:
        weights: name -> tensor, all on one device.

    Returns:
        The name of the first such tensor, or None.
    """
    tensors = {name: t for name, t in weights.items() if t.is_floating_point()}
    if not tensors:
        return None
    finite = torch.stack([t.isfinite().all() for t in tensors.values()]).tolist()  # one wait
    return next((name for name, good in zip(tensors, finite, strict=True) if not good), None)
