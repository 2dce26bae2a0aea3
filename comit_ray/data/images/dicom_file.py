"""DICOM bytes -> the header elements asked for, and the bytes of the pixel data; both bounded.

pydicom's `dcmread` inflates a deflated file whole before it reads a tag, keeps every element and swallows the end of a
truncated file. So the file is opened here with pydicom's `read_dataset`: only named elements are kept (the patient's
name is never read), the header may take 16 MiB, and a deflated file is inflated no further than its pixels.
"""

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from comit_ray.config.data_config import DecodeLimits
from comit_ray.errors import DecodeError, Reason

MAX_HEADER_BYTES = 16 * 2**20
"""All that may precede the pixel data, and the part of a deflated file inflated to read its header."""
MAX_ELEMENTS = 100_000
"""Elements that may precede the pixel data; headers of radiographs have some hundred."""
UNDEFINED_LENGTH = 0xFFFFFFFF

_MAGIC_AT, _MAGIC = 128, b"DICM"
_FLOAT_PIXELS = (0x7FE00008, 0x7FE00009)
_PIXELS = 0x7FE00010
_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT OB OW PN SH SL SQ SS ST TM UI UL UN US UT".split())


@dataclass(frozen=True)
class PixelElement:
    """Where the pixel data lie: `at` is the offset of the value in the (inflated) data set's bytes."""

    at: int
    length: int
    vr: str


@dataclass(frozen=True)
class DicomFile:
    """An opened DICOM file.

    Attributes:
        meta: the file meta elements (group 0002); empty in a bare data set.
        elements: the header elements that were asked for.
        transfer_syntax: the stated one, else the one the first element's encoding shows.
        pixels: None if the file ends before any pixel data.
        body: the bytes `pixels.at` counts in; of a deflated file the beginning, inflated.
    """

    meta: Dataset
    elements: Dataset
    transfer_syntax: UID
    pixels: PixelElement | None
    body: bytes


