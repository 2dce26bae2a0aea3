"""Small files that claim, or inflate to, very much: each with the outcome it must have."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate

from tests.data.dicom_files import dataset, dicom, ramp, saved

_PNG = b"\x89PNG\r\n\x1a\n"


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _deflated(body: bytes) -> bytes:
    made = dataset(ramp())
    made.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    meta = saved(made)
    packer = zlib.compressobj(wbits=-15)
    return meta[: 144 + int.from_bytes(meta[140:144], "little")] + packer.compress(body) + packer.flush()


def _elements(**header: Any) -> bytes:
    """The data set of a small chest up to its pixel data, explicit little endian."""
    data = dicom(**header)
    return data[data.index(b"\x08\x00\x16\x00UI") : data.index(b"\xe0\x7f\x10\x00")]


def deflated_zeros() -> tuple[bytes, str]:
    return _deflated(bytes(96 * 2**20)), "too_large"


def deflated_private_element() -> tuple[bytes, str]:
    return _deflated(b"\x09\x00\x10\x10OB\0\0" + struct.pack("<I", 96 * 2**20) + bytes(96 * 2**20)), "too_large"


def deflated_elements() -> tuple[bytes, str]:
    return _deflated(
        b"".join(b"\x09\x00" + struct.pack("<H", n % 65536) + b"LO\0\0" for n in range(200_000))
    ), "too_large"


def deflated_pixels() -> tuple[bytes, str]:
    """A header of 48 x 64 pixels before 96 MiB of them: very many frames, of which no more than one is inflated."""
    size = 96 * 2**20
    return _deflated(_elements() + b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", size) + bytes(size)), "multi_frame"


def deflated_claim() -> tuple[bytes, str]:
    body = _elements(Rows=60000, Columns=60000) + b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", 2**31) + bytes(1000)
    return _deflated(body), "too_large"


def nested_items() -> tuple[bytes, str]:
    """A sequence of many items without an element: pydicom makes a data set of each."""
    data = dicom()
    at = data.index(b"\xe0\x7f\x10\x00")
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 120_000
    return data[:at] + b"\x54\x00\x20\x02SQ\0\0\xff\xff\xff\xff" + items + data[at:], "too_large"


def nested_items_of_stated_length() -> tuple[bytes, str]:
    """The same in a sequence that states its bytes, which pydicom would read later."""
    data = dicom()
    at = data.index(b"\xe0\x7f\x10\x00")
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 120_000
    return data[:at] + b"\x54\x00\x20\x02SQ\0\0" + struct.pack("<I", len(items)) + items + data[at:], "too_large"


def nested_elements() -> tuple[bytes, str]:
    """One item of many empty elements."""
    data = dicom()
    at = data.index(b"\xe0\x7f\x10\x00")
    item = b"\x09\x00\x10\x10LO\0\0" * 120_000
    sequence = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(item)) + item
    return data[:at] + b"\x54\x00\x20\x02SQ\0\0" + struct.pack("<I", len(sequence)) + sequence + data[at:], "too_large"


def fragments() -> tuple[bytes, str]:
    """Many empty fragments of compressed pixels."""
    made = _encapsulated(b"x", uid.JPEG2000Lossless, bits=8)
    at = made.rindex(b"\xfe\xff\xdd\xe0")
    return made[:at] + b"\xfe\xff\x00\xe0\0\0\0\0" * 120_000 + made[at:], "too_large"


def png_claim() -> tuple[bytes, str]:
    header = struct.pack(">IIBBBBB", 60000, 60000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(7501 * 60000 // 8))
    return _PNG + _chunk(b"IHDR", header) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b""), "too_large"


def png_texts() -> tuple[bytes, str]:
    """A sound picture with a colour profile and a text of 96 MiB each, which nothing needs to inflate."""
    buffer = BytesIO()
    Image.fromarray(ramp(high=255).astype(np.uint8)).save(buffer, "PNG")
    sound = buffer.getvalue()
    fat = zlib.compress(bytes(96 * 2**20), 9)
    return sound[:33] + _chunk(b"iCCP", b"p\0\0" + fat) + _chunk(b"zTXt", b"t\0\0" + fat) + sound[33:], "ok"


def jpeg_claim() -> tuple[bytes, str]:
    buffer = BytesIO()
    Image.fromarray(ramp(high=255).astype(np.uint8)).save(buffer, "JPEG")
    stream = bytearray(buffer.getvalue())
    at = stream.index(b"\xff\xc0")
    stream[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)
    return bytes(stream), "too_large"


def _encapsulated(frame: bytes, syntax: uid.UID, **header: Any) -> bytes:
    made = dataset(ramp(), **header)
    made.file_meta.TransferSyntaxUID = syntax
    made.PixelData = encapsulate([frame])
    made["PixelData"].is_undefined_length = True
    made["PixelData"].VR = "OB"
    return saved(made)


def jpeg_2000_inside_dicom() -> tuple[bytes, str]:
    """The header says 48 x 64, the codestream 60000 x 60000: the decoder would believe the codestream."""
    buffer = BytesIO()
    Image.fromarray(ramp(high=255).astype(np.uint8)).save(buffer, "JPEG2000", no_jp2=True)
    stream = bytearray(buffer.getvalue())
    stream[8:16] = struct.pack(">II", 60000, 60000)
    return _encapsulated(bytes(stream), uid.JPEG2000Lossless, bits=8), "bad_geometry"


def jpeg_inside_dicom() -> tuple[bytes, str]:
    return _encapsulated(jpeg_claim()[0], uid.JPEGBaseline8Bit, bits=8), "bad_geometry"


def run_lengths() -> tuple[bytes, str]:
    """Runs of 128 zeros where a picture of 48 x 64 bytes is expected; 64-fold is all that RLE can do."""
    frame = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\x00" * 400_000
    return _encapsulated(frame, uid.RLELossless, bits=8), "corrupt"


BOMBS: dict[str, Callable[[], tuple[bytes, str]]] = {
    make.__name__: make
    for make in (
        deflated_zeros, deflated_private_element, deflated_elements, deflated_pixels, deflated_claim, nested_items,
        nested_items_of_stated_length, nested_elements, fragments, png_claim,
        png_texts, jpeg_claim, jpeg_2000_inside_dicom, jpeg_inside_dicom, run_lengths,
    )
}  # fmt: skip
