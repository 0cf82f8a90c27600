from dataclasses import dataclass, field
from typing import Annotated

import pytest
from tyro.conf import Positional

from odevision.cli.arguments import arrange, option_specs, parse_options
from odevision.cli.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Inner:
    num_steps: int | None = 1
    widths: tuple[int, ...] = (1,)
    flip: bool = False


@dataclass(frozen=True, kw_only=True)
class Other:
    width: int = 1


@dataclass(frozen=True, kw_only=True)
class Outer:
    model: Inner | Other = field(default_factory=Inner)
    max_minutes: float | None = None


@dataclass(frozen=True, kw_only=True)
class Words:
    model: Annotated[Positional[str], "the model"]
    paths: Positional[tuple[str, ...]] = ()
    top: int = 5
    json: bool = False


SPECS = option_specs(Outer, Outer(), switches_off=True)


def test_nested_fields_become_dotted_options() -> None:
    expected = {"--model.num-steps", "--model.widths", "--model.flip", "--max-minutes"}
    assert set(SPECS) == expected


def test_the_default_decides_which_class_of_a_union_is_meant() -> None:
    specs = option_specs(Outer, Outer(model=Other()))
    assert "--model.width" in specs
    assert "--model.num-steps" not in specs


def test_an_unknown_option_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match=r"unknown option `--max-minute`; did you mean `--max-min"):
        arrange(["--max-minute", "3"], SPECS)


def test_a_shortened_option_is_not_accepted() -> None:
    with pytest.raises(UsageError, match="did you mean `--max-minutes`"):
        arrange(["--max-min", "3"], SPECS)


def test_an_unknown_short_option_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown option `-x`; did you mean"):
        arrange(["-x"], SPECS)


def test_underscores_and_dashes_are_the_same() -> None:
    assert arrange(["--model.num_steps", "4"], SPECS)[0] == ["--model.num-steps", "4"]


@pytest.mark.parametrize("words", [["--model.flip", "true"], ["--model.flip=True"]])
def test_a_flag_takes_an_explicit_value(words: list[str]) -> None:
    assert arrange(words, SPECS)[0] == ["--model.flip"]


@pytest.mark.parametrize(
    "words", [["--model.flip", "False"], ["--model.flip=no"], ["--model.no-flip"]]
)
def test_a_flag_can_be_switched_off(words: list[str]) -> None:
    assert arrange(words, SPECS)[0] == ["--model.no-flip"]


def test_a_flag_with_a_senseless_value_is_refused() -> None:
    with pytest.raises(UsageError, match="must be true or false, got `maybe`"):
        arrange(["--model.flip=maybe"], SPECS)


def test_an_option_without_its_value_is_refused() -> None:
    with pytest.raises(UsageError, match="`--max-minutes` needs a value"):
        arrange(["--max-minutes", "--model.flip"], SPECS)


def test_a_negative_number_is_a_value() -> None:
    assert arrange(["--max-minutes", "-3"], SPECS)[0] == ["--max-minutes", "-3"]


def test_a_tuple_is_given_by_spaces_or_commas() -> None:
    expected = ["--model.widths", "1", "2", "3"]
    assert arrange(["--model.widths", "1", "2", "3"], SPECS)[0] == expected
    assert arrange(["--model.widths", "1,2,3"], SPECS)[0] == expected
    assert arrange(["--model.widths=1,2,3"], SPECS)[0] == expected


def test_names_of_files_keep_their_commas() -> None:
    assert arrange(["--model.widths", "my,pics"], SPECS)[0] == ["--model.widths", "my,pics"]


def test_several_values_are_none_only_where_that_is_said() -> None:
    with pytest.raises(UsageError, match="`--model.widths` needs a value; `--model.widths=` gives"):
        arrange(["--model.widths", "--model.flip"], SPECS)
    assert arrange(["--model.widths="], SPECS)[0] == ["--model.widths"]


def test_words_after_two_dashes_are_no_options() -> None:
    assert arrange(["a", "--", "--b"], SPECS) == ([], ["a", "--b"])


def test_files_may_stand_between_options() -> None:
    words = ["m", "a", "--top", "3", "b", "--json", "c"]
    options = parse_options(Words, words, verb="try", description="")
    assert options == Words(model="m", paths=("a", "b", "c"), top=3, json=True)


def test_a_value_of_the_wrong_type_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_options(Words, ["m", "--top", "many"], verb="try", description="")
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert "--top" in captured.err
    assert captured.out == ""


def test_a_missing_word_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_options(Words, [], verb="try", description="")
    assert caught.value.code == 2
    assert capsys.readouterr().out == ""


def test_several_values_stand_behind_one_option() -> None:
    with pytest.raises(UsageError, match="`--model.widths` was given twice"):
        arrange(["--model.widths", "1", "--model.widths", "2"], SPECS)
