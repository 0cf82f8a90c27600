"""The training loop, from a config to a checkpoint; read it from top to bottom."""

import contextlib
import copy
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from odevision.data.image import ImageReadError
from odevision.data.mixing import mix, mixing_generator
from odevision.models.registry import Model, build_model, takes_videos, total_nfe
from odevision.ode.solution import SolveError
from odevision.training.batches import (
    TrainingData,
    check_sizes,
    initial_images,
    load_training_data,
)
from odevision.training.checkpoint import load_training_state
from odevision.training.compiling import compile_model
from odevision.training.config import DataConfig, TrainConfig
from odevision.training.device import build_accelerator, keep_freed_memory, peak_memory_bytes
from odevision.training.divergence import TrainingDivergedError
from odevision.training.ema import build_ema, update_ema
from odevision.training.fingerprint import data_fingerprint
from odevision.training.metrics_log import MetricsLog
from odevision.training.optimizer import build_optimizer, build_schedule
from odevision.training.progressive import shrink, training_side
from odevision.training.random_state import seed_generators
from odevision.training.report import EpochReport, Progress, RunReport, SilentProgress, StepReport
from odevision.training.run_dir import claim_run, open_run, resume_command
from odevision.training.running_metrics import RunningMetrics
from odevision.training.saving import save, weights_to_store
from odevision.training.session import Session, Stopped
from odevision.training.state import TrainingState
from odevision.training.step_counts import measure_step_error, set_step_count, step_error
from odevision.training.stop import Deadline, StopRequest
from odevision.training.validation import validate
from odevision.types import Clips

