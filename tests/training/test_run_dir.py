import dataclasses
import logging
from pathlib import Path

import pytest
from filelock import FileLock

from odevision.models.resnet import ResNetConfig
from odevision.training import run_dir
from odevision.training.config import TrainConfig
from odevision.training.run_dir import (
    Run,
    claim_run,
    default_run_dir,
    open_run,
    read_run_config,
    resume_command,
)


def claim(run: Run, config: TrainConfig) -> Run:
    with claim_run(run, config, resume=False) as claimed:
        return claimed


def test_default_directory_counts_up(tmp_path: Path) -> None:
    assert default_run_dir("mnist", tmp_path) == tmp_path / "mnist"
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist-2").mkdir()
    assert default_run_dir("mnist", tmp_path) == tmp_path / "mnist-3"


def test_opening_a_new_run_writes_nothing(small_config) -> None:
    config = small_config()
    run = open_run(config, resume=False)
    assert not run.path.exists()
    claim(run, config)
    assert read_run_config(run.path) == config


def test_directory_in_use_is_refused_with_both_ways_out(small_config) -> None:
    config = small_config()
    claim(open_run(config, resume=False), config)
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
    claim(open_run(config, resume=False), config)
    harmless = dataclasses.replace(config, max_minutes=3.0, checkpoint_every_minutes=9.0)
    assert open_run(harmless, resume=True).checkpoint is None
    workers = dataclasses.replace(config.data, num_workers=3)
    assert open_run(dataclasses.replace(config, data=workers), resume=True).checkpoint is None
    with pytest.raises(ValueError, match="`epochs` must stay as it was.*it was 2, got 5"):
        open_run(dataclasses.replace(config, epochs=5), resume=True)
    larger = dataclasses.replace(config.data, batch_size=77)
    with pytest.raises(ValueError, match=r"`data.batch_size` must stay as it was.*got 77"):
        open_run(dataclasses.replace(config, data=larger), resume=True)
    with pytest.raises(ValueError, match=r"`model` must stay as it was.*got ResNetConfig"):
        open_run(dataclasses.replace(config, model=ResNetConfig()), resume=True)


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
    first, second = (claim(run, config) for run in runs)
    assert second.path.name == f"{first.path.name}-2"
    named = dataclasses.replace(config, out=str(tmp_path / "named"))
    runs = [open_run(named, resume=False) for _ in range(2)]
    claim(runs[0], named)
    with pytest.raises(ValueError, match="another run began meanwhile. Try another --out"):
        claim(runs[1], named)


def test_an_empty_name_is_no_directory(small_config) -> None:
    with pytest.raises(ValueError, match="`out` must be a directory, got ''"):
        open_run(small_config(out=""), resume=False)


def test_one_training_at_a_time_goes_on_with_a_run(small_config) -> None:
    config = small_config()
    claim(open_run(config, resume=False), config)
    run = open_run(config, resume=True)
    with claim_run(run, config, resume=True):
        with pytest.raises(ValueError, match="another training is at work"):
            with claim_run(run, config, resume=True):
                pass
        (run.path / "checkpoints" / "step-00000001").mkdir(parents=True)
    with pytest.raises(ValueError, match="another training saved meanwhile"):
        with claim_run(run, config, resume=True):
            pass


def test_a_full_disk_leaves_a_directory_that_can_be_used(
    small_config, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise OSError(28, "No space left on device")

    config = small_config()
    run = open_run(config, resume=False)
    with monkeypatch.context() as patch:
        patch.setattr(run_dir, "write_synced", fail)
        with pytest.raises(OSError, match="No space left"):
            claim(run, config)
    assert claim(open_run(config, resume=False), config).path == run.path


def test_where_files_cannot_be_locked_a_run_goes_on_with_a_warning(
    small_config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: FileLock, **options: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(FileLock, "acquire", fail)
    config = small_config()
    with caplog.at_level(logging.WARNING):
        run = claim(open_run(config, resume=False), config)
    assert read_run_config(run.path) == config
    assert "files cannot be locked there" in caplog.text
