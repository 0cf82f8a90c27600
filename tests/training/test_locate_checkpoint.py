from pathlib import Path

import pytest

from odevision.training import locate
from odevision.training.locate import (
    CheckpointError,
    checkpoint_directories,
    find_checkpoint,
    list_weights,
    newest_checkpoint,
)


def make_checkpoint(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "card.json").write_text("{}")
    return path


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "package" / "weights"
    for name in ("mnist", "cifar10"):
        make_checkpoint(folder / name)
    (folder / "README.md").write_text("no weights")
    monkeypatch.setattr(locate, "_weights_folder", lambda: folder)
    monkeypatch.chdir(tmp_path)
    return folder


def test_checkpoints_are_ordered_by_step_not_by_name(tmp_path: Path) -> None:
    for step in (9, 100_000_000, 20):
        make_checkpoint(tmp_path / "checkpoints" / f"step-{step:08d}")
    steps = [int(path.name[5:]) for path in checkpoint_directories(tmp_path)]
    assert steps == [9, 20, 100_000_000]


def test_half_written_checkpoint_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / ".tmp-step-00000002").mkdir(parents=True)
    assert newest_checkpoint(tmp_path) is None


def test_checkpoint_on_its_way_out_counts_until_it_is_replaced(tmp_path: Path) -> None:
    old = make_checkpoint(tmp_path / "checkpoints" / ".old-step-00000002")
    assert newest_checkpoint(tmp_path) == old
    new = make_checkpoint(tmp_path / "checkpoints" / "step-00000002")
    assert newest_checkpoint(tmp_path) == new


def test_run_directory_means_its_newest_checkpoint(tmp_path: Path) -> None:
    newest = make_checkpoint(tmp_path / "checkpoints" / "step-00000007")
    make_checkpoint(tmp_path / "checkpoints" / "step-00000003")
    assert find_checkpoint(tmp_path) == newest
    assert find_checkpoint(str(newest)) == newest


def test_shipped_weights_are_found_by_name(shipped: Path) -> None:
    assert list_weights() == ["cifar10", "mnist"]
    assert find_checkpoint("mnist") == shipped / "mnist"


def test_data_folder_does_not_hide_shipped_weights_of_its_name(shipped: Path) -> None:
    Path("mnist").mkdir()
    assert find_checkpoint("mnist") == shipped / "mnist"


def test_run_directory_wins_over_shipped_weights_of_its_name(shipped: Path) -> None:
    own = make_checkpoint(Path("mnist") / "checkpoints" / "step-00000001")
    assert find_checkpoint("mnist") == own


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnits", 'Did you mean "mnist"'),
        ("zzz", "Choose from: cifar10, mnist"),
        ("runs/none", "There is no directory runs/none"),
        ("empty", "empty holds no checkpoint"),
        ("young", "has not saved a checkpoint yet"),
        ("torn", "a checkpoint without its card.json"),
        ("file", "file is a file"),
    ],
)
def test_wrong_name_says_what_was_found_there(shipped: Path, name: str, message: str) -> None:
    Path("empty").mkdir()
    Path("young").mkdir()
    Path("young/config.yaml").write_text("")
    Path("torn").mkdir()
    Path("torn/weights.safetensors").write_bytes(b"")
    Path("file").write_text("")
    with pytest.raises(CheckpointError, match=message):
        find_checkpoint(name)
