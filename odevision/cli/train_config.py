"""The configuration of a training run from the words of `odevision train`.

First the base is found (a recipe, a YAML file, or the run to resume), then the network class if
another was asked for, and on this base every field can be overridden.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
import yaml

from odevision.cli.arguments import OptionSpec, arrange, is_option, option_specs, peek_flag
from odevision.cli.errors import UsageError, unknown
from odevision.data.sources import dataset_info
from odevision.data.video_sources import video_class_names
from odevision.models.odenet import ODENetConfig
from odevision.models.odenet_stacked import ODENetStackedConfig
from odevision.models.registry import MODELS, ModelConfig, model_name, takes_videos
from odevision.models.video_registry import VideoConfig, count_parameters, match_parameters
from odevision.recipes import RECIPES
from odevision.recipes.folder import folder
from odevision.training.config import DataConfig, TrainConfig, fits_equal_steps, from_yaml, to_yaml
from odevision.training.run_dir import read_run_config
from odevision.training.video_data import VideoDataConfig

_EXTRA_OPTIONS = {
    "--config": OptionSpec(name="--config", kind="one"),
    "--resume": OptionSpec(name="--resume", kind="flag"),
    "--data": OptionSpec(name="--data", kind="one"),
    "--model.name": OptionSpec(name="--model.name", kind="one"),
}


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What a command line asks for.

    Args:
        config: the whole configuration.
        resume: whether to go on with the run in `config.out`.
    """

    config: TrainConfig
    resume: bool


def _peek(words: Sequence[str], name: str) -> str | None:
    """Return the last value given for an option, before the options of the base are known."""
    value = None
    for index, word in enumerate(words):
        if word == "--":
            break
        typed, equals, text = word.partition("=")
        if typed.replace("_", "-") == name:
            if equals:
                value = text
            elif index + 1 < len(words) and not is_option(words[index + 1]):
                value = words[index + 1]
    return value


def _words_without_value() -> set[str]:
    """Return the words beginning with `--` that take no value, whatever the network is."""
    found = {"--", "--help", "--resume"}
    for entry in MODELS.values():
        model = entry.config()
        data = VideoDataConfig() if takes_videos(model) else DataConfig()
        default = TrainConfig(model=model, data=data)
        for spec in option_specs(TrainConfig, default, switches_off=True).values():
            if spec.kind == "flag":
                found.update(name for name in (spec.name, spec.negation) if name is not None)
    return found


def _peek_recipe(words: Sequence[str]) -> str | None:
    """Return the recipe: a word that names one and is not the value of an option."""
    without_value = _words_without_value()
    for index, word in enumerate(words):
        previous = words[index - 1].replace("_", "-") if index > 0 else ""
        is_value = (
            previous.startswith("--") and "=" not in previous and previous not in without_value
        )
        if word in RECIPES and not is_value:
            return word
    return _peek(words, "--recipe")


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings with changes laid over them."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = _merged(old, value)
        result[key] = value
    return result


def _from_file(path: Path, recipe: str | None, words: Sequence[str]) -> TrainConfig:
    """Read a YAML file; with a recipe, the file's fields are laid over the recipe's.

    The file's run directory is not taken over: it belongs to the run the file was saved by. Nor is
    its recipe's name, where one is named on the command line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"`--config` {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"`--config` {path} must be text in UTF-8, which it is not") from error
    try:
        if recipe is not None:
            changes = yaml.safe_load(text) or {}
            if not isinstance(changes, Mapping):
                raise ValueError("it must be a mapping of fields")
            changes = {key: changes[key] for key in changes if key not in ("recipe", "out")}
            model = changes.get("model", {})
            if not isinstance(model, Mapping):
                raise ValueError(f"`model` must be a mapping of fields, got {model!r}")
            name = str(model["name"]) if "name" in model else None
            start = RECIPES[recipe]()
            if recipe == "folder":
                data = changes.get("data", {})
                size = data.get("image_size") if isinstance(data, Mapping) else None
                start = _folder_recipe(words, default=size)
            base = _with_model(start, name, like=model.get("like"))
            text = yaml.safe_dump(_merged(yaml.safe_load(to_yaml(base)), changes))
        return dataclasses.replace(from_yaml(text), out=None)
    except (ValueError, yaml.YAMLError) as error:
        raise UsageError(f"`--config` {path}: {error}") from error


def _run_to_resume(words: Sequence[str], recipe: str | None) -> Path:
    """Return the run directory to go on with: `--out`, or the recipe's newest run."""
    out = _peek(words, "--out")
    if out is not None:
        return Path(out)
    if recipe is None:
        raise UsageError("`--resume` needs to know the run: add --out RUN, or name the recipe")
    pattern = re.compile(rf"{re.escape(recipe)}(?:-(\d+))?")
    numbered = [
        (int(match[1] or 1), path)
        for path in Path("runs").glob(f"{recipe}*")
        if (match := pattern.fullmatch(path.name)) and path.is_dir()
    ]
    if not numbered:
        raise UsageError(f"there is no run runs/{recipe} to resume; add --out RUN")
    return max(numbered)[1]


