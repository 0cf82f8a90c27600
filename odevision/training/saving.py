"""Save the present moment of a run as a checkpoint."""

import time

import torch
from torch import Tensor

from odevision.training.checkpoint import (
    Card,
    CheckpointWriteError,
    current_versions,
    save_checkpoint,
    solver_of,
    stored_weights,
)
from odevision.training.config import model_to_dict
from odevision.training.divergence import TrainingDivergedError, first_not_finite
from odevision.training.session import Session


def weights_to_store(session: Session) -> dict[str, Tensor]:
    """Take the weights that go into the file: the average's if there is one, rounded if need be.

    Args:
        session: of the run.

    Returns:
        Name -> host tensor.
    """
    return stored_weights(session.state.best_model, getattr(torch, session.config.weights_dtype))


def save(session: Session) -> None:
    """Write a checkpoint, if all of it is finite.

    Args:
        session: of the run; takes note of the checkpoint and of how long it took.

    Raises:
        TrainingDivergedError: if a loss or a weight, trained or stored, is not finite; nothing is
            written then.
        CheckpointWriteError: if it cannot be written.
    """
    started = time.perf_counter()
    state = session.state
    session.guard.check(session.checkpoint)
    weights = weights_to_store(session)
    # Both: training goes on from the former, and the latter are an average, or rounded to float16,
    # where large weights become infinite.
    bad = first_not_finite(state.model.state_dict()) or first_not_finite(weights)
    if bad is not None:
        raise TrainingDivergedError(
            step=state.step,
            epoch=state.epoch + 1,
            what=f"the weight {bad} is not finite",
            checkpoint=session.checkpoint,
        )
    state.seconds = session.seconds
    try:
        state.log_bytes = session.log.sync()
    except OSError as error:
        raise CheckpointWriteError(
            f"Cannot save a checkpoint, because {session.log.path} or the tensorboard folder "
            f"beside it cannot be written: {error.strerror or error}. Earlier checkpoints are "
            "untouched. Free some space and go on with --resume, or train with --out on another "
            "disk."
        ) from error
    session.checkpoint = save_checkpoint(
        session.run.path,
        weights=weights,
        card=_card(session),
        training_state=state.state_dict(),
    )
    session.saved_at = time.perf_counter()
    session.save_seconds = session.saved_at - started


def _card(session: Session) -> Card:
    config, state, data = session.config, session.state, session.data
    model = model_to_dict(config.model)
    name = model.pop("name")
    return Card(
        model_name=name,
        model=model,
        preprocessing=data.preprocessing.to_dict(),
        class_names=data.class_names,
        dataset=config.data.name,
        solver=solver_of(model),
        metrics=session.metrics,
        versions=current_versions(),
        recipe=config.recipe,
        seed=config.seed,
        step=state.step,
        epoch=state.epoch,
        num_parameters=session.num_parameters,
        validation_fraction=config.data.validation_fraction,
        split_index=getattr(config.data, "split_index", None),
    )
