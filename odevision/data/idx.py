"""The idx file format of MNIST, plain or gzipped."""

import gzip
import zlib
from pathlib import Path

import numpy as np


def read_idx(path: str | Path) -> np.ndarray:
    """Read an idx file of unsigned bytes.

    The format: two zero bytes, one for the type (8: unsigned byte), one for the number of
    dimensions, each dimension's size as a big-endian 32-bit integer, then the values, row-major.

    Args:
        path: The file; one that ends in `.gz` is unpacked on the fly.

    Returns:
        A uint8 array of the shape stated in the file.

    Raises:
        ValueError: If the file is truncated, corrupt or not an idx file of unsigned bytes.
    """
    path = Path(path)
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: truncated or corrupt gzip file ({error}). {_REMEDY}") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or not 1 <= content[3] <= 4:
        start = content[:4].hex(" ") or "nothing"
        raise ValueError(
            f"{path}: not an idx file of unsigned bytes; it begins with {start}, "
            f"and 00 00 08 and the number of dimensions are expected. {_REMEDY}"
        )
    num_dimensions = content[3]
    header_bytes = 4 + 4 * num_dimensions
    if len(content) < header_bytes:
        raise ValueError(f"{path}: the file is truncated inside its header. {_REMEDY}")
    shape = tuple(np.frombuffer(content[4:header_bytes], ">u4").tolist())
    num_values = int(np.prod(shape, dtype=object))
    if len(content) - header_bytes != num_values:
        raise ValueError(
            f"{path}: its header states {num_values:,} values of shape {shape}, but "
            f"{len(content) - header_bytes:,} bytes follow; the file is truncated or "
            f"corrupt. {_REMEDY}"
        )
    return np.frombuffer(content, np.uint8, offset=header_bytes).reshape(shape)


_REMEDY = "Try fetching the file again."
