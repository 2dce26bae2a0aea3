"""PNG and JPEG bytes -> stored values, or the display values of a picture.

8-bit pixels are taken as they are: somebody already chose how they look. 16-bit grey PNGs hold stored values and no
window, so their 0.5 to 99.5 percentiles are spread over black to white, as for a DICOM file without a window.

Where the elements of the DICOM file that a PNG was made of lie beside it (`comit_ray.data.images.sidecar`), a grey PNG of 8 or
16 bits is that file's stored values, and goes through the same pipeline. Colour, transparency and JPEG are display
values already, as RGB is in a DICOM file; but not where the elements say MONOCHROME1: some converters invert it and
some do not, and nothing in the picture tells.
Transparency lies on black. An EXIF orientation is honoured: viewers and annotators saw the picture turned.
"""

import struct
import zlib
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydicom.dataset import Dataset

from comit_ray.config.data_config import DecodeLimits
from comit_ray.data.images.codestream import inspect, to_grey
from comit_ray.data.images.radiograph import StoredImage, check_size
from comit_ray.data.images.sidecar import as_stored, check_shown, photometric_of
from comit_ray.errors import DecodeError, Reason
from comit_ray.tables.vocabulary import View

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8\xff"

_ORIENTATION = 0x0112
_GREY = 0
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"})


def stored_png(data: bytes, limits: DecodeLimits, elements: Dataset | None = None) -> StoredImage:
    """A PNG of any bit depth and colour type; 16 bits only in grey.

    Args:
        data: the file.
        limits: bounds.
        elements: of its sidecar, if it has one.

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
    image, applied = _open(_essential(chunks), "PNG")
    if elements is not None and colour == _GREY and depth >= 8:
        return _stored(image, depth, applied, elements)
    check_shown(elements)
    if depth == 16:
        return _image(np.asarray(image).astype(np.uint16), applied, Dataset(), "MONOCHROME2")
    return _image(_grey(image, applied), applied)


def stored_jpeg(data: bytes, limits: DecodeLimits, elements: Dataset | None = None) -> StoredImage:
    """An 8-bit JPEG, grey or colour that is really grey; CMYK is refused: it is ink, not light.

    Args:
        data: the file.
        limits: bounds.
        elements: of its sidecar, if it has one.

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
    image, applied = _open(data, "JPEG")
    return _image(_grey(image, applied), applied)


def _open(data: bytes, file_format: str) -> tuple[Image.Image, list[str]]:
    """The picture, upright, and whether it had to be turned."""
    applied: list[str] = []
    try:
        with Image.open(BytesIO(data), formats=[file_format]) as image:
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                raise DecodeError(Reason.MULTI_FRAME, f"expected one picture, got {frames}")
            image.load()
            upright = ImageOps.exif_transpose(image)
            if image.getexif().get(_ORIENTATION, 1) in range(2, 9):
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


def _stored(image: Image.Image, depth: int, applied: list[str], elements: Dataset) -> StoredImage:
    """A grey PNG of stored values, for the DICOM pipeline."""
    photometric = photometric_of(elements)
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise DecodeError(
            Reason.BAD_SIDECAR, "expected a sidecar of a grey image, as the PNG is, got one of a colour one"
        )
    png_HW = np.asarray(image)
    unsigned_HW = png_HW.astype(np.uint8) if depth == 8 else png_HW.astype(np.uint16)
    return _image(as_stored(unsigned_HW, elements), applied, elements, photometric, sidecar=True)


def _grey(image: Image.Image, applied: list[str]) -> NDArray[np.uint8]:
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema() != (255, 255):
            black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
            rgba = Image.alpha_composite(black, rgba)
            applied.append("alpha_on_black")
        image = rgba.convert("RGB")
    if image.mode in ("1", "L"):
        return np.array(image.convert("L"))
    applied.append("colour_to_grey")
    return to_grey(np.asarray(image.convert("RGB")))


def _png_chunks(data: bytes) -> list[tuple[bytes, memoryview]]:
    """All chunks up to IEND, the checksums of the critical ones compared; Pillow would skip those of the pixels."""
    view = memoryview(data)
    chunks: list[tuple[bytes, memoryview]] = []
    at = len(PNG_SIGNATURE)
    while not chunks or chunks[-1][0] != b"IEND":
        if at + 12 > len(data):
            raise DecodeError(Reason.TRUNCATED, "the PNG ends before its end chunk")
        length, kind = struct.unpack_from(">I4s", data, at)
        body, at = at + 8, at + 12 + length
        if at > len(data):
            raise DecodeError(Reason.TRUNCATED, "the PNG ends inside a chunk")
        if not kind[0] & 0x20 and zlib.crc32(view[body - 4 : at - 4]) != int.from_bytes(data[at - 4 : at]):
            raise DecodeError(Reason.CORRUPT, "a checksum of the PNG does not fit its data")
        chunks.append((kind, view[body : at - 4]))
    if chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        raise DecodeError(Reason.CORRUPT, "the PNG does not begin with its header")
    return chunks


def _essential(chunks: list[tuple[bytes, memoryview]]) -> bytes:
    """The PNG without its profiles and texts, which are compressed, need no bound, and change no grey value here."""
    parts: list[bytes | memoryview] = [PNG_SIGNATURE]
    for kind, body in chunks:
        if kind in _KEPT:
            checksum = zlib.crc32(body, zlib.crc32(kind))
            parts += [struct.pack(">I4s", len(body), kind), body, struct.pack(">I", checksum)]
    return b"".join(parts)
