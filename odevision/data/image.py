"""One image file to an upright 8-bit picture, whatever its format."""

import io
import logging
import stat
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".png",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
    ".tga",
    ".jp2",
    ".avif",
)
"""Endings, in lower case, by which a folder's images are told from its other files."""

MAX_PIXELS = 178_956_970
"""Largest image read, in pixels: Pillow's own limit, half a gigabyte as RGB. A 108-megapixel
photo passes; a small file that would unpack to gigabytes (a decompression bomb) does not."""


class ImageReadError(ValueError):
    """An image file that cannot be read.

    Attributes:
        path: The file, as it was named.
        message: Why it cannot be read.
    """

    def __init__(self, path: str | Path, message: str) -> None:
        """Keep the file and the reason apart, so that both can be reported."""
        super().__init__(f"{path}: {message}")
        self.path = str(path)
        self.message = message

    def __reduce__(self) -> tuple[type["ImageReadError"], tuple[str, str]]:
        """Let the error travel from a worker process whole."""
        return type(self), (self.path, self.message)


def read_image(path: str | Path) -> PIL.Image.Image:
    """Read an image file as an upright picture of 8 bits a channel.

    The orientation that a camera noted in the file (EXIF) is applied; of an animation the first
    frame is read; transparency and unusual modes are resolved by `to_gray_or_rgb`.

    Args:
        path: An image file of any format that Pillow reads.

    Returns:
        An image in mode "L" (grayscale) or "RGB".

    Raises:
        ImageReadError: If the file is missing, empty, a directory, no image, corrupt, truncated,
            or has more than `MAX_PIXELS` pixels.
    """
    path = Path(path)
    _check_file(path)
    # A decoder fed with damaged bytes fails with nearly any exception (struct.error, IndexError,
    # zlib.error, ...), so the two steps that decode catch them all and name the file.
    try:
        image = _open(path)
    except PIL.UnidentifiedImageError:
        message = "not an image, or a corrupt one: no known image format begins like this"
        raise ImageReadError(path, message) from None
    except PIL.Image.DecompressionBombError as error:
        raise ImageReadError(path, f"too large. {error} Try a smaller version.") from None
    except Exception as error:
        raise ImageReadError(path, f"cannot be opened: {_describe(error)}") from error
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            message = f"too large: {width} x {height} pixels; at most {MAX_PIXELS:,} are read"
            raise ImageReadError(path, message)
        try:
            image.load()
            return to_gray_or_rgb(_upright(image, path))
        except Exception as error:
            message = f"corrupt or truncated {image.format} file: {_describe(error)}"
            raise ImageReadError(path, message) from error


def check_image_header(path: str | Path) -> None:
    """Check what can be checked of an image file without decoding its pixels.

    Args:
        path: An image file.

    Raises:
        ImageReadError: If the file is missing, empty, no image, or too large.
    """
    path = Path(path)
    _check_file(path)
    try:
        with _open(path) as image:
            width, height = image.size
    except Exception as error:
        raise ImageReadError(path, f"cannot be opened: {_describe(error)}") from error
    if width * height > MAX_PIXELS:
        raise ImageReadError(path, f"too large: {width} x {height} pixels")


def to_gray_or_rgb(image: PIL.Image.Image) -> PIL.Image.Image:
    """Convert a picture of any mode to 8-bit grayscale ("L") or color ("RGB").

    Transparent parts are laid on white: pictures with transparency are mostly cut-outs made for a
    white page, and their hidden pixels hold arbitrary colors. Sixteen-bit values are scaled by the
    range of the type (65,535 becomes 255); 32-bit integers and floats, which have no such range,
    by their own smallest and largest value unless they lie in [0, 255], [0, 65535] or [0, 1]. Where
    a float is no number the picture is as dark as anywhere; infinite ones end its range.

    Args:
        image: A picture in any of Pillow's modes.

    Returns:
        The picture in mode "L" or "RGB"; the same object where nothing had to change.
    """
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _wide_to_gray(image)
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return image.convert("L")
    if image.mode == "La":  # Pillow converts this rare mode to LA only.
        image = image.convert("LA")
    if image.mode in ("LA", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        is_gray = image.mode in ("1", "L", "LA")
        image = image.convert("RGBA")
        white = PIL.Image.new("RGBA", image.size, "white")
        return PIL.Image.alpha_composite(white, image).convert("L" if is_gray else "RGB")
    return image.convert("RGB")


def _check_file(path: Path) -> None:
    try:
        found = path.stat()
    except FileNotFoundError:
        raise ImageReadError(path, "no such file") from None
    except OSError as error:
        raise ImageReadError(path, f"cannot be opened: {_describe(error)}") from error
    if stat.S_ISDIR(found.st_mode):
        raise ImageReadError(path, "a directory, not an image file")
    if found.st_size == 0 and stat.S_ISREG(found.st_mode):  # a pipe has no size
        raise ImageReadError(path, "the file is empty (0 bytes)")


def _open(path: Path) -> PIL.Image.Image:
    with warnings.catch_warnings():
        # Pillow warns from half of MAX_PIXELS on; here MAX_PIXELS rules.
        warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
        # A pipe cannot go back to where an image begins.
        return PIL.Image.open(io.BytesIO(path.read_bytes()) if path.is_fifo() else path)


def _upright(image: PIL.Image.Image, path: Path) -> PIL.Image.Image:
    try:
        return PIL.ImageOps.exif_transpose(image)
    except Exception as error:  # A damaged note about the camera does not make the picture bad.
        logger.warning("%s: the EXIF orientation cannot be read: %s", path, error)
        return image


def _wide_to_gray(image: PIL.Image.Image) -> PIL.Image.Image:
    values = np.asarray(image).astype(np.float64)
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError("no pixel is a finite number")
    low, high = float(finite.min()), float(finite.max())
    # What is no number becomes as dark as the darkest, what is infinite an end of the range.
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    if image.mode.startswith("I;16") or (image.mode == "I" and low >= 0 and 255 < high <= 65535):
        low, high = 0.0, 65535.0
    elif low >= 0 and high <= 1 and image.mode == "F":
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    values = (values - low) * (255.0 / max(high - low, 1e-300))
    return PIL.Image.fromarray(np.rint(values).astype(np.uint8))


def _describe(error: Exception) -> str:
    return str(error) or type(error).__name__
