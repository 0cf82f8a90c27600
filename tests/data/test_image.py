"""Reading single image files: every kind that users have, and every kind of damage."""

import io
import os
import pickle
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from odevision.data.image import (
    ImageReadError,
    check_image_header,
    read_image,
    to_gray_or_rgb,
)

GRADIENT = np.arange(256, dtype=np.uint8).reshape(16, 16)


def save(path: Path, image: PIL.Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def write_png_header(path: Path, width: int, height: int, rows: bytes = b"") -> Path:
    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def color_image() -> PIL.Image.Image:
    return PIL.Image.fromarray(np.stack([GRADIENT, GRADIENT[::-1], GRADIENT.T], axis=-1))


def test_grayscale_stays_grayscale(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png", PIL.Image.fromarray(GRADIENT)))
    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(image), GRADIENT)


def test_rgb_is_read_unchanged(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.png", color_image()))
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), np.asarray(color_image()))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_is_scaled_to_eight(tmp_path: Path, suffix: str) -> None:
    wide = PIL.Image.fromarray(GRADIENT.astype(np.uint16) * 257)
    image = read_image(save(tmp_path / f"a.{suffix}", wide))
    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(image), GRADIENT)


@pytest.mark.parametrize(
    "values",
    [
        GRADIENT.astype(np.int32) * 257,
        GRADIENT.astype(np.int32),
        GRADIENT.astype(np.float32) / 255,
        GRADIENT.astype(np.float32),
        GRADIENT.astype(np.float32) * 1000 - 7,
    ],
    ids=["int16-range", "int8-range", "unit-float", "byte-float", "any-float"],
)
def test_wide_types_are_scaled_to_eight_bits(values: np.ndarray) -> None:
    image = to_gray_or_rgb(PIL.Image.fromarray(values))
    np.testing.assert_array_equal(np.asarray(image), GRADIENT)


def test_values_that_are_no_numbers_do_not_hide_the_others(tmp_path: Path) -> None:
    values = GRADIENT.astype(np.float32) / 255
    values[0, :3] = (np.nan, np.inf, -np.inf)
    found = np.asarray(to_gray_or_rgb(PIL.Image.fromarray(values)))
    assert found[0, :3].tolist() == [3, 255, 3]  # the ends of what is left, 3 to 255
    np.testing.assert_array_equal(found[1:], GRADIENT[1:])
    PIL.Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(ImageReadError, match="no pixel is a finite number"):
        read_image(tmp_path / "a.tiff")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_an_image_comes_through_a_pipe(tmp_path: Path) -> None:
    content = save(tmp_path / "a.png", PIL.Image.fromarray(GRADIENT)).read_bytes()
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,))
    writer.start()
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / "pipe")), GRADIENT)
    writer.join()


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", PIL.Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=95)
    image = read_image(path)
    assert image.mode == "RGB"
    red, green, blue = image.getpixel((4, 4))
    assert red > 200 and green < 60 and blue < 60


def test_palette_becomes_its_colors(tmp_path: Path) -> None:
    image = PIL.Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image = read_image(save(tmp_path / "a.png", image))
    assert image.mode == "RGB" and image.getpixel((2, 2)) == (10, 200, 30)


def test_transparent_palette_is_laid_on_white(tmp_path: Path) -> None:
    image = PIL.Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image = read_image(save(tmp_path / "a.png", image, transparency=1))
    assert image.mode == "RGB" and image.getpixel((2, 2)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
        ("LA", (40, 0), 255),
        ("LA", (40, 255), 40),
    ],
)
def test_transparency_is_laid_on_white(
    tmp_path: Path, mode: str, color: tuple[int, ...], expected: object
) -> None:
    image = read_image(save(tmp_path / "a.png", PIL.Image.new(mode, (4, 4), color)))
    assert image.mode == ("L" if mode == "LA" else "RGB")
    assert image.getpixel((1, 1)) == expected


@pytest.mark.parametrize("mode", ["1", "L", "LA", "La", "P", "PA", "RGBA", "RGBa", "RGBX", "HSV"])
def test_every_mode_becomes_gray_or_rgb(mode: str) -> None:
    assert to_gray_or_rgb(PIL.Image.new(mode, (4, 4))).mode in ("L", "RGB")


