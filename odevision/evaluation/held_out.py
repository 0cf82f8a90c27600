"""Whether a network that has just been trained is an ODE, asked of what was held out."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from odevision.data.clip_source import ClipSource
from odevision.data.image_set import ImageSet
from odevision.data.video_sources import load_video_split
from odevision.evaluation.answers import Answers, answer_split
from odevision.evaluation.calibrate import load_validation_images
from odevision.evaluation.consistency import Variant, compare_solvers
from odevision.evaluation.video_answers import answer_videos
from odevision.training.annotate import annotate_checkpoint
from odevision.training.checkpoint import LoadedModel, read_card

CONSISTENCY_LIMIT = 500
"""Validation images or videos that the end of a training solves more finely."""


def note_consistency(
    loaded: LoadedModel,
    *,
    data_root: str | Path | None = None,
    cache_dir: str | Path | None = None,
    limit: int | None = None,
    batch_size: int = 8,
    on_batch: Callable[[int, int], None] | None = None,
) -> list[Variant]:
    """Solve validation images or videos under finer and other solvers, and write that to the card.

    The card gets `validation_consistency`, with the fields of `Variant`, and
    `validation_consistency_num_samples`.

    Args:
        loaded: the model; its checkpoint is written to.
        data_root: where data sets lie; None searches the usual places.
        cache_dir: where decoded frames of videos are kept; None takes the user's cache folder.
        limit: as many images or videos as it was trained with at most; at most
            `CONSISTENCY_LIMIT` are taken in any case.
        batch_size: images or videos at once.
        on_batch: called after each batch with (images or videos answered, in all) of a variant.

    Returns:
        One entry a variant; none for a model without ODE blocks, whose card stays as it is.

    Raises:
        ValueError: if it is not known what was held out.
        DataNotFoundError: if the data is not there.
        CheckpointWriteError: if the checkpoint cannot be written.
    """
    if not loaded.card.solver:
        return []
    num = min(limit or CONSISTENCY_LIMIT, CONSISTENCY_LIMIT)
    if loaded.takes_videos:
        held_out = _validation_videos(loaded, data_root, cache_dir, num)
    else:
        held_out = load_validation_images(loaded, data_root=data_root, limit=num)

    def answer(variant: LoadedModel) -> Answers:
        how: Any = {"batch_size": batch_size, "on_batch": on_batch}
        if isinstance(held_out, ImageSet):
            return answer_split(variant, held_out, **how)
        return answer_videos(variant, held_out, held_out.labels, **how)[0]

    variants = compare_solvers(loaded, answer(loaded), answer)
    card = read_card(loaded.path)
    found = {
        "validation_consistency": [dataclasses.asdict(one) for one in variants],
        "validation_consistency_num_samples": len(held_out),
    }
    annotate_checkpoint(
        loaded.path, dataclasses.replace(card, metrics={**card.metrics, **found}), {}
    )
    return variants


def _validation_videos(
    loaded: LoadedModel, data_root: str | Path | None, cache_dir: str | Path | None, limit: int
) -> ClipSource:
    """The videos that were held out."""
    assert loaded.card.validation_fraction is not None  # a run writes it
    return load_video_split(
        loaded.card.dataset,
        "validation",
        preprocessing=loaded.clip_preprocessing,
        data_root=data_root,
        validation_fraction=loaded.card.validation_fraction,
        split_index=loaded.card.split_index or 1,
        limit=limit,
        cache_dir=cache_dir,
    )
