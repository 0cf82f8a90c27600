"""Plain mappings -> typed dataclasses, strictly: an unknown key or a wrong type is an error."""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar

T = TypeVar("T")


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Suggest the nearest of `choices`, else list them all, as the last sentence of an error.

    Args:
        word: what the user wrote.
        choices: what would have been right.

    Returns:
        `Did you mean "x"?` or `Choose from: a, b, c.`
    """
    names = sorted(choices)
    nearest = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if nearest:
        return f'Did you mean "{nearest[0]}"?'
    return f"Choose from: {', '.join(names) or '(nothing)'}."


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Refuse a `value` that is not one of `choices`.

    Args:
        name: the field's name for the message.
        value: the value that was given.
        choices: the allowed words.

    Raises:
        ValueError: with the allowed words and the nearest one.
    """
    words = tuple(choices)
    if value not in words:
        raise ValueError(
            f"`{name}` must be one of {', '.join(words)}, got {value!r}. "
            f"{did_you_mean(str(value), words)}"
        )


def check_range(
    name: str,
    value: float | int | None,
    *,
    above: float | int = -math.inf,
    least: float | int = -math.inf,
    below: float | int = math.inf,
    most: float | int = math.inf,
) -> None:
    """Refuse a number outside `above < value < below` and `least <= value <= most`.

    Args:
        name: the field's name for the message.
        value: the number; None means "not set" and passes.
        above: open lower limit.
        least: closed lower limit.
        below: open upper limit.
        most: closed upper limit.

    Raises:
        ValueError: with the allowed range and the value.
    """
    if value is None:
        return
    if above < value < below and least <= value <= most:  # false for nan, as wanted
        return
    limits = [
        f"{sign} {limit:g}"
        for sign, limit in ((">", above), (">=", least), ("<", below), ("<=", most))
        if math.isfinite(limit)
    ]
    raise ValueError(f"`{name}` must be {' and '.join(limits) or 'finite'}, got {value}.")


def dataclass_from_mapping(cls: type[T], values: Any, where: str = "") -> T:
    """Build a dataclass from a mapping, field by field, nested dataclasses included.

    Args:
        cls: the dataclass.
        values: field name -> value; fields with a default may be missing.
        where: dotted path of the section, used in messages only.

    Returns:
        The dataclass, after its own validation.

    Raises:
        ValueError: for an unknown key, a missing one or a value of the wrong type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"`{where or cls.__name__}` must be a mapping of keys, got {values!r}.")
    fields = {f.name: f for f in dataclasses.fields(typing.cast(Any, cls)) if f.init}
    prefix = f"{where}." if where else ""
    for key in values:
        if key not in fields:
            raise ValueError(f"Unknown key `{prefix}{key}`. {did_you_mean(str(key), fields)}")
    missing = [
        prefix + name
        for name, field in fields.items()
        if name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(f"Missing key `{'`, `'.join(missing)}`. Add it to the configuration.")
    hints = typing.get_type_hints(cls)
    return cls(**{k: convert(hints[k], v, f"{prefix}{k}") for k, v in values.items()})


def convert(hint: Any, value: Any, where: str) -> Any:
    """Check `value` against a type and convert the few spellings that YAML cannot express.

    YAML has no tuples, reads `1` where a float is meant and `1e-3` as a word: lists become tuples
    and these become floats. Everything else must have the type already.

    Args:
        hint: a resolved annotation: a scalar, Literal, Optional, tuple or dataclass.
        value: as read from the file.
        where: dotted path of the key, for messages.

    Returns:
        The value, of the annotated type.

    Raises:
        ValueError: naming the key, the type and the value.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if isinstance(value, hint):
            return value
    if origin is Literal:
        if value in arguments:
            return value
        expected = f"one of {', '.join(map(str, arguments))}"
        raise ValueError(
            f"`{where}` must be {expected}, got {value!r}. "
            f"{did_you_mean(str(value), map(str, arguments))}"
        )
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, where)
    if dataclasses.is_dataclass(hint):
        return dataclass_from_mapping(typing.cast(type, hint), value, where)
    if origin is tuple and isinstance(value, list | tuple):
        return _convert_tuple(arguments, value, where)
    if origin is dict and isinstance(value, dict):
        key_hint, item_hint = arguments
        return {
            convert(key_hint, key, f"{where} (a key)"): convert(item_hint, item, f"{where}.{key}")
            for key, item in value.items()
        }
    if hint is float and not isinstance(value, bool):
        try:
            return float(typing.cast(Any, value))
        except (TypeError, ValueError):
            pass
    elif isinstance(hint, type) and isinstance(value, hint):
        if hint is bool or not isinstance(value, bool):  # True is an int for Python, not for us
            return value
    name = getattr(hint, "__name__", str(hint)) if origin is None else str(hint)
    raise ValueError(f"`{where}` must be of type {name}, got {value!r}.")


def _convert_union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    options = [argument for argument in arguments if argument is not type(None)]
    if len(options) == 1:
        return convert(options[0], value, where)
    for option in options:
        try:
            return convert(option, value, where)
        except ValueError:
            continue
    raise ValueError(f"`{where}` must be one of {options}, got {value!r}.")


def _convert_tuple(arguments: tuple[Any, ...], value: Iterable[Any], where: str) -> tuple[Any, ...]:
    items = list(value)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(convert(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(items))
    if len(arguments) != len(items):
        raise ValueError(f"`{where}` must have {len(arguments)} entries, got {items!r}.")
    return tuple(
        convert(hint, item, f"{where}[{i}]")
        for i, (hint, item) in enumerate(zip(arguments, items, strict=True))
    )
