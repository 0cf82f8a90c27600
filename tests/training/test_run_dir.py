import dataclasses
from pathlib import Path

import pytest

from odevision.training.run_dir import (
    default_run_dir,
    open_run,
    read_run_config,
    resume_command,
    write_run_config,
)


def test_default_directory_counts_up(tmp_path: Path) -> None:
    assert default_run_dir("mnist", tmp_path) == tmp_path / "mnist"
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist-2").mkdir()
    assert default_run_dir("mnist", tmp_path) == tmp_path / "mnist-3"


def test_opening_a_new_run_writes_nothing(small_config) -> None:
    config = small_config()
    run = open_run(config, resume=False)
    assert not run.path.exists()
    write_run_config(run, config, resume=False)
    assert read_run_config(run.path) == config


def test_directory_in_use_is_refused_with_both_ways_out(small_config) -> None:
    config = small_config()
    write_run_config(open_run(config, resume=False), config, resume=False)
    with pytest.raises(ValueError, match=r"new or empty.*--resume.*another --out"):
        open_run(config, resume=False)


def test_empty_directory_may_be_used(small_config) -> None:
    config = small_config()
    Path(config.out).mkdir()
    assert open_run(config, resume=False).path == Path(config.out)


def test_resume_without_a_run_is_refused(small_config) -> None:
    with pytest.raises(ValueError, match="has no config.yaml"):
        open_run(small_config(), resume=True)
    with pytest.raises(ValueError, match="`out` must be given to resume"):
        open_run(small_config(out=None), resume=True)


def test_resume_takes_only_changes_that_leave_the_weights_alone(small_config) -> None:
    config = small_config()
    write_run_config(open_run(config, resume=False), config, resume=False)
    harmless = dataclasses.replace(config, max_minutes=3.0, checkpoint_every_minutes=9.0)
    assert open_run(harmless, resume=True).checkpoint is None
    with pytest.raises(ValueError, match="`epochs` must stay as it was.*it was 2, got 5"):
        open_run(dataclasses.replace(config, epochs=5), resume=True)


def test_resume_command_quotes_what_a_shell_would_split(small_config) -> None:
    command = resume_command(small_config(), Path("my runs/a"))
    assert command == "odevision train small --out 'my runs/a' --resume"


def test_runs_that_begin_at_once_get_directories_of_their_own(
    small_config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = small_config(out=None)
    runs = [open_run(config, resume=False) for _ in range(2)]
    assert runs[0].path == runs[1].path
    first, second = (write_run_config(run, config, resume=False) for run in runs)
    assert second.path.name == f"{first.path.name}-2"
    named = dataclasses.replace(config, out=str(tmp_path / "named"))
    runs = [open_run(named, resume=False) for _ in range(2)]
    write_run_config(runs[0], named, resume=False)
    with pytest.raises(ValueError, match="another run began meanwhile. Try another --out"):
        write_run_config(runs[1], named, resume=False)


def test_an_empty_name_is_no_directory(small_config) -> None:
    with pytest.raises(ValueError, match="`out` must be a directory, got ''"):
        open_run(small_config(out=""), resume=False)
