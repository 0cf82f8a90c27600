import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from odevision.cli.train_config import read_request
from odevision.models.odenet import ODENetConfig
from odevision.models.registry import build_model
from odevision.models.resnet import ResNetConfig
from odevision.recipes import RECIPES
from odevision.training.checkpoint import Card, find_checkpoint, read_card
from odevision.training.config import from_yaml, to_yaml

QUICK = ("--epochs", "1", "--data.limit", "64", "--data.batch-size", "32", "--device", "cpu")


def test_training_ends_with_commands_that_work(invoke: Callable, tmp_path: Path) -> None:
    outcome = invoke("train", "debug", *QUICK)
    assert outcome.code == 0, outcome.err
    commands = [line.split() for line in outcome.out.splitlines() if line.startswith("  odevision")]
    assert [words[1] for words in commands] == ["evaluate", "predict", "plot"]
    for words in commands[:2]:
        assert invoke(*words[1:]).code == 0
    assert (tmp_path / "runs" / "debug" / "config.yaml").is_file()


def test_training_ends_with_a_calibration_where_there_are_images_enough(
    invoke: Callable, tmp_path: Path
) -> None:
    few = invoke("train", "debug", *QUICK, "--out", "few")
    assert "The model was not calibrated" in few.err
    assert "Calibrated" not in few.out
    assert newest_card(tmp_path / "few").calibration == {}
    words = ("train", "debug", *QUICK, "--data.limit", "128", "--out", "many")
    many = invoke(*words)
    assert many.code == 0, many.err
    assert "Calibrated: calibration error" in many.out
    assert newest_card(tmp_path / "many").calibration["num_images"] == 128


def test_training_notes_what_finer_solves_change(invoke: Callable, tmp_path: Path) -> None:
    outcome = invoke("train", "debug", *QUICK, "--out", "run")
    assert outcome.code == 0, outcome.err
    assert "Validation answers that change: " in outcome.out
    metrics = newest_card(tmp_path / "run").metrics
    assert metrics["validation_consistency_num_samples"] == 64
    variants = metrics["validation_consistency"]
    assert len(variants) == 3 and all(0 <= one["changed_share"] <= 1 for one in variants)
    assert variants[0]["name"] in outcome.out


def newest_card(run: Path) -> Card:
    return read_card(find_checkpoint(run))


def test_a_second_run_gets_a_folder_of_its_own(invoke: Callable, tmp_path: Path) -> None:
    assert invoke("train", "debug", *QUICK).code == 0
    assert invoke("train", "debug", *QUICK).code == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["debug", "debug-2"]


def test_a_used_folder_is_not_overwritten(trained_run: Path, invoke: Callable) -> None:
    outcome = invoke("train", "debug", "--out", trained_run, *QUICK)
    assert outcome.code == 2
    assert "--resume" in outcome.err


def test_a_run_stopped_by_time_goes_on_by_the_command_it_prints(invoke: Callable) -> None:
    stopped = invoke("train", "debug", *QUICK, "--epochs", "3", "--max-minutes", "1e-6")
    assert stopped.code == 0, stopped.err
    line = next(part for part in stopped.err.split("Go on with: ")[1:])
    words = line.split("\n")[0].split()
    assert words[:2] == ["odevision", "train"]
    resumed = invoke(*words[1:])
    assert resumed.code == 0, resumed.err
    assert "Epochs trained: 3" in resumed.out


def test_every_field_can_be_overridden() -> None:
    words = [
        "debug",
        "--optimizer.learning-rate",
        "0.5",
        "--model.channels=32",
        "--compile",
        "true",
    ]
    config = read_request([*words, "--data.augmentation.flip", "random"], description="").config
    assert config.optimizer.learning_rate == 0.5
    assert config.model == ODENetConfig(channels=32, solver="rk4", num_steps=1)
    assert config.compile
    assert config.data.augmentation.flip == "random"


def test_the_recipe_may_stand_between_options() -> None:
    config = read_request(["--seed", "3", "debug", "--epochs", "7"], description="").config
    assert (config.recipe, config.seed, config.epochs) == ("debug", 3, 7)


