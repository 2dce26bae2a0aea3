"""Decodes DICOM pixel data into stored values, with one named decoder for each transfer syntax.

pydicom would try every installed decoder in turn. Here each syntax has its own, so that pixels are the same on every
machine and no other decoder's guess hides a failure. All decoders are permissively licensed.
"""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images import dicom_display
from comit_ray.data.images.codestream import inspect, to_grey
from comit_ray.data.images.dicom_display import shown, stated, to_number
from comit_ray.data.images.dicom_file import DicomFile, encapsulated_frame, native_frame
from comit_ray.data.images.jpeg2000_reduced import decode_reduced
from comit_ray.data.images.radiograph import check_size, decoder_guard
from comit_ray.errors import DecodeError, Reason

_NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)
_DECODERS = {
    uid.RLELossless: "pydicom",
    uid.JPEGBaseline8Bit: "pillow",
    uid.JPEGExtended12Bit: "pillow",  # 8 bits; 12 bits need the extra gpl-decoders
    uid.JPEGLossless: "gdcm",
    uid.JPEGLosslessSV1: "gdcm",
    uid.JPEGLSLossless: "pyjpegls",
    uid.JPEGLSNearLossless: "pyjpegls",
    uid.JPEG2000Lossless: "pylibjpeg",
    uid.JPEG2000: "pylibjpeg",
    uid.HTJ2KLossless: "pylibjpeg",
    uid.HTJ2KLosslessRPCL: "pylibjpeg",
    uid.HTJ2K: "pylibjpeg",
}
_CODINGS = {
    uid.JPEGBaseline8Bit: "JPEG",
    uid.JPEGExtended12Bit: "JPEG",
    uid.JPEGLossless: "lossless JPEG",
    uid.JPEGLosslessSV1: "lossless JPEG",
    uid.JPEGLSLossless: "JPEG-LS",
    uid.JPEGLSNearLossless: "JPEG-LS",
}
"""Required coding of a stream; all other syntaxes need JPEG 2000."""
_RLE_HEADER = 64
_RLE_EXPANSION = 64
"""Most bytes per byte of RLE: a pair repeats one byte up to 128 times (PS3.5 G.3)."""


@dataclass(frozen=True)
class Geometry:
    """Pixel format of a single-frame image, checked against the limits."""

    height: int
    width: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    planar: int
    photometric: str

    @property
    def frame_bytes(self) -> int:
        """Bytes of the uncompressed frame."""
        pixel_bytes = self.samples * self.bits_allocated // 8
        if self.photometric == "YBR_FULL_422":
            pixel_bytes = 2 * self.bits_allocated // 8
        return self.height * self.width * pixel_bytes


