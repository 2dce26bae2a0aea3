"""Parses DICOM bytes within limits: the requested header elements, and the bytes of the pixel data.

pydicom's `dcmread` inflates a whole deflated file before it reads a tag, keeps every element and accepts a truncated
file. So this module uses pydicom's `read_dataset`: it keeps only named elements (the patient's name is never read),
limits the header to 16 MiB, and inflates a deflated file no further than its pixels.
"""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.radiograph import decoder_guard
from comit_ray.errors import DecodeError, Reason

MAX_HEADER_BYTES = 16 * 2**20
"""Most bytes before the pixel data, and of a deflated file inflated to read its header."""
MAX_ELEMENTS = 100_000
"""Most elements before the pixel data, including those inside sequences; headers of radiographs have some hundred."""
MAX_FRAGMENTS = 100_000
"""Most items of compressed pixel data; a single frame seldom has more than one."""
UNDEFINED_LENGTH = 0xFFFFFFFF

_MAGIC_AT, _MAGIC = 128, b"DICM"
_FLOAT_PIXELS = (0x7FE00008, 0x7FE00009)
_PIXELS = 0x7FE00010
_OVERLAY_BIT_POSITIONS = tuple(range(0x60000102, 0x60200102, 0x20000))
"""Elements of the sixteen overlays; a value above 0 means that the overlay lies in unused bits of the pixels."""
_STREAMS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")
"""First bytes of JPEG and JPEG-LS, of JPEG 2000, and of a JP2 file around it."""
_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT OB OW PN SH SL SQ SS ST TM UI UL UN US UT".split())


@dataclass(frozen=True)
class PixelElement:
    """The place of the pixel data; `at` is the offset of the value in the (inflated) data set's bytes."""

    at: int
    length: int
    vr: str


@dataclass(frozen=True)
class DicomFile:
    """An opened DICOM file.

    Attributes:
        meta: file meta elements (group 0002); empty in a bare data set.
        elements: the requested header elements.
        transfer_syntax: the stated transfer syntax, or the one that the encoding of the first element shows.
        pixels: place of the pixel data; None if the file ends before them.
        body: the bytes that `pixels.at` refers to; for a deflated file its inflated beginning.
        overlay_bits: whether the header says that unused bits of the pixels hold an overlay (PS3.3-2004 C.9.2).
    """

    meta: Dataset
    elements: Dataset
    transfer_syntax: UID
    pixels: PixelElement | None
    body: bytes
    overlay_bits: bool