__all__ = ["Stopped", "TrainResult", "TrainingDivergedError", "train"]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a call of `train` ended.

    Args:
        run_dir: directory of the run.
        checkpoint_dir: its newest checkpoint.
        metrics: of the latest validation (validation_accuracy, validation_loss, nfe, and the step
            they were taken at; absent before the first), with epochs and seconds.
        epochs: finished.
        seconds: wall time of this call and those it resumed.
        stopped: why it ended; `done` if all epochs are finished.
    """

    run_dir: Path
    checkpoint_dir: Path
    metrics: dict[str, float | int]
    epochs: int
    seconds: float
    stopped: Stopped


def train(
    config: TrainConfig, *, resume: bool = False, progress: Progress | None = None
) -> TrainResult:
    """Train a network.

    Args:
        config: everything the result depends on.
        resume: go on from the newest checkpoint in `config.out`, in the middle of an epoch if need
            be. On the CPU the weights are bitwise those of a run that was never stopped.
        progress: watches the run; None shows nothing.

    Returns:
        Where the checkpoint is, and the metrics of the network in it.

    Raises:
        ValueError: for a config that does not fit the data, the machine or the run directory.
        TrainingDivergedError: if the loss or the weights are no longer finite.
        CheckpointWriteError: if a checkpoint cannot be written.
    """
    started, deadline = time.perf_counter(), Deadline(config.max_minutes)
    progress = progress or SilentProgress()
    run = open_run(config, resume=resume)
    accelerator = build_accelerator(config)
    keep_freed_memory(accelerator.device)
    data = load_training_data(config, accelerator.device)
    is_new, is_bf16 = run.checkpoint is None, accelerator.mixed_precision == "bf16"
    state, evaluated = _build_state(config, data, is_new=is_new, is_bf16=is_bf16)
    if run.checkpoint is not None:
        state.load_state_dict(load_training_state(run.checkpoint))
    if config.compile:
        compile_model(state.model)
    # In bf16 this puts autocast around the forward pass, and turns what comes out to float32.
    network = accelerator.prepare(state.model)
    with (
        claim_run(run, config, resume=resume) as run,
        contextlib.closing(progress),
        contextlib.closing(MetricsLog(run.path, num_bytes=state.log_bytes, step=state.step)) as log,
        StopRequest() as stop,
    ):
        session = Session(
            config=config,
            run=run,
            accelerator=accelerator,
            data=data,
            state=state,
            network=network,
            evaluated=evaluated,
            log=log,
            progress=progress,
            stop=stop,
            deadline=deadline,
            started=started,
        )
        progress.start(_run_report(session))
        stopped: Stopped = "done"
        try:
            while stopped == "done" and state.epoch < config.epochs:
                stopped = _train_epoch(session)
                stopped = _finish_epoch(session) if stopped == "done" else stopped
        except ImageReadError as error:  # between two steps
            save(session)
            raise ValueError(
                f"{error}. The run is saved up to here. Try putting a readable file there, under "
                f"the same name, then {resume_command(config, run.path)}"
            ) from error
        if stopped != "done":
            save(session)
            progress.message(_explain_stop(session, stopped))
    return _result(session, stopped)


def _build_state(
    config: TrainConfig, data: TrainingData, *, is_new: bool, is_bf16: bool
) -> tuple[TrainingState, Model]:
    """Build the network with all that trains it, and a copy of it for validation."""
    seed_generators(config.seed)
    device, num_classes = data.training.device, len(data.class_names)
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    model = build_model(config.model).to(device)
    model = model.to(memory_format=layout)
    if is_new:
        check_sizes(model, config, data)
        _initialize(model, data, config.seed)
    measure_step_error(model, config)
    optimizer = build_optimizer(model, config.optimizer, is_bf16=is_bf16)
    state = TrainingState(
        model=model,
        ema=build_ema(model, config.ema_decay),
        optimizer=optimizer,
        schedule=build_schedule(optimizer, config.schedule, config.epochs * len(data.training)),
        window=RunningMetrics(num_classes, device),
        epoch_metrics=RunningMetrics(num_classes, device),
        data=data_fingerprint(data),
    )
    return state, copy.deepcopy(model).eval()


def _initialize(model: Model, data: TrainingData, seed: int) -> None:
    """Give a new network the weights that come from elsewhere: a file, or the training images."""
    load_pretrained = getattr(model, "load_pretrained", None)
    if load_pretrained is not None:
        load_pretrained()
    initialize_from = getattr(model, "initialize_from", None)
    if initialize_from is not None:
        initialize_from(initial_images(data, seed))


def _train_epoch(session: Session) -> Stopped:
    """Train to the end of the present epoch, or to a reason to stop."""
    config, state = session.config, session.state
    session.network.train()
    num_batches = len(session.data.training)
    lap = time.perf_counter()
    for inputs, labels in session.data.training.epoch(state.epoch, state.batch):
        _train_step(session, inputs, labels)
        state.batch += 1
        state.step += 1
        session.progress.advance(state.step, state.epoch + 1)
        is_logged = state.step % config.log_every_steps == 0
        if is_logged:
            session.guard.check(session.checkpoint)  # waits for the device, so before the clock
        seconds = time.perf_counter() - lap
        state.window_seconds += seconds
        state.epoch_seconds += seconds
        if is_logged:
            _log_steps(session)
        if session.stop.requested:
            return "interrupted"
        is_end = state.batch == num_batches
        ahead = session.validation_seconds if is_end else 2 * seconds
        if not session.deadline.allows(ahead + session.save_seconds):
            return "max_minutes"
        since_save = time.perf_counter() - session.saved_at
        if since_save >= 60 * config.checkpoint_every_minutes and not is_end:
            save(session)
        lap = time.perf_counter()
    return "done"


def _train_step(session: Session, inputs: Tensor | Clips, labels: Tensor) -> None:
    """Forward, loss, backward, clip, step, schedule, average, metrics."""
    config, state, accelerator = session.config, session.state, session.accelerator
    targets = labels
    if isinstance(inputs, Tensor):
        inputs, targets, labels = _changed(session, inputs, labels)
    set_step_count(state.model, config, state.epoch, state.batch)
    try:
        logits = session.network(inputs)
    except SolveError as error:  # weights that ran away show here before they reach the loss
        raise _diverged(session, f"an ODE could not be solved ({error})") from error
    loss = F.cross_entropy(logits.float(), targets, label_smoothing=config.label_smoothing)
    if config.step_error_weight:
        loss = loss + config.step_error_weight * step_error(state.model)
    session.guard.add(loss, step=state.step, epoch=state.epoch + 1)
    if accelerator.device.type == "cpu":  # elsewhere it would wait for the device at every step
        session.guard.check(session.checkpoint)
    accelerator.backward(loss)
    if config.gradient_clip is not None:
        accelerator.clip_grad_norm_(state.model.parameters(), config.gradient_clip)
    session.learning_rate = state.optimizer.param_groups[0]["lr"]
    state.optimizer.step()
    state.schedule.step()
    state.optimizer.zero_grad()
    if state.ema is not None:
        update_ema(state.ema, state.model, config.ema_decay)
    nfe = total_nfe(state.model), _total_nfe_backward(state.model)
    state.window.update(loss, logits, labels, nfe)
    state.epoch_metrics.update(loss, logits, labels, nfe)


def _changed(session: Session, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shrink and mix images if the config says so: images, targets, and the heavier labels."""
    config, state = session.config, session.state
    assert isinstance(config.data, DataConfig)
    full = images.shape[-1]
    images = shrink(images, training_side(config.data, state.epoch, full, epochs=config.epochs))
    if config.mixup_alpha == 0 and config.cutmix_alpha == 0:
        return images, labels, labels
    mixed = mix(
        images,
        labels,
        mixing_generator(config.seed, state.epoch, state.batch),
        num_classes=len(session.data.class_names),
        mixup_alpha=config.mixup_alpha,
        cutmix_alpha=config.cutmix_alpha,
    )
    return mixed.images, mixed.targets, mixed.labels


