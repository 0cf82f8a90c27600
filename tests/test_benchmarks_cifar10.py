"""The studies and the GPU script on CIFAR-10, at sizes of seconds and on noise."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import cifar10_gpu, cifar10_studies, training_runs
from benchmarks.cifar10_studies import Settings, run_study, solver_trainings
from benchmarks.deep_field import DeepField, DeepFieldConfig
from benchmarks.gpu_report import judge
from benchmarks.plain_network import PlainConfig, baseline_of
from benchmarks.second_order_field import SecondOrderConfig, SecondOrderField
from benchmarks.study_contestants import cost, matched_width
from benchmarks.training_runs import register_networks, train_once
from odevision.models.budget import evaluations
from odevision.models.odenet_stacked import ODENetStackedConfig
from odevision.models.registry import MODELS, build_model
from odevision.nn.head import MaxHead
from odevision.training.config import TrainConfig, model_from_dict, model_to_dict

NETWORK = ODENetStackedConfig(
    field="weight-norm", widths=(16, 32, 32), final_norm=True, gradient="direct"
)


@pytest.fixture(autouse=True)
def networks_of_the_benchmarks() -> Iterator[None]:
    """Known in these tests only: others go over the whole registry."""
    before = dict(MODELS)
    register_networks()
    yield
    for name in MODELS.keys() - before.keys():
        del MODELS[name]


@pytest.fixture
def noise(tmp_path: Path) -> str:
    """CIFAR-10's layout with 40 noisy images a file."""
    folder = tmp_path / "data" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        records = generator.integers(0, 256, (40, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(40) % 10
        records.tofile(folder / f"{name}.bin")
    return str(folder.parent)


def settings(study: str, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "study": study,
        "images": 32,
        "epochs": 1,
        "evaluations": 4,
        "device": "cpu",
        "threads": 1,
        "widths": (16, 16, 16),
        "batch_size": 16,
    }
    return Settings(**{**values, **changes})


def finished(config: TrainConfig) -> dict[str, Any]:
    """What a training would have shown, without one."""
    return {
        "validation_accuracy": 0.5 + 0.1 * config.seed,
        "seconds": 10.0,
        "cpu_seconds": 12.0,
        "peak_bytes": 2**30,
        "added_bytes": 2**20,
        "nfe_forward": 12.0,
        "nfe_backward": 0.0,
        "num_parameters": 1000,
        "multiply_adds": 1e6,
        "variants": {"dopri5 at 1e-05": {"accuracy_change": -0.001, "changed_share": 0.01}},
        "machine": "a machine",
    }


def test_solvers_with_constant_steps_take_equal_evaluations_or_say_so() -> None:
    for contestant in settings("solver").contestants("nowhere"):
        model = contestant.config.model
        assert isinstance(model, ODENetStackedConfig)
        if model.num_steps is None:
            assert contestant.group == f"rtol = atol = {model.rtol:g}"
            continue
        found = evaluations(model.solver, model.num_steps)
        assert found == 4 or f"({found} evaluations)" in contestant.name


def test_twelve_evaluations_are_equal_for_every_solver() -> None:
    found = settings("solver", evaluations=12).contestants("nowhere")
    assert not [one.name for one in found if "evaluations)" in one.name]


@pytest.mark.parametrize("study", cifar10_studies.STUDIES)
def test_contestants_of_a_study_have_names_of_their_own(study: str) -> None:
    names = [contestant.name for contestant in settings(study).contestants("nowhere")]
    assert len(names) == len(set(names)) >= (3 if study == "corruptions" else 9)


def test_the_ode_and_its_resnets_answer_corrupted_validation_images(
    noise: str, tmp_path: Path
) -> None:
    ode, *resnets, with_term = settings("corruptions").contestants(noise)
    assert ode.name.startswith("3 blocks") and isinstance(ode.config.model, ODENetStackedConfig)
    assert len(resnets) == 2 and all(one.name.startswith("ResNet") for one in resnets)
    assert with_term.config.model == ode.config.model and with_term.config.step_error_weight > 0
    run = lambda config: train_once(config, corruptions=True)
    places = {"data_root": noise, "out": tmp_path}
    (found,) = run_study(
        settings("corruptions"), seeds=1, only="2 blocks a stage", run=run, **places
    )
    wrong = found["corrupted"]
    assert len(wrong["accuracy"]) == 15 and 0 <= wrong["mean_error"] <= 1
    last = (tmp_path / "corruptions.md").read_text().strip().split("\n")[-1]
    assert last.endswith(f"| {100 * (1 - wrong['clean_accuracy']):.2f} |")


def test_each_ablation_differs_from_the_base() -> None:
    base, *others = settings("ablation").contestants("nowhere")
    assert base.name == "base"
    assert all(other.config != base.config for other in others)


@pytest.mark.parametrize("quantity", ["parameters", "multiply-adds"])
def test_the_matched_width_is_the_nearest(quantity: str) -> None:
    def network(width: int) -> ODENetStackedConfig:
        return dataclasses.replace(NETWORK, widths=(width,))

    target = cost(NETWORK)[quantity]
    off = {
        width: abs(np.log(cost(network(width))[quantity] / target)) for width in range(16, 129, 16)
    }
    found = matched_width(network, quantity, target)
    assert found.widths == (min(off, key=lambda width: off[width]),)


@pytest.mark.parametrize("residual", [True, False])
def test_baselines_match_the_parameters_or_the_multiply_adds(residual: bool) -> None:
    ours = cost(ode := dataclasses.replace(NETWORK, widths=(64, 128, 128)))
    by_size = cost(baseline_of(ode, residual=residual, blocks_per_stage=1))
    by_work = cost(baseline_of(ode, residual=residual, blocks_per_stage=2))
    assert by_size["parameters"] == pytest.approx(ours["parameters"], rel=0.01)
    assert by_work["multiply-adds"] == pytest.approx(ours["multiply-adds"], rel=0.01)


def test_a_plain_network_has_no_residual_block_and_comes_back_from_its_card() -> None:
    config = baseline_of(NETWORK, residual=False, blocks_per_stage=2)
    kinds = [type(stage).__name__ for stage in build_model(config).stages]  # pyright: ignore
    assert kinds == ["Transition", "PlainLayer", "PlainLayer"] * 3
    assert model_from_dict(model_to_dict(config)) == config


def test_baselines_have_as_many_convolutions_between_their_stages() -> None:
    ode = dataclasses.replace(NETWORK, transition_convs=2)
    for residual in (True, False):
        config = baseline_of(ode, residual=residual, blocks_per_stage=1)
        assert cost(config)["parameters"] == pytest.approx(cost(ode)["parameters"], rel=0.02)


def test_a_residual_baseline_has_the_head_of_the_ode_network() -> None:
    heads = [
        build_model(config).head  # pyright: ignore
        for config in (NETWORK, baseline_of(NETWORK, residual=True, blocks_per_stage=1))
    ]
    assert all(isinstance(head, MaxHead) for head in heads)
    assert len({str(head) for head in heads}) == 1


def test_a_deep_field_is_its_layers_in_turn_and_trains_them_all() -> None:
    config = DeepFieldConfig(
        field="weight-norm", widths=(16,), time_weights=True, field_layers=2, gradient="direct"
    )
    model = build_model(config)
    (block,) = model.ode_blocks()
    field, y = block.vector_field, torch.randn(2, 16, 4, 4)
    assert isinstance(field, DeepField)
    t = torch.tensor(0.5)
    expected = y
    for layer in field.layers:
        expected = layer(t, expected, *layer.prepare(y))  # pyright: ignore
    torch.testing.assert_close(field(t, y, *field.prepare(y)), expected)
    model(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in field.parameters())


def test_blocks_of_second_order_start_from_rest_and_slow_down() -> None:
    config = SecondOrderConfig(
        field="weight-norm", widths=(16,), solver="rk4", num_steps=64, gradient="direct"
    )
    model = build_model(config)
    (block,) = model.ode_blocks()
    field, x = block.vector_field, torch.randn(2, 16, 4, 4)
    assert isinstance(field, SecondOrderField)
    with torch.no_grad():  # a constant force of 1: v = (1 - exp(-c t)) / c
        field.field.gain.zero_()
        field.field.bias.fill_(1.0)
        field.damping.fill_(2.0)
        position, velocity = block(torch.cat([x, torch.zeros_like(x)], dim=1)).chunk(2, dim=1)
    expected = torch.full_like(x, (1 - np.exp(-2)) / 2)
    torch.testing.assert_close(velocity, expected)
    torch.testing.assert_close(position - x, (1 - expected) / 2)
    model(torch.randn(2, 3, 32, 32)).square().sum().backward()
    assert field.damping.grad is not None and field.damping.grad.any()


def test_multiply_adds_of_one_convolution() -> None:
    convolution = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    assert training_runs.multiply_adds(convolution, torch.zeros(2, 3, 4, 4)) == 3 * 8 * 9 * 16


def test_a_study_goes_on_where_it_stopped_and_refuses_other_settings(tmp_path: Path) -> None:
    calls: list[int] = []

    def run(config: TrainConfig) -> dict[str, Any]:
        calls.append(config.seed)
        return finished(config)

    def study(changed: Settings, seeds: int) -> list[dict[str, Any]]:
        return run_study(
            changed, data_root="none", seeds=seeds, out=tmp_path, only="euler", run=run
        )

    assert len(study(settings("solver"), 1)) == len(calls) == 1
    assert len(study(settings("solver"), 2)) == len(calls) == 2
    assert calls == [0, 1]
    assert (
        "| euler, 4 steps | 2 | 55.00 ± 7.07 | -0.10 | 1.00 |"
        in (tmp_path / "solver.md").read_text()
    )
    assert (tmp_path / "solver.png").stat().st_size > 0
    with pytest.raises(SystemExit, match="Try another --out"):
        study(settings("solver", epochs=2), 1)


def test_a_training_that_diverged_stays_in_the_table_and_out_of_the_figure(tmp_path: Path) -> None:
    def diverge(config: TrainConfig) -> dict[str, Any]:
        return {"failed": "the loss is nan", "machine": "a machine"}

    runs = run_study(settings("solver"), data_root="none", seeds=1, out=tmp_path, run=diverge)
    assert all(
        "diverged" in line for line in (tmp_path / "solver.md").read_text().split("\n")[6:-1]
    )
    assert solver_trainings(runs) == []


def test_one_training_is_measured_on_validation_images_only(
    noise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    load_split = training_runs.load_split

    def watched(name: str, split: Any, **options: Any) -> Any:
        seen.append(split)
        return load_split(name, split, **options)

    monkeypatch.setattr("odevision.training.batches.load_split", watched)
    monkeypatch.setattr(training_runs, "load_split", watched)
    rk4 = next(one for one in settings("solver").contestants(noise) if "rk4" in one.name)
    found = train_once(rk4.config)
    assert set(seen) == {"train", "validation"}
    assert found["nfe_forward"] == 12 and found["nfe_backward"] == 0
    assert found["multiply_adds"] == cost(rk4.config.model)["multiply-adds"]
    assert any(name.endswith("at 1e-05") for name in found["variants"])
    assert found["peak_bytes"] > found["added_bytes"] >= 0
    assert 0 <= found["validation_accuracy"] <= 1


def gpu_script(part: str, noise: str, out: Path, *more: str) -> int:
    places = ["--data-root", noise, "--out", str(out), "--device", "cpu"]
    return cifar10_gpu.main(["--part", part, "--debug", *places, *more])


def test_the_gpu_script_tests_once_and_writes_its_table(
    noise: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OUT", str(tmp_path / "copies"))
    assert gpu_script("small", noise, tmp_path / "out") == 0
    (run,) = json.loads((tmp_path / "out" / "small.json").read_text())["runs"]
    assert set(run["variants"]) == {"dopri5 at 1e-05", "2x the steps", "4x the steps"}
    assert set(run["accuracy_at"]) == {"2", "16"}
    assert "| cifar10-small | 1 |" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "copies").iterdir()} == {"small.json", "small.md"}
    monkeypatch.setattr(cifar10_gpu, "train", lambda *a, **b: pytest.fail("trained again"))
    assert gpu_script("small", noise, tmp_path / "out") == 0


def test_the_gpu_script_trains_all_baselines(noise: str, tmp_path: Path) -> None:
    assert gpu_script("baselines", noise, tmp_path / "out") == 0
    runs = json.loads((tmp_path / "out" / "baselines.json").read_text())["runs"]
    assert [run["name"] for run in runs] == [
        f"{kind}, equal {quantity}"
        for kind in ("ResNet", "plain network")
        for quantity in ("parameters", "multiply-adds")
    ]
    assert all(run["nfe"] == 0 and "variants" not in run for run in runs)


def test_the_gpu_script_says_that_its_time_is_up(
    noise: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu_script("best", noise, tmp_path / "out", "--minutes", "0.01") == 3
    assert "Go on with the same command" in capsys.readouterr().out


def test_goals_are_judged_by_the_mean_of_all_seeds() -> None:
    run = {
        "test_accuracy": 0.96,
        "seconds": 100.0,
        "num_parameters": 10,
        "variants": {"4x the steps": {"accuracy_change": -0.004, "changed_share": 0.01}},
        "accuracy_at": {"2": 0.94, "16": 0.96},
    }
    lines = judge("cifar10", [run] * 5)
    assert [line[:6] for line in lines[:3]] == ["met   ", "met   ", "MISSED"]
    assert lines[-1].startswith("MISSED")
    assert judge("cifar10", [run])[0].startswith("MISSED")
    assert judge("baselines", [run]) == []


def test_a_baseline_keeps_what_the_recipe_says_of_channels_and_classes() -> None:
    config = baseline_of(
        dataclasses.replace(NETWORK, num_classes=100), residual=False, blocks_per_stage=1
    )
    assert type(config) is PlainConfig
    assert (config.num_classes, config.in_channels, config.widths) == (100, 3, (16, 32, 32))
