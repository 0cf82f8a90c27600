"""Loss, accuracy and NFE over many batches, kept on the device until they are read."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import SumMetric
from torchmetrics.classification import MulticlassAccuracy


class RunningMetrics:
    """Means over images since the last reset.

    Args:
        num_classes: number of logits.
        device: where the batches are.
    """

    def __init__(self, num_classes: int, device: torch.device) -> None:
        """Start at nothing."""
        # torchmetrics' own checks of the values would wait for the device at each update. A sum,
        # because its MeanMetric forgets the weights when these checks are off.
        self.loss = SumMetric(nan_strategy="disable").to(device)
        self.accuracy = MulticlassAccuracy(num_classes, average="micro", validate_args=False).to(
            device
        )
        self.num_classes = num_classes
        self.device = device
        self._metrics = {"loss": self.loss, "accuracy": self.accuracy}
        for metric in self._metrics.values():
            metric.persistent(True)
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        for metric in self._metrics.values():
            metric.reset()
        self.num_images = 0
        self.num_batches = 0
        self.nfe_forward = 0
        self.nfe_backward = 0

    def update(
        self, loss: Tensor, logits: Tensor, labels: Tensor, nfe: tuple[int, int] = (0, 0)
    ) -> None:
        """Add a batch.

        Args:
            loss: mean over the batch, scalar.
            logits: shape (batch, classes).
            labels: shape (batch).
            nfe: evaluations of all vector fields, forward and backward.
        """
        self.loss.update(loss.detach() * len(labels))
        self.accuracy.update(logits.detach(), labels)
        self.num_images += len(labels)
        self.num_batches += 1
        self.nfe_forward += nfe[0]
        self.nfe_backward += nfe[1]

    def compute(self) -> dict[str, float]:
        """Read the means; waits for the device.

        Returns:
            loss and accuracy (a fraction) an image, nfe_forward and nfe_backward a batch.
        """
        num_batches = max(1, self.num_batches)
        loss = accuracy = 0.0
        if self.num_batches:
            loss = float(self.loss.compute()) / self.num_images
            # The exact quotient of two whole numbers, not its nearest float32.
            accuracy = round(float(self.accuracy.compute()) * self.num_images) / self.num_images
        return {
            "loss": loss,
            "accuracy": accuracy,
            "nfe_forward": self.nfe_forward / num_batches,
            "nfe_backward": self.nfe_backward / num_batches,
        }

    def state_dict(self) -> dict[str, Any]:
        """Take the sums so far.

        Returns:
            Numbers and tensors.
        """
        return {
            "counts": (self.num_images, self.num_batches, self.nfe_forward, self.nfe_backward),
            **{name: metric.state_dict() for name, metric in self._metrics.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from sums taken before.

        Args:
            state: from `state_dict`.
        """
        self.reset()
        counts = state["counts"]
        if counts[1]:
            # torchmetrics warns of sums read before any update; this one is overwritten below.
            self.loss.update(0.0)
            self.accuracy.update(
                torch.zeros(1, self.num_classes, device=self.device),
                torch.zeros(1, dtype=torch.int64, device=self.device),
            )
        self.num_images, self.num_batches, self.nfe_forward, self.nfe_backward = counts
        for name, metric in self._metrics.items():
            metric.load_state_dict(state[name])
            metric.to(self.device)