def _finish_epoch(session: Session) -> Stopped:
    """Validate, report and save; with that the epoch is finished."""
    config, state = session.config, session.state
    session.guard.check(session.checkpoint)
    is_last = state.epoch + 1 == config.epochs
    validation: dict[str, float] = {}
    if is_last or (state.epoch + 1) % config.evaluate_every_epochs == 0:
        started = time.perf_counter()
        # What is measured is what will be in the file, rounded if it is rounded there.
        session.evaluated.load_state_dict(weights_to_store(session))
        validation = _validate(session)
        state.metrics = {**validation, "step": state.step}
        session.validation_seconds = time.perf_counter() - started
    _log_epoch(session, validation)
    state.epoch, state.batch, state.epoch_seconds = state.epoch + 1, 0, 0.0
    state.epoch_metrics.reset()
    if session.stop.requested and not is_last:
        return "interrupted"  # train() saves
    save(session)
    return "done"


def _validate(session: Session) -> dict[str, float]:
    num_classes = len(session.data.class_names)
    try:
        validation = validate(session.evaluated, session.data.validation, num_classes)
    except SolveError as error:
        raise _diverged(session, f"an ODE could not be solved in validation ({error})") from error
    if not math.isfinite(validation["validation_loss"]):
        raise _diverged(session, f"the validation loss is {validation['validation_loss']}")
    return validation


def _diverged(session: Session, what: str) -> TrainingDivergedError:
    state = session.state
    return TrainingDivergedError(
        step=state.step, epoch=state.epoch + 1, what=what, checkpoint=session.checkpoint
    )


def _log_steps(session: Session) -> None:
    """Report the means over the steps since the last line, and begin the next one."""
    state = session.state
    report = StepReport(
        step=state.step,
        epoch=state.epoch + 1,
        learning_rate=session.learning_rate,
        images_per_second=state.window.num_images / max(state.window_seconds, 1e-9),
        memory_bytes=peak_memory_bytes(session.accelerator.device),
        seconds=session.seconds,
        **state.window.compute(),
    )
    session.log.write("train", **vars(report))
    session.progress.step(report)
    state.window.reset()
    state.window_seconds = 0.0


def _log_epoch(session: Session, validation: dict[str, float]) -> None:
    state = session.state
    means = state.epoch_metrics.compute()
    report = EpochReport(
        step=state.step,
        epoch=state.epoch + 1,
        train_loss=means["loss"],
        train_accuracy=means["accuracy"],
        validation_loss=validation.get("validation_loss"),
        validation_accuracy=validation.get("validation_accuracy"),
        nfe_forward=means["nfe_forward"],
        nfe_backward=means["nfe_backward"],
        images_per_second=state.epoch_metrics.num_images / max(state.epoch_seconds, 1e-9),
        seconds=session.seconds,
    )
    session.log.write("epoch", **vars(report))
    session.progress.epoch(report)


def _total_nfe_backward(model: Model) -> int:
    stats = [block.last_stats for block in model.ode_blocks()]
    return sum(one.nfe_backward for one in stats if one is not None)


def _run_report(session: Session) -> RunReport:
    return RunReport(
        recipe=session.config.recipe,
        run_dir=str(session.run.path),
        device=str(session.accelerator.device),
        precision="bf16" if session.accelerator.mixed_precision == "bf16" else "fp32",
        num_parameters=session.num_parameters,
        num_training_samples=session.data.training.num_samples,
        num_validation_samples=session.data.validation.num_samples,
        sample_name="videos" if takes_videos(session.config.model) else "images",
        epochs=session.config.epochs,
        num_steps=session.num_steps,
        step=session.state.step,
    )


def _explain_stop(session: Session, stopped: Stopped) -> str:
    config, state = session.config, session.state
    reason = f"after {config.max_minutes} minutes" if stopped == "max_minutes" else "on request"
    return (
        f"Stopped {reason} at step {state.step} of {session.num_steps} (epoch "
        f"{min(state.epoch + 1, config.epochs)} of {config.epochs}); saved in "
        f"{session.checkpoint}. Go on with: {resume_command(config, session.run.path)}"
    )


def _result(session: Session, stopped: Stopped) -> TrainResult:
    assert session.checkpoint is not None
    return TrainResult(
        run_dir=session.run.path,
        checkpoint_dir=session.checkpoint,
        metrics=session.metrics,
        epochs=session.state.epoch,
        seconds=session.seconds,
        stopped=stopped,
    )
