import struct
import zlib
from collections import Counter
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.load import decode
from comit_ray.data.images.raster import PNG_SIGNATURE
from comit_ray.errors import DecodeError, Reason
from comit_ray.tables.vocabulary import View

LIMITS = DecodeLimits()


def picture(height: int = 60, width: int = 80) -> NDArray[np.uint8]:
    """A smooth grey picture, dark on the left."""
    return np.tile(np.linspace(0, 255, width), (height, 1)).astype(np.uint8)


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def reason(data: bytes, limits: DecodeLimits = LIMITS) -> Reason:
    with pytest.raises(DecodeError) as caught:
        decode(data, limits)
    return caught.value.reason


@pytest.mark.parametrize(
    ("convert", "applied"),
    [
        (lambda image: image, ()),
        (lambda image: image.convert("RGB"), ("colour_to_grey",)),
        (lambda image: image.convert("RGBA"), ("colour_to_grey",)),
        (lambda image: image.convert("LA"), ("colour_to_grey",)),
        (lambda image: image.convert("RGB").quantize(256), ("colour_to_grey",)),
    ],
    ids=["L", "RGB", "RGBA", "LA", "P"],
)
def test_png_modes_give_the_same_pixels(
    convert: Callable[[Image.Image], Image.Image], applied: tuple[str, ...]
) -> None:
    found = decode(encoded(convert(Image.fromarray(picture()))), LIMITS)
    assert np.abs(found.pixels_HW.astype(int) - picture()).max() <= 1
    assert (found.height, found.width, found.view, found.view_source) == (60, 80, View.UNKNOWN, "none")
    assert found.applied == applied
    assert found.pixels_HW.flags.writeable
    assert found.pixels_HW.flags.c_contiguous


def test_one_bit_png() -> None:
    mask = picture() > 127
    found = decode(encoded(Image.fromarray(mask)), LIMITS)
    assert np.array_equal(found.pixels_HW, mask * 255)


def test_sixteen_bit_png_spreads_its_percentiles() -> None:
    stored = np.tile(np.linspace(500, 2500, 80), (60, 1)).astype(np.uint16)  # 12 bits in 16, as BIMCV has them
    found = decode(encoded(Image.fromarray(stored)), LIMITS)
    assert found.applied == ("percentiles",)
    assert (found.pixels_HW[0, 0], found.pixels_HW[0, -1]) == (0, 255)
    assert np.abs(found.pixels_HW.astype(int) - picture()).max() <= 2


def test_sixteen_bit_colour_is_refused() -> None:
    rows = b"".join(b"\0" + b"\x12\x34" * 3 * 40 for _ in range(40))
    header = struct.pack(">IIBBBBB", 40, 40, 16, 2, 0, 0, 0)
    data = PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert reason(data) is Reason.NOT_GRAYSCALE


def test_transparency_lies_on_black() -> None:
    image = Image.fromarray(picture()).convert("RGBA")
    image.putalpha(Image.fromarray(np.where(np.arange(80) < 40, 0, 255).astype(np.uint8)[None].repeat(60, 0)))
    found = decode(encoded(image), LIMITS)
    assert "alpha_on_black" in found.applied
    assert not found.pixels_HW[:, :40].any()
    assert np.array_equal(found.pixels_HW[:, 40:], picture()[:, 40:])


def test_colour_is_refused_and_coloured_markers_are_not() -> None:
    coloured = np.stack([picture(), picture()[:, ::-1], picture()], axis=2)
    for file_format in ("PNG", "JPEG"):
        assert reason(encoded(Image.fromarray(coloured), file_format)) is Reason.NOT_GRAYSCALE
    marked = np.repeat(picture()[:, :, None], 3, axis=2)
    marked[5:10, 5:13] = (255, 255, 0)  # 40 of 4800 pixels
    assert decode(encoded(Image.fromarray(marked)), LIMITS).applied == ("colour_to_grey",)
    noisy = np.random.default_rng(0).integers(0, 256, (64, 64, 1)).astype(np.uint8).repeat(3, axis=2)
    for quality in (10, 75):
        assert decode(encoded(Image.fromarray(noisy), "JPEG", quality=quality), LIMITS).height == 64


def test_cmyk_is_refused() -> None:
    assert reason(encoded(Image.fromarray(picture()).convert("CMYK"), "JPEG")) is Reason.NOT_GRAYSCALE


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_exif_orientation_is_honoured(file_format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    found = decode(encoded(Image.fromarray(picture()), file_format, exif=exif), LIMITS)
    assert (found.height, found.width, found.applied) == (80, 60, ("exif_orientation",))
    assert found.pixels_HW[0].mean() < 10 < 245 < found.pixels_HW[-1].mean()


@pytest.mark.parametrize("name", ["png", "jpeg", "progressive"])
def test_no_beginning_of_a_file_gives_pixels(name: str) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80)).astype(np.uint8))
    data = encoded(image, "PNG") if name == "png" else encoded(image, "JPEG", progressive=name == "progressive")
    decode(data, LIMITS)
    for end in range(1, len(data) - 1, 7):
        assert reason(data[:end]) in (Reason.TRUNCATED, Reason.NOT_AN_IMAGE if end < 8 else Reason.TRUNCATED)


