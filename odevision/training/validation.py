"""The network's accuracy and loss on held-out images or videos."""

import torch
from torch.nn import functional as F

from odevision.data.clip_loader import ClipLoader
from odevision.data.loader import BatchLoader
from odevision.models.registry import Model, total_nfe
from odevision.training.running_metrics import RunningMetrics


@torch.inference_mode()
def validate(model: Model, loader: BatchLoader | ClipLoader, num_classes: int) -> dict[str, float]:
    """Measure a network in float32, as `odevision evaluate` does.

    Args:
        model: in evaluation mode, on the loader's device.
        loader: batches in a fixed order, not augmented.
        num_classes: number of logits.

    Returns:
        validation_accuracy (a fraction), validation_loss (mean cross entropy, no label smoothing)
        and nfe (evaluations of all vector fields in a forward pass, mean over batches).
    """
    metrics = RunningMetrics(num_classes, loader.device)
    for inputs, labels in loader.epoch(0):
        logits = model(inputs)
        loss = F.cross_entropy(logits.float(), labels)
        metrics.update(loss, logits, labels, nfe=(total_nfe(model), 0))
    values = metrics.compute()
    return {
        "validation_accuracy": values["accuracy"],
        "validation_loss": values["loss"],
        "nfe": values["nfe_forward"],
    }