def looks_like_dicom(data: bytes) -> bool:
    """Part 10 magic, or the first element of a bare data set (group 0002 or 0008), in either byte order."""
    if data[_MAGIC_AT : _MAGIC_AT + 4] == _MAGIC:
        return True
    if len(data) < 12:
        return False
    if data[4:6] in _VRS:
        return data[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")
    group, element, length = struct.unpack_from("<HHI", data)
    return bool(group == 8 and element <= 0x20 and length <= 128)


def open_dicom(data: bytes, keywords: tuple[str, ...], inflated_bytes: int = MAX_HEADER_BYTES) -> DicomFile:
    """Reads the header, keeping the elements named by `keywords`.

    Args:
        data: the file.
        keywords: DICOM keywords of the elements to keep.
        inflated_bytes: how much of a deflated file to inflate.

    Raises:
        DecodeError: TRUNCATED if an element of the header ends beyond the file, TOO_LARGE if the header is.
    """
    source = BytesIO(data)
    if data[_MAGIC_AT : _MAGIC_AT + 4] == _MAGIC:
        source.seek(_MAGIC_AT + 4)
    begin = source.tell()
    meta = read_dataset(source, False, True, stop_when=lambda tag, vr, length: bool(tag.group != 2))
    begin = source.tell() if meta else begin
    stated = meta.get("TransferSyntaxUID")
    syntax = UID(str(stated)) if stated else _evident_syntax(data[begin : begin + 6])
    body, at = data, begin
    cut = len(data) - begin > MAX_HEADER_BYTES
    if syntax == DeflatedExplicitVRLittleEndian:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        body, at = inflater.decompress(data[begin:], inflated_bytes), 0
        cut = not inflater.eof and len(body) == inflated_bytes
    head = BytesIO(body[: at + MAX_HEADER_BYTES] if len(body) - at > MAX_HEADER_BYTES else body)
    head.seek(at)
    reader = _HeaderReader(head, cut)
    elements = read_dataset(
        head,
        syntax == ImplicitVRLittleEndian,
        syntax != ExplicitVRBigEndian,
        stop_when=reader.stop,
        specific_tags=[Tag(keyword) for keyword in keywords],
    )
    if reader.pixels is None and cut:
        raise _header_too_large()
    return DicomFile(meta, elements, syntax, reader.pixels, body)


def encapsulated_frame(file: DicomFile) -> bytes:
    """The compressed frame of a single-frame image: its fragments, joined (PS3.5 A.4).

    Raises:
        DecodeError: TRUNCATED if a fragment ends beyond the file, CORRUPT if the value is no sequence of fragments.
    """
    assert file.pixels is not None
    at = file.pixels.at
    fragments = []
    while file.body[at : at + 4] == _ITEM:
        start = at + 8
        at = start + int.from_bytes(file.body[at + 4 : start], "little")
        if at > len(file.body):
            raise DecodeError(Reason.TRUNCATED, "the file ends inside a fragment of its pixel data")
        fragments.append(file.body[start:at])
    if at + 4 > len(file.body):
        if at == len(file.body) and len(fragments) > 1:
            return b"".join(fragments[1:])  # only the sequence's own end is absent
        raise DecodeError(Reason.TRUNCATED, "the file ends inside its pixel data")
    if file.body[at : at + 4] != _SEQUENCE_END or not fragments:
        raise DecodeError(Reason.CORRUPT, "compressed pixel data are no sequence of fragments")
    if len(fragments) == 1:
        raise DecodeError(Reason.NO_PIXELS, "compressed pixel data without a fragment")
    return b"".join(fragments[1:])  # the first item is the offset table


def native_frame(file: DicomFile, data: bytes, keywords: tuple[str, ...], expected: int, limits: DecodeLimits) -> bytes:
    """The `expected` bytes of an uncompressed frame; what follows them (padding) is left.

    Raises:
        DecodeError: TRUNCATED if the file, or the element, holds fewer.
    """
    assert file.pixels is not None
    at, length = file.pixels.at, file.pixels.length
    body = file.body
    if file.transfer_syntax == DeflatedExplicitVRLittleEndian and at + expected > len(body):
        if at + expected > limits.max_decoded_bytes:
            raise DecodeError(Reason.TOO_LARGE, f"more than {limits.max_decoded_bytes} bytes after inflating")
        body = open_dicom(data, keywords, at + expected).body
    if length == UNDEFINED_LENGTH:
        raise DecodeError(Reason.CORRUPT, "uncompressed pixel data of undefined length")
    frame = body[at : at + min(length, expected)]
    if len(frame) < expected:
        raise DecodeError(Reason.TRUNCATED, f"expected {expected} bytes of pixels, got {len(frame)}")
    return frame


class _HeaderReader:
    """pydicom's `stop_when` callback: stops at the pixel data, and looks at every element's length on the way."""

    def __init__(self, head: BytesIO, cut: bool) -> None:
        self.pixels: PixelElement | None = None
        self._head = head
        self._size = len(head.getbuffer())
        self._cut = cut
        self._left = MAX_ELEMENTS

    def stop(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        at = self._head.tell()
        if tag in _FLOAT_PIXELS:
            raise DecodeError(Reason.NO_PIXELS, "expected integer pixel data, got floating point numbers")
        if tag == _PIXELS:
            self.pixels = PixelElement(at, length, vr or "OW")
            return True
        self._left -= 1
        if self._left < 0:
            raise _header_too_large()
        if length != UNDEFINED_LENGTH and at + length > self._size:
            if self._cut:
                raise _header_too_large()
            raise DecodeError(Reason.TRUNCATED, "the file ends inside its header")
        return False


def _header_too_large() -> DecodeError:
    return DecodeError(
        Reason.TOO_LARGE,
        f"expected pixel data after at most {MAX_HEADER_BYTES} bytes and {MAX_ELEMENTS} elements of header",
    )


def _evident_syntax(first: bytes) -> UID:
    """The encoding of a data set that states none: explicit if its first element carries a VR."""
    if first[4:6] not in _VRS:
        return ImplicitVRLittleEndian
    return ExplicitVRBigEndian if first[0] == 0 and first[1] != 0 else ExplicitVRLittleEndian
