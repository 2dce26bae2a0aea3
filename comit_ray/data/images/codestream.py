"""Reads the header of a JPEG, JPEG-LS or JPEG 2000 stream without decompressing it.

Decoders allocate what the stream claims, whatever the DICOM header around it says, and several fill missing parts with
grey. So the sizes and the end of the stream are checked first.

The module also converts RGB that is really grey to grey; a coloured picture is not a radiograph and is refused.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from comit_ray.errors import DecodeError, Reason

MAX_SCANS = 200
"""Most scans of one JPEG. A progressive file has about ten; each costs a pass over the whole image."""
MAX_SEGMENTS = 100_000
"""Most segments or tile-parts of one stream; real ones have tens, those of JPEG 2000 about a thousand."""

# In entropy-coded data a stuffed byte below 0x80 or a restart marker follows 0xFF (T.81 B.1.1.5, T.87 C).
_MARKER = re.compile(rb"\xff[^\x00-\x7f\xd0-\xd7\xff]")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # SOF0..15 and JPEG-LS SOF55
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_EOI, _SOS = 0xD9, 0xDA
_FILL = re.compile(rb"\xff+")
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"


@dataclass(frozen=True)
class Codestream:
    """The frame header of a compressed image.

    Attributes:
        height: height in pixels.
        width: width in pixels.
        components: samples per pixel.
        precision: bits per sample.
        coding: `JPEG`, `lossless JPEG`, `JPEG-LS` or `JPEG 2000`.
        signed: whether the stream declares signed samples; JPEG never does.
    """

    height: int
    width: int
    components: int
    precision: int
    coding: str
    signed: bool = False


def inspect(stream: bytes) -> Codestream:
    """Reads the frame header of a complete JPEG, JPEG-LS or JPEG 2000 stream; bytes after its end are ignored.

    Raises:
        DecodeError: TRUNCATED if the stream has no end marker, CORRUPT if it is another kind of stream.
    """
    if stream[:2] == b"\xff\xd8":
        return _inspect_jpeg(stream)
    start = 0
    if stream[:12] == _JP2_SIGNATURE:
        start = stream.find(b"\xff\x4f\xff\x51")
        if start < 0:
            raise DecodeError(Reason.CORRUPT, "a JP2 file without a JPEG 2000 codestream")
    if stream[start : start + 4] == b"\xff\x4f\xff\x51":
        return _inspect_jpeg_2000(stream, start)
    raise DecodeError(Reason.CORRUPT, "compressed pixel data do not begin as JPEG, JPEG-LS or JPEG 2000")


def _inspect_jpeg(stream: bytes) -> Codestream:
    frame: Codestream | None = None
    scans = 0
    at, segments = 2, 0
    while at + 1 < len(stream):
        segments = _counted(segments)
        if stream[at] != 0xFF:
            raise DecodeError(Reason.CORRUPT, "a JPEG segment does not begin with a marker")
        marker = stream[at + 1]
        if marker == 0xFF:  # a fill byte
            at = _end_of_fill(stream, at)
            continue
        if marker == _EOI:
            if frame is None or not scans:
                raise DecodeError(Reason.CORRUPT, "a JPEG without a frame and a scan")
            return frame
        at += 2
        if marker in _STANDALONE:
            continue
        body, at = at + 2, at + int.from_bytes(stream[at : at + 2])
        if body > len(stream):
            break
        if at < body:
            raise DecodeError(Reason.CORRUPT, "a JPEG segment of impossible length")
        if at > len(stream):
            break
        if marker in _FRAMES:
            if frame is not None:
                raise DecodeError(Reason.CORRUPT, "a JPEG with two frames")
            precision, height, width, components = struct.unpack_from(">BHHB", stream, body)
            frame = Codestream(height, width, components, precision, _coding(marker))
        elif marker == _SOS:
            scans += 1
            if scans > MAX_SCANS:
                raise DecodeError(Reason.CORRUPT, f"a JPEG of more than {MAX_SCANS} scans")
            following = _MARKER.search(stream, at)
            if following is None:
                break
            at = following.start()
    raise DecodeError(Reason.TRUNCATED, "the JPEG ends before its end marker")


def _inspect_jpeg_2000(stream: bytes, start: int) -> Codestream:
    truncated = DecodeError(Reason.TRUNCATED, "the JPEG 2000 codestream ends before its end marker")
    if len(stream) < start + 43:
        raise truncated
    right, bottom, left, top = struct.unpack_from(">4I", stream, start + 8)
    (components,) = struct.unpack_from(">H", stream, start + 40)
    frame = Codestream(
        bottom - top, right - left, components, (stream[start + 42] & 0x7F) + 1, "JPEG 2000", stream[start + 42] > 0x7F
    )
    at, segments = start + 2, 0
    while at + 2 <= len(stream):
        segments = _counted(segments)
        marker = stream[at : at + 2]
        if marker == b"\xff\xd9":
            return frame
        if marker == b"\xff\x90":  # SOT: a tile-part states its own length; 0 means "up to the end"
            if at + 10 > len(stream):
                break
            length = int.from_bytes(stream[at + 6 : at + 10])
            if length == 0:
                if stream.rstrip(b"\x00")[-2:] == b"\xff\xd9":
                    return frame
                raise truncated
            if length < 14:
                raise DecodeError(Reason.CORRUPT, "a JPEG 2000 tile-part of impossible length")
            at += length
        elif at + 4 > len(stream):
            break
        elif marker[0] == 0xFF:
            at += 2 + max(2, int.from_bytes(stream[at + 2 : at + 4]))
        else:
            raise DecodeError(Reason.CORRUPT, "a JPEG 2000 segment does not begin with a marker")
    raise truncated


def _coding(marker: int) -> str:
    """Returns the coding of a frame marker. T.81 table B.1: 3, 7, 11 and 15 are lossless; T.87 defines JPEG-LS."""
    return "JPEG-LS" if marker == 0xF7 else "lossless JPEG" if marker & 3 == 3 else "JPEG"


def _end_of_fill(stream: bytes, at: int) -> int:
    """Returns the position of the last of the fill bytes that begin at `at`, which begins the marker."""
    found = _FILL.match(stream, at)
    assert found is not None, at
    return found.end() - 1


def _counted(segments: int) -> int:
    if segments >= MAX_SEGMENTS:
        raise DecodeError(Reason.TOO_LARGE, f"expected at most {MAX_SEGMENTS} segments in the compressed pixels")
    return segments + 1


CHANNEL_SPREAD = 16
"""Grey levels of 256 by which red, green and blue of a grey pixel may differ: ten times the rounding of JPEG's colour
conversion, and above the chroma noise of scanned films."""
COLOURED_SHARE = 0.01
"""Share of pixels that may exceed `CHANNEL_SPREAD`: coloured side markers and annotations, not a coloured picture."""


BAND_PIXELS = 2**21
"""Pixels processed together: 64 million pixels in one piece would take a gigabyte more."""


def to_grey(rgb_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns the luma (ITU-R BT.601) of a grey picture stored as RGB, uint8 (height, width).

    Raises:
        DecodeError: NOT_GRAYSCALE if more than 1% of the pixels are coloured.
    """
    height, width, _ = rgb_HWC.shape
    return grey_bands((rgb_HWC[rows] for rows in bands(height, width)), height, width)


def bands(height: int, width: int) -> Iterator[slice]:
    """Yields slices of rows with about `BAND_PIXELS` pixels each, from the top."""
    step = max(1, BAND_PIXELS // max(1, width))
    return (slice(top, min(top + step, height)) for top in range(0, height, step))


def grey_bands(rgb: Iterable[NDArray[np.uint8]], height: int, width: int) -> NDArray[np.uint8]:
    """Does the same as `to_grey`, from the `bands` of a picture, (rows, width, 3) each."""
    grey_HW, coloured = np.empty((height, width), np.uint8), 0
    for rows, rgb_HWC in zip(bands(height, width), rgb, strict=True):
        spread_HW = rgb_HWC.max(axis=2) - rgb_HWC.min(axis=2)
        coloured += int(np.count_nonzero(spread_HW > CHANNEL_SPREAD))
        grey_HW[rows] = np.asarray(Image.fromarray(rgb_HWC).convert("L"))
    share = coloured / grey_HW.size
    if share > COLOURED_SHARE:
        raise DecodeError(Reason.NOT_GRAYSCALE, f"expected a grey picture, got {share:.0%} coloured pixels")
    return grey_HW
