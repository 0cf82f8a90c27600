import dataclasses
import json
import logging
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from odevision.models.odenet import ODENet, ODENetConfig
from odevision.models.odenet_stacked import ODENetStacked, ODENetStackedConfig
from odevision.models.resnet import ResNetConfig
from odevision.nn.ode_block import ODEBlock
from odevision.ode.solution import SolveError
from odevision.training import checkpoint as checkpoint_module
from odevision.training import device, loop, saving
from odevision.training.checkpoint import (
    CheckpointWriteError,
    load_checkpoint,
    load_training_state,
    newest_checkpoint,
)
from odevision.training.config import DataConfig, OptimizerConfig
from odevision.training.device import build_accelerator
from odevision.training.loop import TrainingDivergedError, train
from odevision.training.metrics_log import MetricsLog
from odevision.training.report import EpochReport, RunReport, SilentProgress, StepReport
from odevision.training.run_dir import read_run_config
from odevision.training.stop import Deadline
from odevision.training.validation import validate


class Recorder(SilentProgress):
    """Remembers what it is told, and may act at a step."""

    def __init__(self, actions: dict[int, Any] | None = None) -> None:
        self.actions = actions or {}
        self.runs: list[RunReport] = []
        self.steps: list[StepReport] = []
        self.epochs: list[EpochReport] = []
        self.messages: list[str] = []
        self.closed = False

    def start(self, report: RunReport) -> None:
        self.runs.append(report)

    def advance(self, step: int, epoch: int) -> None:
        if step in self.actions:
            self.actions[step]()

    def step(self, report: StepReport) -> None:
        self.steps.append(report)

    def epoch(self, report: EpochReport) -> None:
        self.epochs.append(report)

    def message(self, text: str) -> None:
        self.messages.append(text)

    def close(self) -> None:
        self.closed = True


def events(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def test_run_directory_holds_all_that_is_promised(small_config) -> None:
    config = small_config()
    result = train(config)
    assert result.stopped == "done"
    assert result.epochs == 2
    assert read_run_config(result.run_dir) == config
    assert {path.name for path in result.checkpoint_dir.iterdir()} == {
        "weights.safetensors",
        "card.json",
        "training_state.pt",
    }
    assert any((result.run_dir / "tensorboard").iterdir())
    card = load_checkpoint(result.run_dir).card
    assert (card.step, card.epoch, card.dataset) == (20, 2, "mnist-mini")
    assert card.metrics == result.metrics
    assert set(card.metrics) == {
        "validation_accuracy",
        "validation_loss",
        "nfe",
        "step",
        "epochs",
        "seconds",
    }
    assert set(card.versions) == {"odevision", "torch", "python"}
    assert card.class_names == tuple("0123456789")
    assert card.num_parameters == sum(p.numel() for p in ODENet(config.model).parameters())


def test_log_has_a_line_every_few_steps_and_every_epoch(small_config) -> None:
    recorder = Recorder()
    result = train(small_config(), progress=recorder)
    lines = events(result.run_dir)
    assert [line["step"] for line in lines if line["event"] == "train"] == [3, 6, 9, 12, 15, 18]
    assert [line["epoch"] for line in lines if line["event"] == "epoch"] == [1, 2]
    assert lines[0].items() >= {"event": "train", "epoch": 1, "nfe_forward": 2.0}.items()
    assert set(lines[0]) == {"event", *vars(recorder.steps[0])}
    assert lines[0]["nfe_backward"] == 2.0
    assert [report.step for report in recorder.steps] == [3, 6, 9, 12, 15, 18]
    assert [report.epoch for report in recorder.epochs] == [1, 2]
    assert recorder.runs[0].num_steps == 20
    assert recorder.closed


def test_same_seed_gives_the_same_weights_and_another_seed_others(small_config, tmp_path) -> None:
    states = []
    for i, seed in enumerate((1, 1, 2)):
        result = train(small_config(epochs=1, seed=seed, out=str(tmp_path / str(i))))
        states.append(load_training_state(result.checkpoint_dir)["model"])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("weights_dtype", ["float32", "float16"])
def test_metrics_on_the_card_are_those_of_the_stored_network(
    small_config, ema_decay: float, weights_dtype: str
) -> None:
    from odevision.training.batches import load_training_data

    config = small_config(epochs=1, ema_decay=ema_decay, weights_dtype=weights_dtype)
    result = train(config)
    loaded = load_checkpoint(result.run_dir)
    data = load_training_data(config, torch.device("cpu"))
    values = validate(loaded.model, data.validation, 10)
    assert values["validation_accuracy"] == result.metrics["validation_accuracy"]
    assert values["validation_loss"] == result.metrics["validation_loss"]
    raw = load_training_state(result.checkpoint_dir)["model"]
    same = all(torch.equal(raw[name], t) for name, t in loaded.model.state_dict().items())
    assert same == (ema_decay == 0.0 and weights_dtype == "float32")


def test_network_learns_the_embedded_digits(small_config) -> None:
    config = small_config(
        model=ODENetStackedConfig(in_channels=1, widths=(16, 32)),
        data=DataConfig(name="mnist-mini", limit=1000, batch_size=50),
        optimizer=OptimizerConfig(name="adamw", learning_rate=0.01, weight_decay=0.01),
        epochs=3,
    )
    assert train(config).metrics["validation_accuracy"] > 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"model": ResNetConfig(widths=(4,))},
        {"precision": "bf16"},
        {"gradient_clip": 0.1, "label_smoothing": 0.1},
        {"optimizer": OptimizerConfig(name="adamw", learning_rate=0.001)},
        {"model": ODENetConfig(channels=4)},
        {"evaluate_every_epochs": 5},
    ],
)
def test_every_option_trains(
    small_config, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "why_not_bf16", lambda name: None)
    result = train(small_config(**changes))
    assert result.stopped == "done"
    assert 0 <= result.metrics["validation_accuracy"] <= 1