def looks_like_dicom(data: bytes) -> bool:
    """Whether the bytes have the Part 10 magic, or begin a bare data set (group 0002 or 0008, in either byte order)."""
    if data[_MAGIC_AT : _MAGIC_AT + 4] == _MAGIC:
        return True
    if len(data) < 12:
        return False
    if data[4:6] in _VRS:
        return data[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")
    group, element, length = struct.unpack_from("<HHI", data)
    return bool(group == 8 and element <= 0x20 and length <= 128)


def open_dicom(data: bytes, keywords: tuple[str, ...], inflated_bytes: int = MAX_HEADER_BYTES) -> DicomFile:
    """Reads the header and keeps the elements named by `keywords`.

    Args:
        data: the file.
        keywords: DICOM keywords of the elements to keep.
        inflated_bytes: how many bytes of a deflated file to inflate.

    Raises:
        DecodeError: TRUNCATED if a header element ends beyond the file; TOO_LARGE if the header is too long or has too
            many elements; CORRUPT.
    """
    source = _Counted(data)
    if data[_MAGIC_AT : _MAGIC_AT + 4] == _MAGIC:
        source.seek(_MAGIC_AT + 4)
    begin = source.tell()
    with _bounded(source):
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
    head = _Counted(body[: at + MAX_HEADER_BYTES] if len(body) - at > MAX_HEADER_BYTES else body)
    head.seek(at)
    reader = _HeaderReader(head, cut)
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    tags: list[BaseTag | int] = [*(Tag(keyword) for keyword in keywords), *_OVERLAY_BIT_POSITIONS]
    with _bounded(head):
        elements = read_dataset(head, implicit, little, stop_when=reader.stop, specific_tags=tags)
    for keyword in keywords:
        if keyword in elements and dictionary_VR(keyword) == "SQ":
            _read_items(elements, keyword, implicit, little)
    if reader.pixels is None and cut:
        raise _header_too_large()
    positions = [elements.pop(tag) for tag in _OVERLAY_BIT_POSITIONS if tag in elements]
    in_pixels = any(bytes(one.value or b"").strip(b"\0") for one in positions if isinstance(one, RawDataElement))
    return DicomFile(meta, elements, syntax, reader.pixels, body, in_pixels)


def encapsulated_frame(file: DicomFile) -> bytes:
    """Joins the fragments of the compressed frame of a single-frame image (PS3.5 A.4).

    Raises:
        DecodeError: TRUNCATED if a fragment ends beyond the file; CORRUPT if the value is not a sequence of fragments;
            MULTI_FRAME if several fragments begin a picture, whatever NumberOfFrames says.
    """
    assert file.pixels is not None
    at = file.pixels.at
    fragments: list[bytes] = []
    while file.body[at : at + 4] == _ITEM:
        start = at + 8
        at = start + int.from_bytes(file.body[at + 4 : start], "little")
        if at > len(file.body):
            raise DecodeError(Reason.TRUNCATED, "the file ends inside a fragment of its pixel data")
        if len(fragments) > MAX_FRAGMENTS:
            raise DecodeError(Reason.TOO_LARGE, f"expected at most {MAX_FRAGMENTS} fragments of pixel data")
        fragments.append(file.body[start:at])
    complete = file.body[at : at + 4] == _SEQUENCE_END or (at == len(file.body) and len(fragments) > 1)
    if not complete and at + 4 > len(file.body):
        raise DecodeError(Reason.TRUNCATED, "the file ends inside its pixel data")
    if not complete or not fragments:
        raise DecodeError(Reason.CORRUPT, "compressed pixel data are no sequence of fragments")
    if len(fragments) == 1:
        raise DecodeError(Reason.NO_PIXELS, "compressed pixel data without a fragment")
    streams = sum(fragment.startswith(_STREAMS) for fragment in fragments[1:])
    if streams > 1 or (file.transfer_syntax == RLELossless and len(fragments) > 2):
        raise DecodeError(
            Reason.MULTI_FRAME, f"expected one frame, got {max(streams, len(fragments) - 1)} in PixelData"
        )
    return b"".join(fragments[1:])  # the first item is the offset table


def native_frame(file: DicomFile, data: bytes, keywords: tuple[str, ...], expected: int, limits: DecodeLimits) -> bytes:
    """Returns the `expected` bytes of an uncompressed frame; padding after them is ignored.

    Raises:
        DecodeError: TRUNCATED if the file or the element holds fewer bytes; MULTI_FRAME if it holds twice as many.
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
    if length >= 2 * expected:
        raise DecodeError(
            Reason.MULTI_FRAME,
            f"expected one frame of {expected} bytes, got PixelData of {length}: {length // expected}",
        )
    frame = body[at : at + min(length, expected)]
    if len(frame) < expected:
        raise DecodeError(Reason.TRUNCATED, f"expected {expected} bytes of pixels, got {len(frame)}")
    return frame


def _read_items(elements: Dataset, keyword: str, implicit: bool, little: bool) -> None:
    """Replaces a sequence by its parsed items, because pydicom would read them later, without a limit."""
    raw = elements.get_item(keyword)
    if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes):
        source = _Counted(raw.value)
        with _bounded(source):
            items = read_sequence(source, implicit, little, len(raw.value), "iso8859")
        elements[raw.tag] = DataElement(raw.tag, "SQ", items)


class _Counted(BytesIO):
    """A header that pydicom reads; it counts reads, of which every element, nested or not, needs at least one."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.left = MAX_ELEMENTS

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise _header_too_large()
        return super().read(size)


@contextmanager
def _bounded(source: _Counted) -> Iterator[None]:
    """Wraps pydicom's reading of a header, and turns its errors for too much data into ours."""
    try:
        with decoder_guard("read the DICOM header"):
            yield
    except DecodeError:
        if source.left < 0:
            raise _header_too_large() from None
        raise


class _HeaderReader:
    """pydicom's `stop_when` callback: checks every element's length, and stops at the pixel data."""

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
    """Returns the encoding of a data set that states none: explicit if its first element carries a VR."""
    if first[4:6] not in _VRS:
        return ImplicitVRLittleEndian
    return ExplicitVRBigEndian if first[0] == 0 and first[1] != 0 else ExplicitVRLittleEndian
