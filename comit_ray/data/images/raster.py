"""Decodes PNG and JPEG bytes into stored values or display values.

8-bit pixels are taken as they are: somebody already chose how they look. 16-bit grey PNGs hold stored values and no
window, so their 0.5 to 99.5 percentiles are spread over black to white, as for a DICOM file without a window.

If the DICOM elements that a PNG was made from lie beside it (`comit_ray.data.images.sidecar`), a grey PNG of 8 or 16
bits holds the stored values of that file, and goes through the same pipeline. Colour, transparency and JPEG hold
display values already, as RGB does in a DICOM file; but not if the elements say MONOCHROME1: some converters invert it
and some do not, and the picture does not tell. Transparency is put on black. An EXIF orientation is applied, because
viewers and annotators saw the picture turned.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydicom.dataset import Dataset

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images import views
from comit_ray.data.images.codestream import bands, grey_bands, inspect
from comit_ray.data.images.dicom_display import text
from comit_ray.data.images.radiograph import StoredImage, check_size, decoding_room
from comit_ray.data.images.sidecar import as_stored, check_shown, photometric_of
from comit_ray.errors import DecodeError, Reason
from comit_ray.tables.vocabulary import View

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"

_ORIENTATION = 0x0112
_GREY = 0
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PEAK = {False: 4.0, True: 9.0}
"""Peak bytes per pixel for decoding 8-bit grey, and for 16 bits, colours, or a turned picture; measured."""
MAX_CHUNKS = 150_000
"""Most chunks of one PNG; the largest file in chunks of 8 KiB, which most writers make, has 32,768."""
_BLOCK = 2**18
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""Top, left, and steps down and to the right, for each Adam7 pass."""
_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"})