def test_epochs_without_validation_say_none_and_the_last_one_has_it(small_config) -> None:
    result = train(small_config(evaluate_every_epochs=5))
    accuracies = [line.get("validation_accuracy") for line in events(result.run_dir)]
    first, last = [
        a for a, line in zip(accuracies, events(result.run_dir), strict=True)
        if line["event"] == "epoch"
    ]  # fmt: skip
    assert first is None
    assert last is not None


def test_bf16_keeps_weights_loss_and_state_in_float32(
    small_config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "why_not_bf16", lambda name: None)
    dtypes = set()
    solve, entropy = ODEBlock.forward, loop.F.cross_entropy

    def spy_on_solve(self: ODEBlock, y0: torch.Tensor) -> torch.Tensor:
        y1 = solve(self, y0)
        dtypes.add(("state", y1.dtype))
        return y1

    def spy_on_loss(logits: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        loss = entropy(logits, *args, **options)
        dtypes.add(("loss", loss.dtype))
        return loss

    monkeypatch.setattr(ODEBlock, "forward", spy_on_solve)
    monkeypatch.setattr(loop.F, "cross_entropy", spy_on_loss)
    result = train(small_config(precision="bf16", epochs=1))
    assert dtypes == {("state", torch.float32), ("loss", torch.float32)}
    state = load_training_state(result.checkpoint_dir)
    assert {t.dtype for t in state["model"].values()} == {torch.float32}


def test_bf16_runs_the_layers_in_bf16(small_config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "why_not_bf16", lambda name: None)
    dtypes = set()
    forward = ODENet.forward

    def spy(self: ODENet, images: torch.Tensor) -> torch.Tensor:
        if torch.is_autocast_enabled("cpu"):
            dtypes.add(torch.get_autocast_dtype("cpu"))
        return forward(self, images)

    monkeypatch.setattr(ODENet, "forward", spy)
    train(small_config(precision="bf16", epochs=1))
    assert dtypes == {torch.bfloat16}


def test_model_is_initialized_from_training_images_once(
    small_config, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = []
    initialize = ODENetStacked.initialize_from

    def spy(self: ODENetStacked, images: torch.Tensor) -> None:
        shapes.append(tuple(images.shape))
        initialize(self, images)

    monkeypatch.setattr(ODENetStacked, "initialize_from", spy)
    config = small_config(
        model=ODENetStackedConfig(in_channels=1, widths=(16,)), epochs=1, ema_decay=0.9
    )
    train(config)
    train(config, resume=True)
    assert shapes == [(80, 1, 28, 28)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_finishes_the_step_saves_and_says_how_to_go_on(
    small_config, number: signal.Signals
) -> None:
    recorder = Recorder({14: lambda: os.kill(os.getpid(), number)})
    config = small_config()
    result = train(config, progress=recorder)
    assert result.stopped == "interrupted"
    assert result.checkpoint_dir.name == "step-00000014"
    (message,) = recorder.messages
    assert "step 14 of 20 (epoch 2 of 2)" in message
    assert f"odevision train small --out {config.out} --resume" in message
    assert recorder.closed


def test_time_limit_stops_saves_and_can_be_resumed(
    small_config, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ThirteenSteps(Deadline):
        def __init__(self, max_minutes: float | None) -> None:
            self.left = 13 if max_minutes else 1000

        def allows(self, seconds: float) -> bool:
            self.left -= 1
            return self.left > 0

    monkeypatch.setattr(loop, "Deadline", ThirteenSteps)
    recorder = Recorder()
    config = small_config(max_minutes=0.5)
    result = train(config, progress=recorder)
    assert result.stopped == "max_minutes"
    assert result.epochs == 1
    assert result.checkpoint_dir.name == "step-00000013"
    assert "after 0.5 minutes at step 13 of 20" in recorder.messages[0]
    again = train(dataclasses.replace(config, max_minutes=None), resume=True)
    assert again.stopped == "done"
    assert again.checkpoint_dir.name == "step-00000020"


def test_real_time_limit_stops_the_run(small_config) -> None:
    config = small_config(max_minutes=0.005, epochs=10_000)
    result = train(config)
    assert result.stopped == "max_minutes"
    assert newest_checkpoint(result.run_dir) == result.checkpoint_dir


def test_nan_loss_stops_before_the_weights_are_spoiled(
    small_config, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    cross_entropy = torch.nn.functional.cross_entropy

    def spoil(*args: Any, **kwargs: Any) -> torch.Tensor:
        nonlocal calls
        calls += torch.is_grad_enabled()
        return cross_entropy(*args, **kwargs) * (float("nan") if calls == 15 else 1.0)

    monkeypatch.setattr(loop.F, "cross_entropy", spoil)
    config = small_config()
    with pytest.raises(TrainingDivergedError) as caught:
        train(config)
    message = str(caught.value)
    assert "loss is nan at step 14 of epoch 2" in message
    assert str(Path(config.out) / "checkpoints" / "step-00000010") in message
    assert "optimizer.learning_rate" in message
    monkeypatch.undo()
    assert train(config, resume=True).stopped == "done"


def test_weights_that_ran_away_are_reported_as_divergence_and_not_stored(small_config) -> None:
    config = small_config(optimizer=OptimizerConfig(learning_rate=1e30))
    with pytest.raises(TrainingDivergedError, match="Training diverged"):
        train(config)
    assert newest_checkpoint(config.out) is None


def test_disk_full_while_training_keeps_the_previous_checkpoint(
    small_config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(target: Path, files: Any) -> None:
        if target.name == "step-00000020":
            raise OSError(28, "No space left on device")
        write_directory(target, files)

    write_directory = checkpoint_module.write_directory
    monkeypatch.setattr(checkpoint_module, "write_directory", full)
    config = small_config()
    with pytest.raises(OSError, match="Cannot save the checkpoint .*No space left"):
        train(config)
    monkeypatch.undo()
    assert load_checkpoint(config.out).card.step == 10
    assert train(config, resume=True).stopped == "done"


def test_disk_full_under_the_log_is_a_checkpoint_that_cannot_be_written(
    small_config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: MetricsLog) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MetricsLog, "sync", full)
    with pytest.raises(CheckpointWriteError, match="metrics.jsonl .*No space left"):
        train(small_config(epochs=1))


@pytest.mark.parametrize(
    ("outcome", "message"),
    [(float("nan"), "validation loss is nan"), (None, "not be solved in validation")],
)
def test_validation_that_fails_is_reported_as_divergence(
    small_config, monkeypatch: pytest.MonkeyPatch, outcome: float | None, message: str
) -> None:
    class Unsolved(SolveError):
        def __init__(self) -> None:
            pass

    def spoil(*args: Any) -> dict[str, float]:
        if outcome is None:
            raise Unsolved
        return {"validation_accuracy": 0.1, "validation_loss": outcome, "nfe": 1.0}

    monkeypatch.setattr(loop, "validate", spoil)
    config = small_config(epochs=1)
    with pytest.raises(TrainingDivergedError, match=f"{message}.* at step 10 of epoch 1"):
        train(config)
    assert newest_checkpoint(config.out) is None


def test_stored_weights_that_overflow_are_not_written(
    small_config, monkeypatch: pytest.MonkeyPatch
) -> None:
    overflow = torch.tensor(1e5).to(torch.float16)
    monkeypatch.setattr(saving, "weights_to_store", lambda session: {"head.weight": overflow})
    config = small_config(epochs=1)
    with pytest.raises(TrainingDivergedError, match=r"the weight head\.weight is not finite"):
        train(config)
    assert newest_checkpoint(config.out) is None


def test_compile_without_a_compiler_warns_and_trains(
    small_config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with caplog.at_level(logging.WARNING):
        result = train(small_config(compile=True, epochs=1))
    assert result.stopped == "done"
    assert "no C++ compiler" in caplog.text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("model", "precision"),
    [
        (ODENetConfig(channels=4, solver="heun", num_steps=1), "bf16"),
        (ResNetConfig(widths=(4,)), "fp32"),
    ],
    ids=["odenet", "resnet"],
)
def test_compiled_run_ends_near_the_plain_one(
    small_config, tmp_path: Path, precision: str, model: Any
) -> None:
    losses = []
    for compiled in (False, True):
        config = small_config(
            epochs=1,
            compile=compiled,
            precision=precision,
            model=model,
            ema_decay=0.5,
            out=str(tmp_path / f"compiled-{compiled}"),
        )
        losses.append(train(config).metrics["validation_loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)


def test_mistake_in_the_config_leaves_no_directory_behind(small_config) -> None:
    config = small_config(model=ODENetConfig(in_channels=3))
    with pytest.raises(ValueError, match="in_channels"):
        train(config)
    assert not Path(config.out).exists()


def test_images_too_small_for_the_network_leave_no_directory_behind(small_config) -> None:
    config = small_config(model=ODENetConfig(in_channels=1))
    small = dataclasses.replace(config, data=dataclasses.replace(config.data, image_size=4))
    with pytest.raises(ValueError, match=r"`data.image_size` must suit the network, got 4"):
        train(small)
    progressive = dataclasses.replace(config.data, progressive_size=4, progressive_fraction=0.5)
    with pytest.raises(ValueError, match=r"`data.progressive_size` must suit the network, got 4"):
        train(dataclasses.replace(config, data=progressive))
    assert not Path(config.out).exists()


def test_checkpoints_come_inside_an_epoch_too(
    small_config, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = []
    save_checkpoint = saving.save_checkpoint

    def spy(run_dir: Path, **kwargs: Any) -> Path:
        saved.append(kwargs["card"].step)
        return save_checkpoint(run_dir, **kwargs)

    monkeypatch.setattr(saving, "save_checkpoint", spy)
    train(small_config(checkpoint_every_minutes=0.0))
    assert saved == list(range(1, 21))


def test_accelerator_of_another_run_does_not_matter(small_config) -> None:
    build_accelerator(small_config(precision="bf16"))
    assert train(small_config(epochs=1)).stopped == "done"