def _base(words: Sequence[str], *, resume: bool) -> TrainConfig:
    """Return the configuration that the options of a command line are laid over."""
    recipe = _peek_recipe(words)
    if recipe is not None and recipe not in RECIPES:
        raise unknown("recipe", recipe, RECIPES)
    file = _peek(words, "--config")
    if resume:
        if file is not None:
            raise UsageError(
                "`--config` cannot be given with --resume: a run goes on with its own config.yaml"
            )
        run = _run_to_resume(words, recipe)
        stored = read_run_config(run)
        if recipe is not None and recipe != stored.recipe:
            raise UsageError(f"`{run}` is a run of the recipe {stored.recipe}, not of {recipe}")
        # The time limit of the first call has been used up; this call has its own or none.
        return dataclasses.replace(stored, out=str(run), max_minutes=None)
    if file is not None:
        return _from_file(Path(file), recipe, words)
    if recipe is None:
        given = [word for word in words[:1] if not word.startswith("-")]
        if given:
            raise unknown("recipe", given[0], RECIPES)
        raise UsageError(
            f"`RECIPE` is missing: name one of {', '.join(RECIPES)}, or give --config FILE"
        )
    return _folder_recipe(words) if recipe == "folder" else RECIPES[recipe]()


def _folder_recipe(words: Sequence[str], *, default: object = None) -> TrainConfig:
    """Return the recipe of folders, scaled to the image size that is asked for."""
    size = _peek(words, "--data.image-size") or str(default)
    # A wrong number is refused where it is parsed.
    return folder(int(size)) if size.isdecimal() else folder()


def _twin_fields(model: ModelConfig) -> dict[str, Any]:
    """Return the fields of the residual network that has a network's parameters."""
    fields: dict[str, Any] = {"like": model_name(model)}
    if isinstance(model, ODENetConfig):
        fields["widths"] = (model.channels,)
    elif isinstance(model, ODENetStackedConfig):
        shared = ("widths", "field", "transition_convs", "final_norm", "stem_stride")
        fields.update((name, getattr(model, name)) for name in shared)
    return fields


def _with_model(base: TrainConfig, name: str | None, *, like: str | None) -> TrainConfig:
    """Exchange the network; the classes and channels of the data stay.

    A residual network becomes the twin of the network it replaces, unless `like` asks for that of
    another one, which has its own widths.
    """
    if name is None:
        return base
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    if isinstance(base.model, MODELS[name].config):
        return base
    if isinstance(base.model, VideoConfig):
        return dataclasses.replace(base, model=_matched_video(base.model, name))
    is_twin = name == "resnet" and like in (None, model_name(base.model))
    fields = _twin_fields(base.model) if is_twin else {}
    model = MODELS[name].config(
        num_classes=base.model.num_classes, in_channels=base.model.in_channels, **fields
    )
    if takes_videos(model):
        raise UsageError(f"`{name}` is a network of videos; the recipe {base.recipe} has images")
    if not fits_equal_steps(model):
        # What only networks with equal steps can be trained with goes with the one replaced.
        return dataclasses.replace(base, model=model, step_counts=(), step_error_weight=0.0)
    return dataclasses.replace(base, model=model)


