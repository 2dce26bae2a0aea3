"""DICOM bytes -> header facts, and -> display pixels.

The header is read first: it excludes what is no frontal chest radiograph, and bounds what the pixels may cost, before
anything is decompressed. The grayscale pipeline (PS3.3 C.11, PS3.4 N.2): padding is set aside, then Modality
LUT or rescale, then VOI LUT or the first window (else percentiles), then MONOCHROME1 is inverted, once.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi
from pydicom.uid import MediaStorageDirectoryStorage

from comit_ray.config import DecodeLimits
from comit_ray.data import grayscale, views
from comit_ray.data.dicom_file import DicomFile, looks_like_dicom, open_dicom
from comit_ray.data.dicom_pixels import decode_stored, geometry_of
from comit_ray.data.edge import library_edge
from comit_ray.data.limits import check_bytes
from comit_ray.data.radiograph import Radiograph
from comit_ray.errors import DecodeError, Reason
from comit_ray.schema import View

MAX_AGE = 120.0
"""Years; an age above it is a slip of the keyboard, and unknown."""

_FACTS = (
    "PatientID", "StudyInstanceUID", "PatientSex", "PatientAge", "Manufacturer", "ManufacturerModelName",
    "AcquisitionDate", "StudyDate", "Modality", "BodyPartExamined", "AnatomicRegionSequence", "SeriesDescription",
    "ProtocolName", "StudyDescription", "ViewPosition", "ViewCodeSequence", "PatientOrientation", "NumberOfFrames",
)  # fmt: skip
_PIXEL_FACTS = (
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept", "VOILUTSequence", "WindowCenter", "WindowWidth",
    "VOILUTFunction",
)  # fmt: skip
_KEYWORDS = _FACTS + _PIXEL_FACTS
_YEARS_PER = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


@dataclass(frozen=True)
class DicomHeader:
    """What a DICOM header says of a radiograph.

    Attributes:
        patient_id: raw: the caller hashes it; it never enters a table or a log.
        study_uid: raw, as `patient_id`.
        sex: M, F or None.
        age: years, from PatientAge alone; None if absent, malformed or above 120.
        device: manufacturer and model.
        acquired_on: AcquisitionDate, else StudyDate.
        view: as far as the header tells.
        view_source: the tag that tells it, or "none".
        exclusion: why this is no frontal chest radiograph, else None.
    """

    patient_id: str | None
    study_uid: str | None
    sex: str | None
    age: float | None
    device: str | None
    acquired_on: date | None
    view: View
    view_source: str
    exclusion: DecodeError | None


def read_header(data: bytes, limits: DecodeLimits) -> DicomHeader:
    """Header facts, without touching the pixels; `data` may end anywhere after the pixel data's tag.

    Raises:
        DecodeError: if this is no readable DICOM file, or one that should hold an image and holds none.
    """
    with library_edge():
        _, header = _open(data, limits)
        return header


def decode_dicom(data: bytes, limits: DecodeLimits) -> Radiograph:
    """Display pixels of a DICOM radiograph.

    Raises:
        DecodeError: the header's exclusion, or why the pixels cannot be had.
    """
    with library_edge():
        file, header = _open(data, limits)
        if header.exclusion is not None:
            raise header.exclusion
        geometry = geometry_of(file.elements, limits)
        stored_HW, applied = decode_stored(file, data, _KEYWORDS, geometry, limits)
        pixels_HW = stored_HW.astype(np.uint8, copy=False)
        if geometry.samples == 1:  # RGB is display values already: it has neither window nor inversion
            pixels_HW, applied = _display(stored_HW, file.elements, geometry.photometric)
        return Radiograph(pixels_HW, geometry.height, geometry.width, header.view, header.view_source, applied)


def _open(data: bytes, limits: DecodeLimits) -> tuple[DicomFile, DicomHeader]:
    check_bytes(data, limits)
    if not looks_like_dicom(data):
        raise DecodeError(Reason.NOT_AN_IMAGE, "expected a DICOM file, got bytes that begin as none")
    file = open_dicom(data, _KEYWORDS)
    header = _facts(file)
    if file.pixels is None and (header.exclusion is None or not _text(file.elements, "Modality")):
        if file.meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return file, header
        if "Rows" in file.elements:
            raise DecodeError(Reason.TRUNCATED, "the file describes an image and ends before its pixels")
        raise DecodeError(Reason.NO_PIXELS, "the file holds no pixel data")
    return file, header


def _facts(file: DicomFile) -> DicomHeader:
    elements = file.elements
    position, series = _text(elements, "ViewPosition"), _text(elements, "SeriesDescription")
    view_code = _code_meaning(elements, "ViewCodeSequence")
    view, source = views.view_of(position, series, view_code, _texts(elements, "PatientOrientation"))
    device = " ".join(f"{_text(elements, 'Manufacturer')} {_text(elements, 'ManufacturerModelName')}".split())
    sex = _text(elements, "PatientSex").upper()
    return DicomHeader(
        patient_id=_text(elements, "PatientID") or None,
        study_uid=_text(elements, "StudyInstanceUID") or None,
        sex=sex if sex in ("M", "F") else None,
        age=_age(_text(elements, "PatientAge")),
        device=device or None,
        acquired_on=_day(_text(elements, "AcquisitionDate")) or _day(_text(elements, "StudyDate")),
        view=view,
        view_source=source,
        exclusion=_exclusion(elements) or views.not_frontal(view, source, position, series, view_code),
    )


def _exclusion(elements: Dataset) -> DecodeError | None:
    body_part = _text(elements, "BodyPartExamined")
    anatomy = _code_meaning(elements, "AnatomicRegionSequence")
    series = [anatomy, _text(elements, "SeriesDescription"), _text(elements, "ProtocolName")]
    study = _text(elements, "StudyDescription")
    modality = views.wrong_modality(_text(elements, "Modality"), body_part, [*series, study])
    if modality is not None:
        return modality
    frames = _text(elements, "NumberOfFrames")
    if frames.isdigit() and int(frames) > 1:
        return DecodeError(Reason.MULTI_FRAME, f"expected one frame, got {int(frames)}")
    return views.not_a_chest(body_part, series, study)


def _display(
    stored_HW: NDArray[np.generic], elements: Dataset, photometric: str
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """PS3.3 C.11 for every value a pixel can hold, then one look-up."""
    possible = grayscale.possible_values(stored_HW)
    counts = grayscale.count_values(stored_HW)
    applied: list[str] = []
    padding = _padding(elements, possible)
    counts[padding] = 0
    values = possible.astype(np.float64)
    if elements.get("ModalityLUTSequence"):
        values, applied = apply_modality_lut(possible, elements).astype(np.float64), ["modality_lut"]
    elif elements.get("RescaleSlope") is not None and elements.get("RescaleIntercept") is not None:
        slope, intercept = float(elements.RescaleSlope), float(elements.RescaleIntercept)
        if (slope, intercept) != (1, 0):
            values, applied = values * slope + intercept, ["rescale"]
    shown, step = _values_of_interest(values, counts, elements)
    applied.append(step)
    if photometric == "MONOCHROME1":
        shown = 1 - shown
        applied.append("monochrome1_inverted")
    table = grayscale.to_uint8(shown)
    if padding.any():
        table[padding] = 0
        applied.append("padding")
    return grayscale.look_up(stored_HW, table), tuple(applied)


def _values_of_interest(
    values: NDArray[np.float64], counts: NDArray[np.int64], elements: Dataset
) -> tuple[NDArray[np.float64], str]:
    """VOI LUT, else the first usable window, else percentiles; as 0 to 1."""
    if elements.get("VOILUTSequence"):
        shown = apply_voi(np.rint(values).astype(np.int64), elements, index=0).astype(np.float64)
        # LUTDescriptor's bits are often 16 for entries of 12: the entries themselves say how many they need.
        return shown / max(1, 2 ** int(shown.max()).bit_length() - 1), "voi_lut"
    centers, widths = _texts(elements, "WindowCenter"), _texts(elements, "WindowWidth")
    function = _text(elements, "VOILUTFunction").upper() or "LINEAR"
    narrowest = 1 if function == "LINEAR" else np.finfo(np.float64).tiny
    if centers and widths and float(widths[0]) >= narrowest:
        return grayscale.window(values, float(centers[0]), float(widths[0]), function), "window"
    return grayscale.spread(values, counts), "percentiles"


def _padding(elements: Dataset, possible: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which values are padding: PixelPaddingValue, up to PixelPaddingRangeLimit on either side (PS3.3 C.7.5.1.1.2)."""
    value = elements.get("PixelPaddingValue")
    if value is None:
        return np.zeros(possible.shape, np.bool_)
    limit = elements.get("PixelPaddingRangeLimit")
    ends = [_as_stored(int(end), possible) for end in (value, value if limit is None else limit)]
    return (possible >= min(ends)) & (possible <= max(ends))