@pytest.mark.parametrize(
    "flag", ["--compile", "--no-compile", "--channels-last", "--channels_last", "--"]
)
def test_the_recipe_may_follow_a_flag(flag: str) -> None:
    assert read_request([flag, "mnist-mini"], description="").config.recipe == "mnist-mini"


@pytest.mark.parametrize(
    "words", [["--resume", "false"], ["--resume=no"], ["--resume", "--resume=0"], ["--", "debug"]]
)
def test_resume_can_be_denied(words: list[str]) -> None:
    assert not read_request(["debug", *words], description="").resume


@pytest.mark.parametrize("word", ["--resume=yes", "--resume=1", "--resume=on", "--resume=True"])
def test_resume_takes_every_word_for_true(word: str, trained_run: Path) -> None:
    request = read_request([word, "--out", str(trained_run)], description="")
    assert request.resume
    assert request.config.recipe == "tiny"


def test_a_file_of_another_recipe_does_not_rename_the_one_given(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(RECIPES["mnist"]()))
    config = read_request(["debug", "--config", str(path)], description="").config
    assert config.recipe == "debug"
    assert config.epochs == RECIPES["mnist"]().epochs


@pytest.mark.parametrize("text", ["model: odenet", "model:", "model: {name: [odenet]}", "data:"])
def test_a_file_without_the_fields_of_a_part_is_refused(
    text: str, invoke: Callable, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text(text)
    outcome = invoke("train", "debug", "--config", "c.yaml")
    assert outcome.code == 2
    assert "c.yaml" in outcome.err


def test_another_model_keeps_classes_and_channels() -> None:
    config = read_request(["cifar10", "--model.name", "resnet"], description="").config
    assert isinstance(config.model, ResNetConfig)
    assert (config.model.num_classes, config.model.in_channels) == (10, 3)


@pytest.mark.parametrize("name", ["cifar10", "debug"])
@pytest.mark.parametrize("by_file", [False, True])
def test_a_resnet_has_the_parameters_of_the_network_it_replaces(
    name: str, by_file: bool, tmp_path: Path
) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("model:\n  name: resnet\n")
    choice = ["--config", str(path)] if by_file else ["--model.name", "resnet"]
    config = read_request([name, *choice], description="").config
    own, twin = (
        sum(parameter.numel() for parameter in build_model(model).parameters())
        for model in (RECIPES[name]().model, config.model)
    )
    assert isinstance(config.model, ResNetConfig)
    assert twin == pytest.approx(own, rel=0.03)


def test_a_resnet_can_be_made_like_another_network() -> None:
    words = ["cifar10", "--model.name", "resnet", "--model.like", "odenet"]
    config = read_request(words, description="").config
    assert config.model == ResNetConfig(in_channels=3, like="odenet")


def test_other_data_change_classes_and_channels() -> None:
    config = read_request(["debug", "--data", "cifar100"], description="").config
    assert config.data.name == "cifar100"
    assert (config.model.num_classes, config.model.in_channels) == (100, 3)


@pytest.mark.parametrize("name", RECIPES)
def test_a_saved_configuration_comes_back_through_config(name: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(RECIPES[name]()))
    assert read_request(["--config", str(path)], description="").config == RECIPES[name]()


def test_a_file_with_some_fields_is_laid_over_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("epochs: 5\noptimizer:\n  learning_rate: 0.25\n")
    config = read_request(["debug", "--config", str(path), "--seed", "1"], description="").config
    recipe = RECIPES["debug"]()
    assert (config.epochs, config.optimizer.learning_rate, config.seed) == (5, 0.25, 1)
    assert config.model == recipe.model
    assert config.optimizer.name == recipe.optimizer.name


def test_the_folder_of_the_run_a_file_came_from_is_not_reused(trained_run: Path) -> None:
    words = ["--config", str(trained_run / "config.yaml")]
    assert read_request(words, description="").config.out is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["mnst-mini"], "unknown recipe `mnst-mini`; did you mean `mnist-mini`?"),
        (["--epochs", "3"], "`RECIPE` is missing"),
        (["debug", "--epoch", "3"], "unknown option `--epoch`; did you mean `--epochs`?"),
        (["debug", "--lr", "3"], "did you mean `--optimizer.learning-rate`?"),
        (["debug", "--zzzzzz"], "unknown option `--zzzzzz`; did you mean"),
        (["debug", "--resume=maybe"], "`--resume` must be true or false"),
        (["debug", "--model.nme", "resnet"], "did you mean `--model.name`?"),
        (["debug", "--model.name", "resnt"], "unknown model `resnt`; did you mean `resnet`?"),
        (["debug", "--data", "cifar11"], "cifar10"),
        (["debug", "mnist"], "one recipe at a time"),
        (["debug", "--recipe", "mnist"], "try `odevision train mnist`"),
        (["debug", "--recipe", "mine"], "`--recipe` must be debug"),
        (["debug", "--data", ""], "`--data` needs a value"),
        (["debug", "--data", "--epochs", "1"], "`--data` needs a value"),
        (["debug", "--data", "mnist", "--data.name", "cifar10"], "mean the same"),
        (["debug", "--model.rtol", "1e-5"], "`--model.rtol` needs adaptive steps"),
        (["debug", "--config", "nothing.yaml"], "nothing.yaml cannot be read"),
        (["debug", "--resume"], "there is no run runs/debug to resume"),
        (["--resume"], "add --out RUN"),
        (["debug", "--resume", "--out", "x", "--config", "y"], "`--config` cannot be given"),
        (["debug", "--epochs", "0"], "`epochs` must be"),
        (["debug", "--epochs", "few"], "--epochs"),
    ],
)
def test_a_wrong_command_is_explained_with_exit_code_2(
    words: list[str], message: str, invoke: Callable
) -> None:
    outcome = invoke("train", *words)
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_a_wrong_key_in_a_file_is_named_with_the_right_one(
    invoke: Callable, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text("epoch: 3\n")
    outcome = invoke("train", "debug", "--config", "c.yaml")
    assert outcome.code == 2
    assert "epochs" in outcome.err


def test_a_resumed_run_may_not_change_what_it_trains(
    trained_run: Path, invoke: Callable, tmp_path: Path
) -> None:
    shutil.copytree(trained_run, tmp_path / "copy")
    outcome = invoke("train", "--resume", "--out", "copy", "--epochs", "9")
    assert outcome.code == 2
    assert "`epochs` must stay as it was" in outcome.err


def test_a_run_of_another_recipe_is_not_resumed(trained_run: Path, invoke: Callable) -> None:
    outcome = invoke("train", "debug", "--resume", "--out", trained_run)
    assert outcome.code == 2
    assert "is a run of the recipe tiny" in outcome.err


def test_train_alone_explains_itself(invoke: Callable) -> None:
    outcome = invoke("train", "--help")
    assert outcome.code == 0
    assert "mnist-mini" in outcome.out
    assert "--max-minutes" in outcome.out


def test_the_help_of_a_recipe_lists_its_fields(invoke: Callable) -> None:
    outcome = invoke("train", "debug", "--help")
    assert outcome.code == 0
    assert "--optimizer.learning-rate" in outcome.out


def test_results_of_train_go_to_stdout_and_progress_to_stderr(execute: Callable) -> None:
    outcome = execute("train", "debug", *QUICK)
    assert outcome.code == 0, outcome.err
    assert "Next:" in outcome.out
    assert "epoch 1/1" in outcome.err
    assert "epoch 1/1" not in outcome.out


def test_metrics_of_a_run_can_be_read_line_by_line(trained_run: Path) -> None:
    lines = (trained_run / "metrics.jsonl").read_text().splitlines()
    assert {json.loads(line)["event"] for line in lines} == {"train", "epoch"}


def test_a_run_keeps_its_whole_configuration(trained_run: Path) -> None:
    assert from_yaml((trained_run / "config.yaml").read_text()).epochs == 3