def test_damaged_png_pixels_are_found_by_their_checksum() -> None:
    data = bytearray(encoded(Image.fromarray(picture())))
    data[data.index(b"IDAT") + 20] ^= 1
    assert reason(bytes(data)) is Reason.CORRUPT


def png(raw: bytes, *, depth: int = 8, colour: int = 0, interlaced: int = 0, cut: int = 0) -> bytes:
    """60 x 80 pixels of these filtered rows; the zlib stream ends properly after all but `cut` of them."""
    header = struct.pack(">IIBBBBB", 80, 60, depth, colour, 0, 0, interlaced)
    packed = zlib.compress(raw[: len(raw) - cut])
    return PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("depth", "colour", "bytes_per_row"), [(8, 0, 80), (16, 0, 160), (1, 0, 10), (8, 2, 240), (8, 6, 320)]
)
def test_a_stream_that_ends_properly_too_early_is_truncated(depth: int, colour: int, bytes_per_row: int) -> None:
    """Pillow takes what it has and leaves the rest black."""
    raw = b"".join(b"\0" + bytes([row * 3 + 40]) * bytes_per_row for row in range(60))
    decode(png(raw, depth=depth, colour=colour), LIMITS)
    for cut in (1, bytes_per_row + 1, len(raw) // 2, len(raw)):
        assert reason(png(raw, depth=depth, colour=colour, cut=cut)) is Reason.TRUNCATED


def test_chunks_without_end_are_refused() -> None:
    data = encoded(Image.fromarray(picture()))
    assert reason(data[:33] + chunk(b"teSt", b"") * 200_000 + data[33:]) is Reason.TOO_LARGE
    assert decode(data[:33] + chunk(b"teSt", b"") * 1_000 + data[33:], LIMITS).height == 60


def adam7() -> bytes:
    """The bytes of `picture`, pass after pass (PNG 8.2)."""
    raw = b""
    steps = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    for top, left, down, right in steps:
        raw += b"".join(b"\0" + row.tobytes() for row in picture()[top::down, left::right])
    return raw


def test_an_interlaced_picture_needs_all_its_passes() -> None:
    assert np.array_equal(decode(png(adam7(), interlaced=1), LIMITS).pixels_HW, picture())
    for cut in (1, 30 * 81, 45 * 80):
        assert reason(png(adam7(), interlaced=1, cut=cut)) is Reason.TRUNCATED


def test_animated_png_and_sizes() -> None:
    frames = [Image.fromarray(picture()), Image.fromarray(picture()[::-1, ::-1].copy())]
    animated = encoded(frames[0], save_all=True, append_images=frames[1:])
    assert reason(animated) is Reason.MULTI_FRAME
    assert reason(encoded(Image.fromarray(picture(20, 80)))) is Reason.TOO_SMALL
    for file_format in ("PNG", "JPEG"):
        data = encoded(Image.fromarray(picture()), file_format)
        assert reason(data, DecodeLimits(max_pixels=4799)) is Reason.TOO_LARGE
        assert reason(data, DecodeLimits(max_decoded_bytes=4799)) is Reason.TOO_LARGE
        assert reason(data, DecodeLimits(max_bytes=len(data) - 1)) is Reason.TOO_LARGE


def test_other_formats_are_named_as_such() -> None:
    for file_format in ("TIFF", "BMP", "GIF", "WEBP"):
        assert reason(encoded(Image.fromarray(picture()), file_format)) is Reason.NOT_AN_IMAGE
    assert reason(b"") is Reason.EMPTY
    assert reason(b"<html>404</html>" * 20) is Reason.NOT_AN_IMAGE
    assert reason(encoded(Image.fromarray(np.full((50, 50), 9, np.uint8)))) is Reason.BLANK


@pytest.mark.parametrize(
    ("folder", "count"), [("covid_chestxray", 205), ("figure1_covid", 55), ("nih_chestxray14", 100)]
)
def test_real_radiographs(folder: str, count: int, cxr: Path) -> None:
    """All of them decode, 8 bits as they are."""
    outcomes: Counter[str] = Counter()
    for path in sorted((cxr / folder / "images").iterdir())[:count]:
        found = decode(path.read_bytes(), LIMITS)
        assert set(found.applied) <= {"colour_to_grey"}, path.name
        with Image.open(path) as image:
            assert (found.width, found.height) == image.size
            if image.mode == "L":
                assert np.array_equal(found.pixels_HW, np.asarray(image)), path.name
        outcomes["ok"] += 1
    assert outcomes == {"ok": count}