def _as_stored(value: int, possible: NDArray[np.int64]) -> int:
    """A value written as unsigned in a file of signed pixels (63536 for -2000) as the pixels hold it."""
    return value - possible.size if value > int(possible.max()) else value


def _texts(elements: Dataset, keyword: str) -> list[str]:
    """The values of an element as text; none if it is absent or cannot be read."""
    try:
        value = elements.get(keyword)
        values = [] if value is None else [value] if isinstance(value, str) or not hasattr(value, "__iter__") else value
        return [str(one).strip().strip("\0") for one in values if str(one).strip()]
    except Exception:  # noqa: BLE001 pydicom converts lazily and raises anything; one bad tag makes no bad radiograph
        return []


def _text(elements: Dataset, keyword: str) -> str:
    values = _texts(elements, keyword)
    return values[0] if values else ""


def _code_meaning(elements: Dataset, keyword: str) -> str:
    """CodeMeaning of the first item of a code sequence."""
    try:
        items = elements.get(keyword)
        return _text(items[0], "CodeMeaning") if items else ""
    except Exception:  # noqa: BLE001 as in `_texts`
        return ""


def _age(text: str) -> float | None:
    found = re.fullmatch(r"(\d{1,3})([DWMY])", text.upper())
    if not found:
        return None
    years = int(found[1]) * _YEARS_PER[found[2]]
    return years if years <= MAX_AGE else None


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        return None