def test_orientation_noted_by_the_camera_is_applied(tmp_path: Path) -> None:
    upright = PIL.Image.new("RGB", (20, 10), "white")
    upright.paste((255, 0, 0), (0, 0, 10, 10))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # Turn by 90 degrees clockwise to see it upright.
    turned = upright.transpose(PIL.Image.Transpose.ROTATE_90)
    image = read_image(save(tmp_path / "a.jpg", turned, exif=exif, quality=95))
    assert image.size == (20, 10)
    assert image.getpixel((2, 5))[1] < 40 and image.getpixel((17, 5))[1] > 215


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [PIL.Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    path = save(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert read_image(path).convert("RGB").getpixel((3, 3)) == (255, 0, 0)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp", "tif"])
def test_truncated_file_is_reported_by_name(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f"holiday.{suffix}", PIL.Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageReadError, match=f"holiday.{suffix}"):
        read_image(path)


def test_corrupt_file_is_reported_by_name(tmp_path: Path) -> None:
    path = save(tmp_path / "holiday.png", color_image())
    content = bytearray(path.read_bytes())
    content[60:120] = bytes(60)
    path.write_bytes(content)
    with pytest.raises(ImageReadError, match=r"holiday\.png: corrupt or truncated PNG"):
        read_image(path)


def test_text_named_as_an_image_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_text("<html>404</html>")
    with pytest.raises(ImageReadError, match="not an image"):
        read_image(path)


def test_empty_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.touch()
    with pytest.raises(ImageReadError, match="empty"):
        read_image(path)


def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match="no such file"):
        read_image(tmp_path / "a.jpg")


def test_directory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match="a directory"):
        read_image(tmp_path)


@pytest.mark.parametrize("read", [read_image, check_image_header])
def test_decompression_bomb_is_refused_before_it_unpacks(tmp_path: Path, read) -> None:
    # A real bomb has its 900 million zero bytes packed into 900 kB; the header decides alone.
    path = write_png_header(tmp_path / "bomb.png", 30_000, 30_000, zlib.compress(bytes(30_001)))
    with pytest.raises(ImageReadError, match=r"bomb\.png: .*900000000 pixels"):
        read(path)


def test_bomb_is_refused_though_pillows_own_check_is_off(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(ImageReadError, match="30000 x 30000"):
        read_image(write_png_header(tmp_path / "bomb.png", 30_000, 30_000))


def test_large_photo_below_the_limit_gives_no_warning(tmp_path: Path) -> None:
    check_image_header(write_png_header(tmp_path / "photo.png", 10_000, 10_000))


def test_error_names_path_and_reason_apart_and_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(ImageReadError(Path("a.jpg"), "empty")))
    assert (error.path, error.message, str(error)) == ("a.jpg", "empty", "a.jpg: empty")


def test_damaged_exif_does_not_make_the_picture_bad(tmp_path: Path, monkeypatch) -> None:
    def fail(image: PIL.Image.Image) -> None:
        raise SyntaxError("bad tag")

    monkeypatch.setattr(PIL.ImageOps, "exif_transpose", fail)
    assert read_image(save(tmp_path / "a.png", color_image())).size == (16, 16)


def test_header_check_passes_whole_images(tmp_path: Path) -> None:
    check_image_header(save(tmp_path / "a.png", color_image()))


def test_header_check_reports_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_text("no image")
    with pytest.raises(ImageReadError, match=r"a\.jpg"):
        check_image_header(path)


def test_random_bytes_after_any_magic_number_raise_only_image_read_error(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    path = tmp_path / "a.bin"
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        buffer = io.BytesIO()
        color_image().save(buffer, kind)
        for _ in range(30):
            content = bytearray(buffer.getvalue())
            for place in generator.integers(0, len(content), 8):
                content[place] = generator.integers(256)
            path.write_bytes(content)
            try:
                read_image(path)
            except ImageReadError:
                pass


def test_a_name_that_no_file_can_have_is_an_unreadable_image(tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match="cannot be opened"):
        read_image(tmp_path / f"{'long' * 100}.jpg")