def geometry_of(elements: Dataset, limits: DecodeLimits) -> Geometry:
    """Returns the pixel format that the header states.

    Raises:
        DecodeError: BAD_GEOMETRY, TOO_LARGE, TOO_SMALL or NOT_GRAYSCALE.
    """
    geometry = Geometry(
        height=_integer(elements, "Rows"),
        width=_integer(elements, "Columns"),
        samples=_integer(elements, "SamplesPerPixel", 1),
        bits_allocated=_integer(elements, "BitsAllocated"),
        bits_stored=_integer(elements, "BitsStored"),
        signed=_integer(elements, "PixelRepresentation", 0) == 1,
        planar=_integer(elements, "PlanarConfiguration", 0),
        photometric=str(elements.get("PhotometricInterpretation") or "").strip().upper(),
    )
    height, width, bits = geometry.height, geometry.width, geometry.bits_stored
    check_size(height, width, geometry.samples * -(-geometry.bits_allocated // 8), limits)
    if geometry.bits_allocated not in (8, 16) or not 1 <= bits <= geometry.bits_allocated:
        raise DecodeError(
            Reason.BAD_GEOMETRY, f"expected 8 or 16 bits a pixel, got {bits} stored in {geometry.bits_allocated}"
        )
    if _integer(elements, "HighBit", bits - 1) != bits - 1:
        raise DecodeError(Reason.BAD_GEOMETRY, f"expected HighBit {bits - 1} for {bits} bits stored (PS3.5 8.1.1)")
    grey = geometry.photometric in ("MONOCHROME1", "MONOCHROME2")
    if not geometry.photometric or (geometry.samples == 1) != (grey or geometry.photometric == "PALETTE COLOR"):
        raise DecodeError(Reason.BAD_GEOMETRY, "PhotometricInterpretation is absent or contradicts SamplesPerPixel")
    if geometry.photometric == "PALETTE COLOR" or geometry.samples not in (1, 3):
        raise DecodeError(Reason.NOT_GRAYSCALE, "expected MONOCHROME1 or MONOCHROME2, got a palette or 4 samples")
    return geometry


def decode_stored(
    file: DicomFile, data: bytes, keywords: tuple[str, ...], geometry: Geometry, limits: DecodeLimits
) -> tuple[NDArray[np.generic], tuple[str, ...]]:
    """Returns stored values (height, width), integers of at most 16 bits, and the steps applied to them, if any.

    With `limits.reduce` JPEG 2000 may be smaller (`comit_ray.data.images.jpeg2000_reduced`).

    Args:
        file: the opened file.
        data: bytes of the file, to inflate a deflated file further.
        keywords: keywords that `file` was opened with.
        geometry: checked geometry of `file`.
        limits: limits for the image.

    Raises:
        DecodeError: UNSUPPORTED_TRANSFER_SYNTAX, TRUNCATED, CORRUPT, BAD_GEOMETRY, NOT_GRAYSCALE, TOO_LARGE.
    """
    syntax = file.transfer_syntax
    plugin, source, precision = "", b"", geometry.bits_stored
    if syntax in _NATIVE:
        source = native_frame(file, data, keywords, geometry.frame_bytes, limits)
        if syntax == uid.DeflatedExplicitVRLittleEndian:
            syntax = uid.ExplicitVRLittleEndian
    elif syntax in _DECODERS:
        frame = encapsulated_frame(file)
        plugin, precision = _check_frame(frame, syntax, geometry, limits)
        if limits.reduce and syntax in (uid.JPEG2000, uid.JPEG2000Lossless):
            with decoder_guard(f"decompress the pixels ({syntax.name})"):
                reduced_HW = decode_reduced(frame, inspect(frame), geometry.bits_stored, geometry.signed)
            if reduced_HW is not None:
                return reduced_HW, ("reduced",)
        source = encapsulate([frame], has_bot=False)
    else:
        raise _unsupported(syntax.name if syntax.is_transfer_syntax else "an unknown one")
    if (syntax in _NATIVE or syntax == uid.RLELossless) and geometry.samples == 1 and not file.overlay_bits:
        precision = geometry.bits_allocated
    assert file.pixels is not None
    options: dict[str, Any] = {
        "rows": geometry.height,
        "columns": geometry.width,
        "samples_per_pixel": geometry.samples,
        "photometric_interpretation": geometry.photometric,
        "planar_configuration": geometry.planar,
        "bits_allocated": geometry.bits_allocated,
        "bits_stored": precision,
        "pixel_representation": int(geometry.signed and precision == geometry.bits_stored),
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
        "pixel_vr": file.pixels.vr,
    }
    with decoder_guard(f"decompress the pixels ({syntax.name})"):
        decoded, _ = get_decoder(syntax).as_array(source, index=0, decoding_plugin=plugin, **options)
    expected = (geometry.height, geometry.width) if geometry.samples == 1 else (geometry.height, geometry.width, 3)
    if decoded.shape != expected or decoded.dtype.kind not in "iu" or decoded.dtype.itemsize > 2:
        raise DecodeError(Reason.BAD_GEOMETRY, "the decoder gave other pixels than the header describes")
    if geometry.samples == 1:
        return _as_stated(decoded, geometry) if precision > geometry.bits_stored else decoded, ()
    if decoded.dtype != np.uint8:
        raise DecodeError(Reason.NOT_GRAYSCALE, "expected grey pixels, got colour of more than 8 bits")
    return to_grey(decoded), ("colour_to_grey",)


def _as_stated(patterns_HW: NDArray[np.generic], geometry: Geometry) -> NDArray[np.generic]:
    """Cuts unsigned values of all bits of the stream or the pixel to the bits that the header states.

    Some writers state 16 bits in the stream for a picture of 12; others have 12 there and 10 in the header. So the
    values decide: values that need more bits than stated would wrap if they were cut, and are refused. An overlay in
    unused bits (retired, but present in old archives) is named by the header, and is cut off.

    Raises:
        DecodeError: BAD_GEOMETRY if values need more bits than stated.
    """
    bits, depth = geometry.bits_stored, 8 * patterns_HW.dtype.itemsize
    patterns = np.flatnonzero(dicom_display.count_values(patterns_HW))
    above = patterns >> bits  # all 0, or all equal to the sign bit
    spread = geometry.signed & (patterns >> (bits - 1) & 1 == 1) & (above == 2 ** (depth - bits) - 1)
    if not ((above == 0) | spread).all():
        raise DecodeError(Reason.BAD_GEOMETRY, f"the header says BitsStored {bits}, its pixels go up to {patterns[-1]}")
    if not geometry.signed:
        return patterns_HW
    unsigned_HW = patterns_HW.astype(f"u{depth // 8}", copy=False)
    signed_HW = (unsigned_HW << (depth - bits)).view(f"i{depth // 8}")
    return cast(NDArray[np.generic], signed_HW >> (depth - bits))


def _check_frame(frame: bytes, syntax: uid.UID, geometry: Geometry, limits: DecodeLimits) -> tuple[str, int]:
    """Returns the decoder for a compressed frame, after comparing what it would allocate with what the header allows.

    Also returns the bits per sample to decode: more than the header states if the decoder would cut values.
    """
    if syntax == uid.RLELossless:
        _check_rle(frame, geometry, limits)
        return _DECODERS[syntax], geometry.bits_stored
    stream = inspect(frame)
    coding = _CODINGS.get(syntax, "JPEG 2000")
    if stream.coding != coding:
        raise DecodeError(Reason.CORRUPT, f"the header says {syntax.name}, its compressed pixels are {stream.coding}")
    if stream.signed and not geometry.signed:
        raise DecodeError(
            Reason.BAD_GEOMETRY, "the header says PixelRepresentation 0 (unsigned), its compressed pixels are signed"
        )
    if (stream.height, stream.width, stream.components) != (geometry.height, geometry.width, geometry.samples):
        raise DecodeError(
            Reason.BAD_GEOMETRY,
            f"the header says {geometry.height} x {geometry.width} x {geometry.samples}, "
            f"its compressed pixels {stream.height} x {stream.width} x {stream.components}",
        )
    if stream.precision > 8 * -(-geometry.bits_allocated // 8):
        raise DecodeError(
            Reason.BAD_GEOMETRY,
            f"the header says BitsAllocated {geometry.bits_allocated}, its compressed pixels {stream.precision} bits",
        )
    plugin = _DECODERS[syntax]
    if syntax == uid.JPEGExtended12Bit and stream.precision != 8:
        plugin = "pylibjpeg"
    if plugin not in get_decoder(syntax).available_plugins:
        raise _unsupported(f"{syntax.name} of {stream.precision} bits, for which no decoder is installed")
    cuts = plugin == "gdcm" and geometry.samples == 1 and stream.precision > geometry.bits_stored
    return plugin, stream.precision if cuts else geometry.bits_stored


def _check_rle(frame: bytes, geometry: Geometry, limits: DecodeLimits) -> None:
    """Adds up the expanded size of a long RLE frame; a short one cannot exceed the limit (PS3.5 G.3)."""
    if len(frame) > 2 * geometry.frame_bytes + _RLE_HEADER:
        raise DecodeError(Reason.CORRUPT, "RLE of more than twice the bytes of its picture")
    if len(frame) * _RLE_EXPANSION <= limits.max_decoded_bytes:
        return
    at, total = _RLE_HEADER, 0
    while at < len(frame):
        control = frame[at]
        total += control + 1 if control < 128 else 257 - control if control > 128 else 0
        at += control + 2 if control < 128 else 2 if control > 128 else 1
        if total > limits.max_decoded_bytes:
            raise DecodeError(Reason.TOO_LARGE, f"RLE of more than {limits.max_decoded_bytes} bytes decoded")


def _unsupported(what: str) -> DecodeError:
    return DecodeError(
        Reason.UNSUPPORTED_TRANSFER_SYNTAX,
        f"expected an uncompressed, deflated, RLE, JPEG, JPEG-LS or JPEG 2000 image, got {what}",
    )


def _integer(elements: Dataset, keyword: str, default: int | None = None) -> int:
    values = [value for value in stated(elements, keyword) if value]
    if not values:
        if default is None:
            raise DecodeError(Reason.BAD_GEOMETRY, f"{keyword} is absent")
        return default
    number = to_number(values[0])
    if len(values) > 1 or number is None or not number.is_integer():
        raise DecodeError(
            Reason.BAD_GEOMETRY, f"expected one whole number in {keyword}, got {shown(', '.join(values))}"
        )
    return int(number)