def stored_png(data: bytes, limits: DecodeLimits, held: ExitStack, elements: Dataset | None = None) -> StoredImage:
    """Returns the image of a PNG of any bit depth and colour type; 16 bits only in grey.

    Args:
        data: the file.
        limits: limits for the image.
        held: keeps the reserved memory until the caller has displayed the values.
        elements: elements of its sidecar, if it has one.

    Raises:
        DecodeError: TRUNCATED, CORRUPT, TOO_LARGE, TOO_SMALL, MULTI_FRAME, NOT_GRAYSCALE, BAD_GEOMETRY, BAD_SIDECAR.
    """
    chunks = _png_chunks(data)
    width, height, depth, colour = struct.unpack_from(">IIBB", chunks[0][1])
    if colour not in _CHANNELS:
        raise DecodeError(Reason.CORRUPT, "a PNG of a colour type that does not exist")
    check_size(height, width, _CHANNELS[colour] * -(-depth // 8), limits)
    if any(kind == b"acTL" for kind, _ in chunks):
        raise DecodeError(Reason.MULTI_FRAME, "expected one picture, got an animated PNG")
    if depth == 16 and colour != _GREY:
        raise DecodeError(Reason.NOT_GRAYSCALE, "expected a 16-bit PNG to be plain grey, got colour or transparency")
    if depth not in (1, 2, 4, 8, 16):
        raise DecodeError(Reason.CORRUPT, f"expected a PNG of 1 to 16 bits a sample, got {depth}")
    _check_length(chunks)
    held.enter_context(decoding_room(height * width, _PEAK[depth == 16 or colour != _GREY], len(data), 2))
    image, applied = _open(_essential(chunks), "PNG")
    if elements is not None and colour == _GREY and depth >= 8:
        return _described(image, depth, applied, elements)
    check_shown(elements)
    if depth == 16:
        return _image(np.asarray(image).astype(np.uint16), applied, Dataset(), "MONOCHROME2")
    return _image(_grey(image, applied), applied)


def stored_jpeg(data: bytes, limits: DecodeLimits, held: ExitStack, elements: Dataset | None = None) -> StoredImage:
    """Returns the image of an 8-bit JPEG, grey or colour that is really grey; CMYK is refused, as it is ink, not light.

    Args:
        data: the file.
        limits: limits for the image.
        held: keeps the reserved memory until the caller has displayed the values.
        elements: elements of its sidecar, if it has one.

    Raises:
        DecodeError: TRUNCATED, CORRUPT, TOO_LARGE, TOO_SMALL, NOT_GRAYSCALE, UNSUPPORTED_TRANSFER_SYNTAX, BAD_SIDECAR.
    """
    stream = inspect(data)
    check_size(stream.height, stream.width, stream.components, limits)
    if stream.precision != 8:
        raise DecodeError(
            Reason.UNSUPPORTED_TRANSFER_SYNTAX, f"expected an 8-bit JPEG, got {stream.precision} bits a sample"
        )
    if stream.components not in (1, 3):
        raise DecodeError(Reason.NOT_GRAYSCALE, f"expected a grey JPEG, got {stream.components} components")
    check_shown(elements)
    held.enter_context(decoding_room(stream.height * stream.width, _PEAK[stream.components > 1], len(data), 1))
    image, applied = _open(data, "JPEG")
    return _image(_grey(image, applied), applied)


def _open(data: bytes, file_format: str) -> tuple[Image.Image, list[str]]:
    """Returns the picture upright, and the step `exif_orientation` if it had to be turned."""
    applied: list[str] = []
    try:
        with Image.open(BytesIO(data), formats=[file_format]) as image:
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                raise DecodeError(Reason.MULTI_FRAME, f"expected one picture, got {frames}")
            image.load()
            upright: Image.Image = image
            if image.getexif().get(_ORIENTATION, 1) in range(2, 9):
                upright = ImageOps.exif_transpose(image)
                applied.append("exif_orientation")
    except OSError as error:
        reason = Reason.TRUNCATED if "truncated" in str(error) else Reason.CORRUPT
        raise DecodeError(reason, f"the {file_format} cannot be decoded whole") from None
    return upright, applied


def _image(
    values_HW: NDArray[np.generic],
    applied: list[str],
    elements: Dataset | None = None,
    photometric: str | None = None,
    *,
    sidecar: bool = False,
) -> StoredImage:
    described = Dataset() if elements is None else elements
    return StoredImage(values_HW, described, photometric, View.UNKNOWN, "none", tuple(applied), sidecar)


def _described(image: Image.Image, depth: int, applied: list[str], elements: Dataset) -> StoredImage:
    """Returns a grey PNG of stored values, for the DICOM pipeline."""
    photometric = photometric_of(elements)
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise DecodeError(
            Reason.BAD_SIDECAR, "expected a sidecar of a grey image, as the PNG is, got one of a colour one"
        )
    raw = views.for_processing(text(elements, "PresentationIntentType"), "")
    if raw is not None:
        raise raw
    png_HW = np.asarray(image)
    unsigned_HW = png_HW.astype(np.uint8) if depth == 8 else png_HW.astype(np.uint16)
    return _image(as_stored(unsigned_HW, elements), applied, elements, photometric, sidecar=True)


def _grey(image: Image.Image, applied: list[str]) -> NDArray[np.uint8]:
    """Returns grey values, transparency on black; colours are converted in bands, because they take most memory."""
    if image.mode in ("1", "L") and not image.has_transparency_data:
        return np.array(image.convert("L"))
    width, height = image.size
    transparent = False

    def rgb() -> Iterator[NDArray[np.uint8]]:
        nonlocal transparent
        for rows in bands(height, width):
            band = image.crop((0, rows.start, width, rows.stop))
            if image.has_transparency_data:
                rgba = band.convert("RGBA")
                if rgba.getchannel("A").getextrema() != (255, 255):
                    rgba = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
                    transparent = True
                band = rgba
            yield np.asarray(band.convert("RGB"))

    grey_HW = grey_bands(rgb(), height, width)
    applied += ["alpha_on_black"] * transparent + ["colour_to_grey"]
    return grey_HW


def _png_chunks(data: bytes) -> list[tuple[bytes, memoryview]]:
    """Returns the needed chunks up to IEND, and checks the checksums of critical ones; Pillow skips those of pixels.

    Profiles and texts are left out: they are compressed, need no limit, and change no grey value here.
    """
    view = memoryview(data)
    chunks: list[tuple[bytes, memoryview]] = []
    at, count = len(PNG_SIGNATURE), 0
    while not chunks or chunks[-1][0] != b"IEND":
        if at + 12 > len(data):
            raise DecodeError(Reason.TRUNCATED, "the PNG ends before its end chunk")
        if count >= MAX_CHUNKS:
            raise DecodeError(Reason.TOO_LARGE, f"expected at most {MAX_CHUNKS} chunks in a PNG")
        length, kind = struct.unpack_from(">I4s", data, at)
        body, at, count = at + 8, at + 12 + length, count + 1
        if at > len(data):
            raise DecodeError(Reason.TRUNCATED, "the PNG ends inside a chunk")
        if not kind[0] & 0x20 and zlib.crc32(view[body - 4 : at - 4]) != int.from_bytes(data[at - 4 : at]):
            raise DecodeError(Reason.CORRUPT, f"a checksum of the PNG ({kind.decode('ascii', 'replace')}) does not fit")
        if count == 1 and (kind != b"IHDR" or length != 13):
            raise DecodeError(Reason.CORRUPT, "the PNG does not begin with its header")
        if kind in _KEPT or kind == b"acTL":
            chunks.append((kind, view[body : at - 4]))
    return chunks


def _check_length(chunks: list[tuple[bytes, memoryview]]) -> None:
    """Compares the inflated bytes with those that the header's picture needs; Pillow leaves missing pixels black.

    Raises:
        DecodeError: TRUNCATED if there are fewer, CORRUPT if they cannot be inflated.
    """
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    bits = _CHANNELS[colour] * depth
    expected = sum(rows * (1 + -(-columns * bits // 8)) for rows, columns in _passes(height, width, interlaced == 1))
    inflater, found = zlib.decompressobj(), 0
    try:
        for kind, body in chunks:
            pending: bytes | memoryview = body if kind == b"IDAT" else b""
            while len(pending) and found < expected:
                found += len(inflater.decompress(pending, _BLOCK))
                pending = inflater.unconsumed_tail
    except zlib.error:
        raise DecodeError(Reason.CORRUPT, "the PNG's pixels (IDAT) cannot be inflated") from None
    if found < expected:
        raise DecodeError(
            Reason.TRUNCATED,
            f"expected {expected} bytes for {height} x {width} pixels in the PNG, its data end after {found}",
        )


def _passes(height: int, width: int, interlaced: bool) -> list[tuple[int, int]]:
    """Returns rows and columns of each Adam7 pass that has pixels (PNG 8.2); a plain picture has one pass."""
    if not interlaced:
        return [(height, width)]
    sizes = [(-(-(height - top) // down), -(-(width - left) // right)) for top, left, down, right in _ADAM7]
    return [(rows, columns) for rows, columns in sizes if rows > 0 and columns > 0]


def _essential(chunks: list[tuple[bytes, memoryview]]) -> bytes:
    """Returns a PNG that holds only these chunks."""
    parts: list[bytes | memoryview] = [PNG_SIGNATURE]
    for kind, body in chunks:
        checksum = zlib.crc32(body, zlib.crc32(kind))
        parts += [struct.pack(">I4s", len(body), kind), body, struct.pack(">I", checksum)]
    return b"".join(parts)
