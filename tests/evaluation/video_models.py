"""Small untrained networks of videos, saved and loaded again."""

from pathlib import Path
from typing import Any

import torch

from odevision.data.clip_preprocessing import ClipPreprocessing
from odevision.data.motion import MOTION_CLASSES
from odevision.models.registry import build_model
from odevision.models.video_registry import VIDEO_MODELS
from odevision.training.card import Card, LoadedModel
from odevision.training.checkpoint import (
    load_checkpoint,
    save_checkpoint,
    solver_of,
    stored_weights,
)
from odevision.training.config import model_to_dict


def small_video_model(folder: Path, name: str, *, seed: int = 0, **fields: Any) -> LoadedModel:
    """A network of 32 x 32 frames at 8 a second, for the classes of `motion`."""
    torch.manual_seed(seed)
    if name == "video-r2plus1d":
        sizes: dict[str, Any] = {"widths": (8, 16)}
    else:
        sizes = {"stem_width": 8, "widths": (8, 16)}
    config = VIDEO_MODELS[name].config(num_classes=len(MOTION_CLASSES), **sizes, **fields)
    values = model_to_dict(config)
    values.pop("name")
    model = build_model(config)
    with torch.no_grad():
        model.head.weight.mul_(20.0)  # so that answers differ from one frame to the next
    card = Card(
        model_name=name,
        model=values,
        preprocessing=ClipPreprocessing(height=32, width=32, rate=8.0).to_dict(),
        class_names=MOTION_CLASSES,
        dataset="motion",
        solver=solver_of(values),
        split_index=1,
    )
    path = save_checkpoint(folder, weights=stored_weights(model), card=card)
    return load_checkpoint(path)
