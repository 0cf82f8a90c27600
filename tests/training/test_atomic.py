import errno
import os
from pathlib import Path
from typing import Any

import pytest

from odevision.training import atomic
from odevision.training.atomic import write_directory

OLD = {"a": b"old a", "b": b"old b"}
NEW = {"a": b"new a", "b": b"new b"}


class Crash(BaseException):
    """Nothing may catch it, like a power cut."""


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_directory_holds_what_was_given(tmp_path: Path) -> None:
    write_directory(tmp_path / "deep" / "target", NEW)
    assert content(tmp_path / "deep" / "target") == NEW
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["target"]


def test_existing_directory_is_replaced_whole(tmp_path: Path) -> None:
    write_directory(tmp_path / "target", OLD)
    write_directory(tmp_path / "target", {"c": b"only"})
    assert content(tmp_path / "target") == {"c": b"only"}
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_leftovers_of_a_killed_process_are_cleared(tmp_path: Path) -> None:
    leftover = tmp_path / ".tmp-target"
    leftover.mkdir()
    (leftover / "half").write_bytes(b"x")
    write_directory(tmp_path / "target", NEW)
    assert content(tmp_path / "target") == NEW
    assert not leftover.exists()


@pytest.mark.parametrize("call", ["open", "fsync", "mkdir", "rename"])
@pytest.mark.parametrize("count", range(6))
def test_process_killed_at_any_call_leaves_a_whole_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, count: int
) -> None:
    target = tmp_path / "target"
    write_directory(target, OLD)
    calls = 0

    def counted(original: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > count:
                raise Crash
            return original(*args, **kwargs)

        return wrapped

    with monkeypatch.context() as patch:
        # A killed process runs no handlers: no clean-up, and no moving back.
        patch.setattr(atomic.shutil, "rmtree", lambda *args, **kwargs: None)
        if call == "open":
            patch.setattr(atomic, "write_synced", counted(atomic.write_synced))
        elif call == "mkdir":
            patch.setattr(Path, "mkdir", counted(Path.mkdir))
        else:
            patch.setattr(atomic.os, call, counted(getattr(os, call)))
        try:
            write_directory(target, NEW)
        except Crash:
            pass
    found = target if target.exists() else tmp_path / ".old-target"
    assert content(found) in (OLD, NEW)


@pytest.mark.parametrize(
    ("call", "count"), [("write_synced", 0), ("write_synced", 1), ("sync_directory", 0)]
)
def test_full_disk_leaves_the_old_directory_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, count: int
) -> None:
    target = tmp_path / "target"
    write_directory(target, OLD)
    original, calls = getattr(atomic, call), 0

    def fail(path: Path, *args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > count and path != tmp_path:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, call, fail)
        with pytest.raises(OSError, match="No space left"):
            write_directory(target, NEW)
    assert content(target) == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_failing_last_rename_moves_the_old_directory_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    write_directory(target, OLD)
    rename = os.rename

    def fail(source: Path, destination: Path) -> None:
        if source.name == ".tmp-target":
            raise OSError(errno.EIO, "Input/output error")
        rename(source, destination)

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "rename", fail)
        with pytest.raises(OSError, match="Input/output"):
            write_directory(target, NEW)
    assert content(target) == OLD
