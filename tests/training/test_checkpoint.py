import dataclasses
import errno
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

from odevision.data.preprocessing import Preprocessing
from odevision.models.odenet import ODENet, ODENetConfig
from odevision.models.resnet import ResNet, ResNetConfig
from odevision.training import atomic
from odevision.training.annotate import annotate_checkpoint
from odevision.training.checkpoint import (
    Card,
    CheckpointError,
    CheckpointWriteError,
    load_checkpoint,
    load_training_state,
    newest_checkpoint,
    read_card,
    save_checkpoint,
    solver_of,
    stored_weights,
)

CONFIG = ODENetConfig(channels=4, solver="heun", num_steps=2)
PREPROCESSING = Preprocessing(image_size=28, num_channels=1, mean=(0.1,), std=(0.3,))


def make_card(step: int = 1, config: Any = CONFIG, name: str = "odenet") -> Card:
    values = dataclasses.asdict(config)
    return Card(
        model_name=name,
        model=values,
        preprocessing=PREPROCESSING.to_dict(),
        class_names=tuple("0123456789"),
        dataset="mnist-mini",
        solver=solver_of(values),
        metrics={"validation_accuracy": 0.5, "epochs": 1},
        step=step,
    )


def save(run_dir: Path, step: int = 1, dtype: torch.dtype = torch.float32) -> tuple[ODENet, Path]:
    torch.manual_seed(step)
    model = ODENet(CONFIG)
    path = save_checkpoint(
        run_dir,
        weights=stored_weights(model, dtype),
        card=make_card(step),
        training_state={"step": step, "tensor": torch.arange(3)},
    )
    return model, path


def test_loaded_network_gives_the_same_logits(tmp_path: Path) -> None:
    model, path = save(tmp_path)
    loaded = load_checkpoint(tmp_path)
    images = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded.model(images), model(images))
    assert not loaded.model.training
    assert loaded.path == path
    assert loaded.preprocessing == PREPROCESSING


def test_card_survives_its_file(tmp_path: Path) -> None:
    _, path = save(tmp_path)
    assert read_card(path) == make_card()


def test_class_names_that_are_not_utf8_survive(tmp_path: Path) -> None:
    names = ("caf\udce9", "tea\u00e9")
    card = dataclasses.replace(make_card(), class_names=names)
    path = save_checkpoint(tmp_path, weights=ODENet(CONFIG).state_dict(), card=card)
    assert read_card(path).class_names == names
    annotate_checkpoint(path, dataclasses.replace(card, step=2), {})
    assert read_card(path).class_names == names and "tea\u00e9" in (path / "card.json").read_text()


def test_card_is_readable_json_with_the_names_it_promises(tmp_path: Path) -> None:
    _, path = save(tmp_path)
    text = (path / "card.json").read_text()
    assert text.count("\n") > 20
    assert json.loads(text)["solver"] == {
        "solver": "heun",
        "num_steps": 2,
        "rtol": 1e-3,
        "atol": 1e-3,
        "gradient": "checkpointed",
    }


def test_training_state_survives_its_file(tmp_path: Path) -> None:
    _, path = save(tmp_path, step=5)
    state = load_training_state(path)
    assert state["step"] == 5
    assert torch.equal(state["tensor"], torch.arange(3))


def test_half_precision_weights_are_smaller_and_come_back_as_float32(tmp_path: Path) -> None:
    _, whole = save(tmp_path / "whole")
    model, half = save(tmp_path / "half", dtype=torch.float16)
    sizes = [(path / "weights.safetensors").stat().st_size for path in (whole, half)]
    assert sizes[1] < sizes[0]
    loaded = load_checkpoint(half)
    for name, tensor in loaded.model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, model.state_dict()[name].half().float())


def test_stored_weights_share_no_memory_with_the_model() -> None:
    model = ODENet(CONFIG)
    weights = stored_weights(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert any(tensor.abs().sum() > 0 for tensor in weights.values())


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / ".tmp-step-00000009").mkdir(parents=True)  # of a killed process
    for step in (1, 2, 3):
        save(tmp_path, step)
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000002", "step-00000003"]


def test_saving_a_step_twice_replaces_it(tmp_path: Path) -> None:
    save(tmp_path, 1)
    save_checkpoint(
        tmp_path,
        weights=stored_weights(ODENet(CONFIG)),
        card=dataclasses.replace(make_card(1), epoch=9),
    )
    assert load_checkpoint(tmp_path).card.epoch == 9
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1


def test_solver_can_be_exchanged_on_loading(tmp_path: Path) -> None:
    save(tmp_path)
    loaded = load_checkpoint(tmp_path, solver="rk4", num_steps=8)
    assert (loaded.card.solver["solver"], loaded.card.solver["num_steps"]) == ("rk4", 8)
    (block,) = loaded.model.ode_blocks()
    assert (block.solver, block.num_steps) == ("rk4", 8)


def test_tolerance_makes_the_step_size_adaptive(tmp_path: Path) -> None:
    save(tmp_path)
    loaded = load_checkpoint(tmp_path, solver="dopri5", rtol=1e-5)
    assert loaded.card.model["num_steps"] is None
    assert loaded.card.model["rtol"] == 1e-5


def test_tolerance_together_with_constant_steps_is_refused(tmp_path: Path) -> None:
    save(tmp_path)
    with pytest.raises(ValueError, match="`num_steps` must not be given together"):
        load_checkpoint(tmp_path, num_steps=4, rtol=1e-5)


