"""Words of a command line to a typed dataclass: tyro, with our own say on unknown options.

tyro parses values and writes the help. Before it sees the words they are put in order here:
unknown options are refused with the nearest known one, `--flag true` is accepted beside
`--flag`, and files may stand anywhere between the options, but for one that takes several values.
"""

import dataclasses
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import tyro

from odevision.cli.errors import UsageError, unknown

T = TypeVar("T")

_NUMBERS = re.compile(r"[-+.,\deE]+")
_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")


@dataclass(frozen=True, kw_only=True)
class OptionSpec:
    """One option of a command line.

    Args:
        name: as typed, such as `--model.num-steps`.
        kind: `flag` takes no value, `one` takes one, `many` takes all that follow.
        negation: what switches a flag off, if that can be typed.
    """

    name: str
    kind: Literal["flag", "one", "many"]
    negation: str | None = None


def _without_none(annotation: Any) -> Any:
    """Strip `Annotated` and `| None` from a type."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        kept = [item for item in typing.get_args(annotation) if item is not type(None)]
        if len(kept) == 1:
            return _without_none(kept[0])
    return annotation


def _markers(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__metadata__", ())


def option_specs(
    cls: type, default: Any = None, *, prefix: str = "", switches_off: bool = False
) -> dict[str, OptionSpec]:
    """List the options of a dataclass, with those of the dataclasses inside it.

    Args:
        cls: the dataclass.
        default: an instance; tells which member of a union of dataclasses is meant.
        prefix: dotted path of `cls` in the whole.
        switches_off: whether a flag can be switched off by `--no-flag`.

    Returns:
        Name -> what it takes. Positional fields are left out.
    """
    specs: dict[str, OptionSpec] = {}
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        annotation = hints[field.name]
        if any("Positional" in str(marker) for marker in _markers(annotation)):
            continue
        value = getattr(default, field.name, None)
        path = f"{prefix}{field.name.replace('_', '-')}"
        if dataclasses.is_dataclass(value):
            nested = option_specs(type(value), value, prefix=f"{path}.", switches_off=switches_off)
            specs.update(nested)
            continue
        kind = _without_none(annotation)
        name = f"--{path}"
        if kind is bool:
            off = f"--{prefix}no-{field.name.replace('_', '-')}" if switches_off else None
            specs[name] = OptionSpec(name=name, kind="flag", negation=off)
        elif typing.get_origin(kind) is tuple:
            specs[name] = OptionSpec(name=name, kind="many")
        else:
            specs[name] = OptionSpec(name=name, kind="one")
    return specs


def is_option(word: str) -> bool:
    """Whether a word is an option: it begins with a dash and is not a negative number."""
    if not word.startswith("-") or word == "-":
        return False
    try:
        float(word)
    except ValueError:
        return True
    return False


def _canonical(word: str) -> str:
    """`--model.num_steps` and `--model.num-steps` are the same option."""
    return word.replace("_", "-")


def _find(word: str, specs: Mapping[str, OptionSpec]) -> tuple[OptionSpec, bool]:
    """Return the option of a word and whether the word switches it on.

    Raises:
        UsageError: there is no such option.
    """
    name = _canonical(word)
    if name in specs:
        return specs[name], True
    for spec in specs.values():
        if spec.negation == name:
            return spec, False
    raise unknown("option", word, [*specs, "--help"])


def _flag_value(spec: OptionSpec, is_on: bool, typed: str | None, following: list[str]) -> bool:
    """Return whether a flag is on; takes an explicit true or false off `following`."""
    if typed is None and following and following[0].lower() in ("true", "false"):
        typed = following.pop(0)
    if typed is None:
        return is_on
    if typed.lower() not in (*_TRUE, *_FALSE):
        raise UsageError(f"`{spec.name}` must be true or false, got `{typed}`")
    return is_on == (typed.lower() in _TRUE)


def peek_flag(words: Sequence[str], spec: OptionSpec) -> bool:
    """Return the last value given for a flag, before the other options are known.

    Args:
        words: the words after the verb.
        spec: the flag.

    Raises:
        UsageError: its value is neither true nor false.
    """
    is_on = False
    for index, word in enumerate(words):
        if word == "--":
            break
        name, equals, text = word.partition("=")
        if _canonical(name) == spec.name:
            following = list(words[index + 1 : index + 2])
            is_on = _flag_value(spec, True, text if equals else None, following)
    return is_on


def _flag_words(
    spec: OptionSpec, is_on: bool, typed: str | None, following: list[str]
) -> list[str]:
    """Return what tyro wants for a flag; takes an explicit true or false off `following`."""
    if _flag_value(spec, is_on, typed, following):
        return [spec.name]
    return [] if spec.negation is None else [spec.negation]


def _value_words(spec: OptionSpec, typed: str | None, following: list[str]) -> list[str]:
    """Return an option with its value or values; takes them off `following`."""
    values = [] if typed is None else [typed]
    if spec.kind == "one" and typed is None:
        if not following or is_option(following[0]):
            raise UsageError(f"`{spec.name}` needs a value")
        values = [following.pop(0)]
    elif spec.kind == "many":
        while typed is None and following and not is_option(following[0]):
            values.append(following.pop(0))
        if typed is None and not values:
            raise UsageError(f"`{spec.name}` needs a value; `{spec.name}=` gives it none")
        # Numbers may be joined by commas; names of files have commas of their own.
        values = [
            part
            for value in values
            for part in (value.split(",") if _NUMBERS.fullmatch(value) else [value])
            if part
        ]
    return [spec.name, *values]


def arrange(words: Sequence[str], specs: Mapping[str, OptionSpec]) -> tuple[list[str], list[str]]:
    """Split a command line into options, in the form tyro wants, and the other words.

    Args:
        words: the words after the verb.
        specs: the options that exist.

    Returns:
        The words of the options, each with its values, and the positional words in order.
        All words after a lone `--` are positional.

    Raises:
        UsageError: an option is unknown or lacks its value.
    """
    options: list[str] = []
    positionals: list[str] = []
    following = list(words)
    while following:
        word = following.pop(0)
        if word == "--":
            positionals.extend(following)
            break
        if not is_option(word):
            positionals.append(word)
            continue
        name, equals, text = word.partition("=")
        if name in ("-h", "--help"):
            options.append("--help")
            continue
        spec, is_on = _find(name, specs)
        typed = text if equals else None
        if spec.kind == "many" and spec.name in options:
            raise UsageError(f"`{spec.name}` was given twice: put all of its values behind one")
        if spec.kind == "flag":
            options.extend(_flag_words(spec, is_on, typed, following))
        else:
            options.extend(_value_words(spec, typed, following))
    return options, positionals


def parse_options(cls: type[T], words: Sequence[str], *, verb: str, description: str) -> T:
    """Parse the words of a verb into its options.

    Args:
        cls: frozen dataclass of the verb's options.
        words: the words after the verb.
        verb: its name, for messages.
        description: text above the help.

    Returns:
        The options.

    Raises:
        UsageError: an option is unknown or lacks its value.
        SystemExit: help was asked for (0), or a value does not fit (2, explained on stderr).
    """
    options, positionals = arrange(words, option_specs(cls))
    ordered = [*options, "--", *positionals] if positionals else options
    return tyro.cli(
        cls,
        args=ordered,
        prog=f"odevision {verb}",
        description=description,
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def refuse_given(options: Any, names: Sequence[str], wanted: str) -> None:
    """Refuse options that a network of the other kind would ignore.

    Args:
        options: of a verb; a dataclass of which only `model` has no default.
        names: its fields that only networks of `wanted` take.
        wanted: `images` or `videos`.

    Raises:
        UsageError: one of them was given.
    """
    default = type(options)(model=options.model)
    for name in names:
        if getattr(options, name) != getattr(default, name):
            option = name.replace("_", "-")
            raise UsageError(f"`--{option}` needs a network of {wanted}; {options.model} is none")
