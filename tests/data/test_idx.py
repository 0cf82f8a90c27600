"""The idx format, whole and damaged."""

import gzip
import hashlib

import numpy as np
import pytest

from odevision.data.idx import read_idx

VALUES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
CONTENT = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]) + VALUES.tobytes()


def test_plain_file_is_read(tmp_path) -> None:
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(CONTENT)
    np.testing.assert_array_equal(read_idx(path), VALUES)


def test_gzipped_file_is_read(tmp_path) -> None:
    path = tmp_path / "images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(CONTENT))
    np.testing.assert_array_equal(read_idx(path), VALUES)


@pytest.mark.parametrize("num_bytes", [0, 3, 4, 10, 16, len(CONTENT) - 1])
def test_truncated_file_is_refused_by_name(tmp_path, num_bytes) -> None:
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(CONTENT[:num_bytes])
    with pytest.raises(ValueError, match="images-idx3-ubyte: "):
        read_idx(path)


def test_file_with_surplus_bytes_is_refused(tmp_path) -> None:
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(CONTENT + b"x")
    with pytest.raises(ValueError, match="24 values .* 25 bytes"):
        read_idx(path)


@pytest.mark.parametrize("num_bytes", [0, 5, 20, 35])
def test_truncated_gzip_is_refused_by_name(tmp_path, num_bytes) -> None:
    path = tmp_path / "images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(CONTENT)[:num_bytes])
    with pytest.raises(ValueError, match=r"images-idx3-ubyte\.gz: "):
        read_idx(path)


def test_gzip_with_a_wrong_checksum_is_refused(tmp_path) -> None:
    path = tmp_path / "a.gz"
    content = bytearray(gzip.compress(CONTENT))
    content[-6] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="corrupt gzip"):
        read_idx(path)


@pytest.mark.parametrize("start", [b"\x00\x00\x0d\x03", b"\x89PNG", b"<htm", b"\x00\x00\x08\x00"])
def test_wrong_magic_number_is_refused(tmp_path, start) -> None:
    path = tmp_path / "a-idx3-ubyte"
    path.write_bytes(start + CONTENT[4:])
    with pytest.raises(ValueError, match=f"begins with {start.hex(' ')}"):
        read_idx(path)


@pytest.mark.parametrize(
    ("stem", "md5"),
    [
        ("train-images-idx3-ubyte", "6bbc9ace898e44ae57da46a324031adb"),
        ("train-labels-idx1-ubyte", "a25bea736e30d166cdddb491f175f624"),
        ("t10k-images-idx3-ubyte", "2646ac647ad5339dbf082846283269ea"),
        ("t10k-labels-idx1-ubyte", "27ae3e4e09519cfbb04c329615203637"),
    ],
)
def test_official_files_are_read_whole(real_data, stem, md5) -> None:
    values = read_idx(real_data / "mnist" / f"{stem}.gz")
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    assert hashlib.md5(header + values.tobytes()).hexdigest() == md5