def test_unknown_solver_is_the_users_mistake_not_the_files(tmp_path: Path) -> None:
    save(tmp_path)
    with pytest.raises(ValueError, match="dopri6") as caught:
        load_checkpoint(tmp_path, solver="dopri6")
    assert not isinstance(caught.value, CheckpointError)


def test_solver_of_a_network_without_one_cannot_be_set(tmp_path: Path) -> None:
    config = ResNetConfig(widths=(4,))
    save_checkpoint(
        tmp_path,
        weights=stored_weights(ResNet(config)),
        card=make_card(config=config, name="resnet"),
    )
    assert load_checkpoint(tmp_path).card.solver == {}
    with pytest.raises(ValueError, match="resnet has no ODE solver at all"):
        load_checkpoint(tmp_path, num_steps=4)


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_truncated_weights_are_refused_by_name(tmp_path: Path, length: int) -> None:
    _, path = save(tmp_path)
    file = path / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"weights.safetensors is truncated or not a safeten"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("length", [0, 4, 100, -100])
def test_truncated_training_state_is_refused_by_name(tmp_path: Path, length: int) -> None:
    _, path = save(tmp_path)
    file = path / "training_state.pt"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="training_state.pt is truncated"):
        load_training_state(path)


def test_training_state_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"x": Evil()}, tmp_path / "training_state.pt")
    with pytest.raises(CheckpointError):
        load_training_state(tmp_path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["weights.safetensors", "card.json"])
def test_missing_file_is_named(tmp_path: Path, name: str) -> None:
    _, path = save(tmp_path)
    (path / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(path)


def test_shipped_weights_cannot_be_resumed_and_say_so(tmp_path: Path) -> None:
    _, path = save(tmp_path)
    (path / "training_state.pt").unlink()
    load_checkpoint(path)
    with pytest.raises(CheckpointError, match="can be evaluated, but its training cannot"):
        load_training_state(path)


@pytest.mark.parametrize(
    ("config", "name", "message"),
    [
        (ResNetConfig(widths=(4,)), "resnet", "of another model than resnet"),
        (ODENetConfig(channels=8), "odenet", "has shape"),
    ],
)
def test_card_of_another_model_is_refused(
    tmp_path: Path, config: Any, name: str, message: str
) -> None:
    _, path = save(tmp_path)
    (path / "card.json").write_text(make_card(config=config, name=name).to_json())
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_name": "unheard"}, "unheard"),
        ({"model": {"chanels": 3}}, "chanels"),
        ({"preprocessing": {}}, "card.json"),
        ({"class_names": 3}, "not a card"),
        ({"class_names": ["a", "b"]}, "`class_names` must hold 10 names"),
        ({"surprise": 1}, "surprise"),
        ({"step": "many"}, "`step` must be"),
    ],
)
def test_foreign_card_is_refused_with_the_cause(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    _, path = save(tmp_path)
    values = json.loads((path / "card.json").read_text())
    (path / "card.json").write_text(json.dumps({**values, **change}))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"{}"])
def test_broken_card_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    _, path = save(tmp_path)
    (path / "card.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="card.json"):
        load_checkpoint(path)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    weights = stored_weights(ODENet(CONFIG))
    next(iter(weights.values())).fill_(float("nan"))
    save_checkpoint(tmp_path, weights=weights, card=make_card())
    with pytest.raises(CheckpointError, match="not finite"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("file", ["weights.safetensors", "training_state.pt", "card.json"])
def test_disk_full_at_any_file_keeps_the_previous_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    model, previous = save(tmp_path, 1)
    write_synced = atomic.write_synced

    def fail(path: Path, content: bytes) -> None:
        if path.name == file:
            path.write_bytes(content[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        write_synced(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "write_synced", fail)
        with pytest.raises(CheckpointWriteError, match=r"No space left.* MiB are free") as caught:
            save(tmp_path, 2)
    assert "step-00000002" in str(caught.value)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]
    assert newest_checkpoint(tmp_path) == previous
    loaded = load_checkpoint(tmp_path)
    for found, expected in zip(loaded.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(found, expected)
    assert load_training_state(previous)["step"] == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_write_that_the_system_refuses_keeps_the_previous_checkpoint(tmp_path: Path) -> None:
    """The system itself refuses here: files may not grow beyond 8 KiB, as if the disk were full."""
    script = textwrap.dedent(
        """
        import resource, signal, sys
        import torch
        from odevision.training.checkpoint import CheckpointWriteError, save_checkpoint
        from tests_card import card

        def save(step):
            save_checkpoint(
                sys.argv[1],
                weights={"x": torch.zeros(10_000)},
                card=card(step),
                training_state={"step": step},
            )

        save(1)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        try:
            save(2)
        except CheckpointWriteError as error:
            print(error)
        """
    )
    (tmp_path / "tests_card.py").write_text(
        "from odevision.training.checkpoint import Card\n"
        "def card(step):\n"
        "    return Card(model_name='x', model={}, preprocessing={}, class_names=('a',),"
        " dataset='x', step=step)\n"
    )
    run_dir = tmp_path / "run"
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, str(tmp_path)])}
    done = subprocess.run(
        [sys.executable, "-c", script, str(run_dir)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Cannot save the checkpoint" in done.stdout
    assert [path.name for path in (run_dir / "checkpoints").iterdir()] == ["step-00000001"]
    assert load_training_state(run_dir / "checkpoints" / "step-00000001")["step"] == 1
