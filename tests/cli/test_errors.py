from odevision.cli.errors import nearest, nearest_option, unknown


def test_a_misspelled_word_finds_the_right_one() -> None:
    assert nearest("evalute", ["train", "evaluate", "predict"]) == "evaluate"


def test_an_option_is_found_by_its_last_part() -> None:
    known = ["--data.batch-size", "--data.name", "--epochs"]
    assert nearest("--batch-size", known) == "--data.batch-size"


def test_an_option_is_found_by_the_initials_of_its_last_part() -> None:
    assert nearest("--lr", ["--epochs", "--optimizer.learning-rate"]) == "--optimizer.learning-rate"


def test_a_word_unlike_all_others_finds_none() -> None:
    assert nearest("--zzzzzz", ["--epochs", "--seed"]) is None


def test_an_option_unlike_all_others_still_finds_one() -> None:
    assert nearest_option("--zzzzzz", ["--epochs", "--seed"]) in ("--epochs", "--seed")
    assert nearest_option("--zzzzzz", []) is None


def test_the_error_names_the_word_the_guess_and_all_names() -> None:
    message = str(unknown("recipe", "mnst", ["mnist", "cifar10"]))
    assert "unknown recipe `mnst`; did you mean `mnist`?" in message
    assert "cifar10, mnist" in message
