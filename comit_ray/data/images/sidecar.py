"""Reads the DICOM JSON beside a PNG of stored values: the elements that say what the values mean.

PS3.18 F.2: an object of `ggggeeee` tags, each `{"vr": ..., "Value": [...]}`, where `Value` may be absent. Only the
elements named here are read; none is the name, birth date or number of a patient. A value whose form does not fit its
element is refused, because half a description would leave the other half to a guess.
"""

import base64
import binascii
import json
import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from comit_ray.data.images import dicom_display
from comit_ray.data.images.dicom_display import text
from comit_ray.errors import DecodeError, Reason

MAX_BYTES = 2**20
"""Most bytes. A sidecar of BIMCV has some 10 kB, one with a look-up table of 65,536 entries half a megabyte."""
MAX_VALUES = 64
"""Most values of one element; PatientOrientation has two, a window rarely more than ten."""
MAX_ENTRIES = 2**16
"""Most entries of a look-up table (PS3.3 C.11.1.1)."""

_TEXTS = (
    "StudyDate", "Modality", "Manufacturer", "ManufacturerModelName", "SeriesDescription", "PatientSex", "PatientAge",
    "PatientOrientation", "PhotometricInterpretation", "VOILUTFunction", "PresentationLUTShape",
    "PresentationIntentType",
)  # fmt: skip
_INTEGERS = ("BitsStored", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit")
_DECIMALS = ("RescaleSlope", "RescaleIntercept")
_WINDOWS = ("WindowCenter", "WindowWidth")
_Number = TypeVar("_Number", int, float)
_LOOK_UP_TABLES = ("ModalityLUTSequence", "VOILUTSequence")


def read_sidecar(data: bytes) -> Dataset:
    """Returns the elements of a sidecar, as a DICOM file's header would have them; a blank element counts as absent.

    Bytes that are not UTF-8 count as unknown letters: no element that decides anything has them.

    Raises:
        DecodeError: BAD_SIDECAR if it is longer than 1 MiB, not DICOM JSON, or an element does not have its form.
    """
    if len(data) > MAX_BYTES:
        raise _bad(f"of at most {MAX_BYTES} bytes, got {len(data)}")
    tags = _parse(data)
    elements = Dataset()
    for keyword in _TEXTS:
        _add(elements, keyword, [_text(keyword, value) for value in _values(tags, keyword)])
    for keyword in _INTEGERS:
        _add(elements, keyword, _numbers(tags, keyword, _integer, at_most=1))
    for keyword in _DECIMALS:
        _add(elements, keyword, _numbers(tags, keyword, _decimal, at_most=1))
    for keyword in _WINDOWS:
        _add(elements, keyword, _numbers(tags, keyword, _decimal))
    for keyword in _LOOK_UP_TABLES:
        items = _values(tags, keyword)
        if items:
            elements.add(DataElement(keyword, "SQ", Sequence([_look_up_table(keyword, items[0])])))
    return elements


def photometric_of(elements: Dataset) -> str:
    """Returns MONOCHROME1, MONOCHROME2, or the interpretation of a colour picture.

    Raises:
        DecodeError: BAD_SIDECAR if it is absent, since whether black is white would be a guess.
    """
    stated = text(elements, "PhotometricInterpretation").upper()
    if not stated:
        raise _bad("with a PhotometricInterpretation, got none")
    return stated


def check_shown(elements: Dataset | None) -> None:
    """Refuses a picture of display values (colour, JPEG) whose sidecar says MONOCHROME1, or states nothing.

    Some converters invert MONOCHROME1 when they make such a picture, some do not, and none says so.

    Raises:
        DecodeError: BAD_SIDECAR.
    """
    if elements is not None and photometric_of(elements) == "MONOCHROME1":
        raise _bad("of another photometric interpretation, got MONOCHROME1 for a picture that is no stored values")


def as_stored(png_HW: NDArray[np.uint8] | NDArray[np.uint16], elements: Dataset) -> NDArray[np.generic]:
    """Returns the values of a grey PNG as the DICOM file held them: signed if PixelRepresentation says so.

    A PNG has no sign, so it holds a signed value as its bit pattern, with or without the sign spread over the bits
    above BitsStored. (None of the 3,178 radiographs of BIMCV-COVID19+, iteration 1, is signed.)

    Args:
        png_HW: uint8 or uint16, by the PNG's depth.
        elements: elements of its sidecar.

    Returns:
        The same integers, or signed ones of the same size.

    Raises:
        DecodeError: BAD_SIDECAR if values need other bits than BitsStored states: somebody has scaled them, and the
            sidecar's windows and tables no longer fit.
    """
    depth = 8 * png_HW.dtype.itemsize
    bits = int(elements.get("BitsStored", depth))
    if not 1 <= bits <= depth:
        raise _bad(f"of an image of at most the PNG's {depth} bits, got BitsStored {bits}")
    signed = int(elements.get("PixelRepresentation", 0)) == 1
    patterns = np.flatnonzero(dicom_display.count_values(png_HW))
    above = patterns >> bits  # the bits above BitsStored: all 0, or all equal to the sign bit
    spread = signed & (patterns >> (bits - 1) & 1 == 1) & (above == 2 ** (depth - bits) - 1)
    if not ((above == 0) | spread).all():
        raise _bad(f"of an image of {bits} bits, got a PNG with values such as {patterns[-1]}")
    if not signed:
        return png_HW
    spare = depth - bits
    signed_HW = (png_HW << spare).view(f"i{depth // 8}")
    signed_HW >>= spare
    return cast(NDArray[np.generic], signed_HW)


def _bad(what: str) -> DecodeError:
    return DecodeError(Reason.BAD_SIDECAR, f"expected a sidecar {what}")


def _malformed(keyword: str) -> DecodeError:
    return _bad(f"in the DICOM JSON model, got {keyword} in another form")


def _parse(data: bytes) -> dict[str, Any]:
    """Returns tag -> element, with the tags in upper case, as F.2.2 writes them."""
    try:
        parsed = json.loads(data.decode("utf-8-sig", errors="replace"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _bad(f"in the DICOM JSON model, got what is no JSON: {type(error).__name__}") from None
    if not isinstance(parsed, dict):
        raise _bad("in the DICOM JSON model, got no object")
    return {tag.upper(): element for tag, element in parsed.items()}


def _no_constant(name: str) -> float:
    raise ValueError(name)  # NaN and Infinity are no JSON (RFC 8259)


def _element(tags: dict[str, Any], keyword: str) -> dict[str, Any]:
    element = tags.get(f"{tag_for_keyword(keyword):08X}", {})
    if not isinstance(element, dict):
        raise _malformed(keyword)
    return element


def _values(tags: dict[str, Any], keyword: str, at_most: int = MAX_VALUES) -> list[Any]:
    """Returns the element's values, empty ones as ""; none if all are empty, or the element or `Value` is absent."""
    values = _element(tags, keyword).get("Value", [])
    if not isinstance(values, list) or len(values) > at_most:
        raise _malformed(keyword)
    filled = ["" if value is None else value for value in values]
    return filled if any(value != "" for value in filled) else []


def _numbers(
    tags: dict[str, Any], keyword: str, number: Callable[[str, object], _Number], at_most: int = MAX_VALUES
) -> list[_Number]:
    return [number(keyword, value) for value in _values(tags, keyword, at_most) if value != ""]


def _add(elements: Dataset, keyword: str, values: list[Any]) -> None:
    if values:
        vr = dictionary_VR(keyword).partition(" or ")[0]
        value = values[0] if len(values) == 1 else values
        elements.add(DataElement(keyword, vr, value, already_converted=True))


def _text(keyword: str, value: object) -> str:
    if not isinstance(value, str | int | float):
        raise _malformed(keyword)
    return str(value)


def _decimal(keyword: str, value: object) -> float:
    """Returns a finite number; DS and IS may also be strings (F.2.3.1)."""
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _malformed(keyword)
    return number


def _integer(keyword: str, value: object) -> int:
    number = _decimal(keyword, value)
    if not number.is_integer() or abs(number) > 2**32:
        raise _malformed(keyword)
    return int(number)


def _look_up_table(keyword: str, item: object) -> Dataset:
    """Reads the first item of a sequence of look-up tables: LUTDescriptor (entries, first value, bits) and LUTData."""
    if not isinstance(item, dict):
        raise _malformed(keyword)
    tags = {str(tag).upper(): element for tag, element in item.items()}
    descriptor = _numbers(tags, "LUTDescriptor", _integer)
    entries = _numbers(tags, "LUTData", _integer, MAX_ENTRIES) or _inline(keyword, tags)
    if len(descriptor) != 3 or len(entries) != (descriptor[0] or MAX_ENTRIES):
        raise _malformed(keyword)
    if not all(0 <= entry < MAX_ENTRIES for entry in entries):
        raise _malformed(keyword)
    table = Dataset()
    table.add(DataElement("LUTDescriptor", "US", descriptor, already_converted=True))
    table.add(DataElement("LUTData", "US", entries, already_converted=True))
    return table


def _inline(keyword: str, tags: dict[str, Any]) -> list[int]:
    """Reads LUTData of the type OW: little-endian words in base64 (F.2.7)."""
    encoded = _element(tags, "LUTData").get("InlineBinary", "")
    try:
        words = base64.b64decode(encoded, validate=True)
        return [int(word) for word in np.frombuffer(words, "<u2", count=len(words) // 2)]
    except (TypeError, ValueError, binascii.Error):
        raise _malformed(keyword) from None