_SHARED_BY_VIDEOS = ("num_classes", "in_channels", "stem_width", "frame_blocks", "frame_input")


def _matched_video(base: VideoConfig, name: str) -> VideoConfig:
    """Return another network of videos that sees the same and has about as many parameters."""
    if not takes_videos(MODELS[name].config()):
        raise UsageError(f"`{name}` is a network of images; it cannot take the recipe's videos")
    known = {field.name for field in dataclasses.fields(MODELS[name].config)}
    shared = {f: getattr(base, f) for f in _SHARED_BY_VIDEOS if f in known and hasattr(base, f)}
    return match_parameters(name, count_parameters(base), **shared)


def _with_data(base: TrainConfig, words: Sequence[str]) -> TrainConfig:
    """Exchange the data set, and fit the network's classes and channels to it."""
    given = {option: _peek(words, option) for option in ("--data", "--data.name")}
    names = {value for value in given.values() if value is not None}
    if len(names) > 1:
        raise UsageError("`--data` and `--data.name` mean the same: give one of them")
    name = names.pop() if names else None
    if name == "":
        raise UsageError("`--data` needs a value: the name of a data set, a folder or a file")
    if name is None or name == base.data.name:
        return base
    root = _peek(words, "--data-root") or base.data_root
    if isinstance(base.data, VideoDataConfig):
        num_classes = len(video_class_names(name, data_root=root))
        model = dataclasses.replace(base.model, num_classes=num_classes)
        return dataclasses.replace(
            base, model=model, data=dataclasses.replace(base.data, name=name)
        )
    info = dataset_info(name, data_root=root)
    model = dataclasses.replace(
        base.model, num_classes=len(info.class_names), in_channels=info.num_channels
    )
    return dataclasses.replace(base, model=model, data=dataclasses.replace(base.data, name=name))


def read_request(words: Sequence[str], *, description: str) -> TrainRequest:
    """Turn the words after `odevision train` into a configuration.

    Args:
        words: the words.
        description: text above the help.

    Returns:
        What is asked for.

    Raises:
        UsageError: an option, recipe or model is unknown, or options contradict each other.
        ValueError: a value is out of its range.
        SystemExit: help was asked for (0), or a value does not fit (2, explained on stderr).
    """
    words = list(words)
    resume = peek_flag(words, _EXTRA_OPTIONS["--resume"])
    base = _with_model(
        _base(words, resume=resume),
        _peek(words, "--model.name"),
        like=_peek(words, "--model.like"),
    )
    base = _with_data(base, words)

    fields = option_specs(TrainConfig, base, switches_off=True)
    options, positionals = arrange(words, {**fields, **_EXTRA_OPTIONS})
    if any(word != base.recipe for word in positionals):
        extra = next(word for word in positionals if word != base.recipe)
        raise UsageError(f"one recipe at a time, got also `{extra}`")
    named = _peek(words, "--recipe")
    if named not in (None, base.recipe):
        raise UsageError(
            f"`--recipe` must be {base.recipe}, the recipe that the run came from, got {named!r}"
            + (f"; try `odevision train {named}`" if named in RECIPES else "; leave it out")
        )
    config = tyro.cli(
        TrainConfig,
        args=_without_extra(options),
        default=base,
        prog=f"odevision train {base.recipe}",
        description=description.format(recipe=base.recipe),
        config=(tyro.conf.AvoidSubcommands,),
    )
    if getattr(config.model, "num_steps", None) is not None:
        for option in ("--model.rtol", "--model.atol"):
            if _peek(words, option) is not None:
                raise UsageError(
                    f"`{option}` needs adaptive steps: add --model.num-steps None and, say, "
                    "--model.solver dopri5"
                )
    return TrainRequest(config=config, resume=resume)


def _without_extra(options: Sequence[str]) -> list[str]:
    """Drop the options that are no fields of the configuration; they have had their effect."""
    kept: list[str] = []
    following = list(options)
    while following:
        word = following.pop(0)
        spec = _EXTRA_OPTIONS.get(word)
        if spec is None:
            kept.append(word)
        elif spec.kind == "one":
            following.pop(0)
    return kept
