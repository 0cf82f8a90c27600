"""Which files are meant by files, folders and patterns."""

from pathlib import Path

import pytest

from odevision.data.find_files import find_files
from odevision.data.image import IMAGE_SUFFIXES


@pytest.fixture
def album(tmp_path: Path) -> Path:
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    for name in ("b.JPG", "a.png", "sub/c.webp", "sub/deep/d.jpeg", ".hidden.png"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def names(album: Path, paths: list[Path]) -> list[str]:
    return [str(path.relative_to(album)) for path in paths]


def test_folder_stands_for_all_images_below_it_sorted(album: Path) -> None:
    assert names(album, find_files([album], IMAGE_SUFFIXES)) == [
        "a.png",
        "b.JPG",
        "sub/c.webp",
        "sub/deep/d.jpeg",
    ]


def test_pattern_stands_for_matching_images_and_folders(album: Path) -> None:
    assert names(album, find_files([f"{album}/*"], IMAGE_SUFFIXES)) == [
        "a.png",
        "b.JPG",
        "sub/c.webp",
        "sub/deep/d.jpeg",
    ]
    assert names(album, find_files([f"{album}/*.png"], IMAGE_SUFFIXES)) == ["a.png"]


def test_double_star_reaches_any_depth_once(album: Path) -> None:
    assert names(album, find_files([f"{album}/**"], IMAGE_SUFFIXES)) == [
        "a.png",
        "b.JPG",
        "sub/c.webp",
        "sub/deep/d.jpeg",
    ]


def test_named_files_keep_their_order_also_missing_ones(album: Path) -> None:
    named = [album / "gone.jpg", album / "b.JPG", album / "notes.txt", album / "a.png"]
    assert find_files(named, IMAGE_SUFFIXES) == named


def test_file_with_a_pattern_in_its_name_is_found(album: Path) -> None:
    path = album / "a[1].png"
    path.write_bytes(b"x")
    assert find_files([path], IMAGE_SUFFIXES) == [path]


def test_folder_without_images_is_refused_by_name(album: Path) -> None:
    (album / "empty").mkdir()
    with pytest.raises(ValueError, match="folder '.*empty', which holds none"):
        find_files([album / "a.png", album / "empty"], IMAGE_SUFFIXES)


def test_links_in_circles_name_no_file_twice(album: Path) -> None:
    (album / "sub" / "again").symlink_to(album, target_is_directory=True)
    found = names(album, find_files([f"{album}/**/*.png", f"{album}/**/*.webp"], IMAGE_SUFFIXES))
    assert found == ["a.png", "sub/c.webp"]


def test_linked_files_are_files_of_their_own(album: Path) -> None:
    for number in (1, 2):
        (album / f"held-{number}.png").symlink_to(album / "a.png")
    for pattern in ("*.png", "**/*.png"):
        found = names(album, find_files([f"{album}/{pattern}"], IMAGE_SUFFIXES))
        assert found == ["a.png", "held-1.png", "held-2.png"]


def test_pattern_without_images_is_refused_by_name(album: Path) -> None:
    with pytest.raises(ValueError, match=r"pattern '.*\*\.bmp', which holds none"):
        find_files([f"{album}/*.bmp"], IMAGE_SUFFIXES)


def test_other_kinds_are_told_by_their_endings(album: Path) -> None:
    (album / "clip.MP4").write_bytes(b"x")
    assert names(album, find_files([album], (".mp4",), kind="videos")) == ["clip.MP4"]
    with pytest.raises(ValueError, match="must name videos"):
        find_files([album / "sub"], (".mp4",), kind="videos")
