import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from odevision.training.strict import check_range, convert, dataclass_from_mapping, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = 3
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Outer:
    rate: float
    inner: Inner = field(default_factory=Inner)
    limit: int | None = None
    kind: Literal["a", "b"] = "a"
    flag: bool = False


def test_nested_mappings_become_dataclasses() -> None:
    outer = dataclass_from_mapping(Outer, {"rate": 1, "inner": {"size": 5, "names": ["x", "y"]}})
    assert outer == Outer(rate=1.0, inner=Inner(size=5, names=("x", "y")))
    assert isinstance(outer.rate, float)


def test_dataclass_survives_its_own_mapping() -> None:
    outer = Outer(rate=0.1, limit=4, kind="b", flag=True)
    assert dataclass_from_mapping(Outer, dataclasses.asdict(outer)) == outer


def test_unknown_nested_key_is_refused_with_its_path_and_the_nearest_key() -> None:
    with pytest.raises(ValueError, match=r'Unknown key `inner.siez`. Did you mean "size"'):
        dataclass_from_mapping(Outer, {"rate": 1.0, "inner": {"siez": 5}})


def test_missing_key_is_named() -> None:
    with pytest.raises(ValueError, match="Missing key `rate`"):
        dataclass_from_mapping(Outer, {})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("rate", "fast"),
        ("rate", True),
        ("limit", 1.5),
        ("limit", True),
        ("flag", 1),
        ("flag", "yes"),
        ("kind", "c"),
        ("inner", 3),
        ("inner", None),
    ],
)
def test_value_of_the_wrong_type_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"`{key}` must be"):
        dataclass_from_mapping(Outer, {"rate": 1.0, key: value})


def test_float_without_a_point_is_read_as_a_float() -> None:
    assert convert(float, "1e-3", "rate") == 1e-3


def test_tuple_of_fixed_length_refuses_another_length() -> None:
    assert convert(tuple[int, int], [1, 2], "pair") == (1, 2)
    with pytest.raises(ValueError, match="`pair` must have 2 entries"):
        convert(tuple[int, int], [1, 2, 3], "pair")


def test_far_off_word_gets_the_whole_list() -> None:
    assert did_you_mean("zzz", ["b", "a"]) == "Choose from: a, b."


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 2.0])
def test_range_refuses_what_lies_outside_or_is_no_number(value: float) -> None:
    with pytest.raises(ValueError, match="`x` must be > 0 and < 2"):
        check_range("x", value, above=0, below=2)


def test_range_takes_none_as_not_set() -> None:
    check_range("x", None, above=0)
