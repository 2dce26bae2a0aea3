"""Reads one DICOM radiograph: header facts, and stored values.

The header is read first: it excludes images that are not a frontal chest radiograph, and limits the cost of the pixels,
before anything is decompressed. `comit_ray.data.images.dicom_display` turns stored values into what a screen shows.
"""

import re
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, datetime

from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images import views
from comit_ray.data.images.dicom_display import PIXEL_KEYWORDS, code_meaning, text, texts, whole_number
from comit_ray.data.images.dicom_file import UNDEFINED_LENGTH, DicomFile, looks_like_dicom, open_dicom
from comit_ray.data.images.dicom_pixels import decode_stored, geometry_of
from comit_ray.data.images.radiograph import StoredImage, check_bytes, decoder_guard, decoding_room
from comit_ray.errors import DecodeError, Reason
from comit_ray.tables.vocabulary import View

MAX_AGE = 120.0
"""Years; a higher age is a typing error, and counts as unknown."""

FACTS = (
    "PatientID", "StudyInstanceUID", "PatientSex", "PatientAge", "Manufacturer", "ManufacturerModelName",
    "AcquisitionDate", "StudyDate", "Modality", "BodyPartExamined", "AnatomicRegionSequence", "SeriesDescription",
    "ProtocolName", "StudyDescription", "ViewPosition", "ViewCodeSequence", "PatientOrientation", "NumberOfFrames",
    "SOPClassUID", "ImageType", "PresentationIntentType",
)  # fmt: skip
"""Elements that tell whose a radiograph is, how it was taken, and whether it shows a chest."""
_PIXEL_FACTS = (
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation",
)  # fmt: skip
_KEYWORDS = FACTS + _PIXEL_FACTS + PIXEL_KEYWORDS
_PEAK = {False: 2.5, True: 5.0}
"""Peak bytes of decoding per byte of pixels, uncompressed and compressed (RLE takes most); measured."""
_YEARS_PER = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


@dataclass(frozen=True)
class DicomHeader:
    """Header facts of a DICOM radiograph.

    Attributes:
        patient_id: raw value; the caller hashes it, and it never enters a table or a log.
        study_uid: raw value, handled like `patient_id`.
        sex: M, F or None.
        age: years, from PatientAge only; None if absent, malformed or above 120.
        device: manufacturer and model.
        acquired_on: AcquisitionDate, else StudyDate.
        view: view, as far as the header tells it.
        view_source: the tag that tells the view, or "none".
        exclusion: why the image is not a frontal chest radiograph, or None.
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
    """Reads header facts without reading pixels; `data` may end anywhere after the tag of the pixel data.

    Raises:
        DecodeError: the bytes are not a readable DICOM file, or a file that should hold an image holds none.
    """
    with decoder_guard("read the DICOM header"):
        _, header = _open(data, limits)
        return header


def stored_dicom(data: bytes, limits: DecodeLimits, held: ExitStack) -> StoredImage:
    """Returns stored values of a DICOM radiograph, and the elements that say how to display them.

    Args:
        data: the file.
        limits: limits for the image.
        held: keeps the reserved memory and the decoder guard until the caller has displayed the values.

    Raises:
        DecodeError: the exclusion that the header states, or why the pixels cannot be decoded.
    """
    held.enter_context(decoder_guard("decode the DICOM file"))
    file, header = _open(data, limits)
    if header.exclusion is not None:
        raise header.exclusion
    geometry = geometry_of(file.elements, limits)
    pixel_bytes = geometry.samples * geometry.bits_allocated // 8
    compressed = file.pixels is not None and file.pixels.length == UNDEFINED_LENGTH
    peak = _PEAK[compressed] * pixel_bytes
    held.enter_context(decoding_room(geometry.height * geometry.width, peak, len(data), 1))
    stored_HW, applied = decode_stored(file, data, _KEYWORDS, geometry, limits)
    # RGB holds display values already: it has neither window nor inversion.
    photometric = geometry.photometric if geometry.samples == 1 else None
    original = (geometry.height, geometry.width)
    return StoredImage(
        stored_HW, file.elements, photometric, header.view, header.view_source, tuple(applied), original=original
    )


def _open(data: bytes, limits: DecodeLimits) -> tuple[DicomFile, DicomHeader]:
    check_bytes(data, limits)
    if not looks_like_dicom(data):
        raise DecodeError(Reason.NOT_AN_IMAGE, "expected a DICOM file, got bytes that begin as none")
    file = open_dicom(data, _KEYWORDS)
    header = facts(file.elements)
    if file.pixels is None and (header.exclusion is None or not text(file.elements, "Modality")):
        if file.meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return file, header
        if "Rows" in file.elements:
            raise DecodeError(Reason.TRUNCATED, "the file describes an image and ends before its pixels")
        raise DecodeError(Reason.NO_PIXELS, "the file holds no pixel data")
    return file, header


def facts(elements: Dataset) -> DicomHeader:
    """Returns what the elements named by `FACTS` say; absent elements count as unknown."""
    position, series = text(elements, "ViewPosition"), text(elements, "SeriesDescription")
    view_code = code_meaning(elements, "ViewCodeSequence")
    view, source = views.view_of(position, series, view_code, texts(elements, "PatientOrientation"))
    device = " ".join(f"{text(elements, 'Manufacturer')} {text(elements, 'ManufacturerModelName')}".split())
    sex = text(elements, "PatientSex").upper()
    return DicomHeader(
        patient_id=text(elements, "PatientID") or None,
        study_uid=text(elements, "StudyInstanceUID") or None,
        sex=sex if sex in ("M", "F") else None,
        age=_age(text(elements, "PatientAge")),
        device=device or None,
        acquired_on=_day(text(elements, "AcquisitionDate")) or _day(text(elements, "StudyDate")),
        view=view,
        view_source=source,
        exclusion=_exclusion(elements) or views.not_frontal(view, source, position, series, view_code),
    )


def _exclusion(elements: Dataset) -> DecodeError | None:
    body_part = text(elements, "BodyPartExamined")
    anatomy = code_meaning(elements, "AnatomicRegionSequence")
    series = [anatomy, text(elements, "SeriesDescription"), text(elements, "ProtocolName")]
    study = text(elements, "StudyDescription")
    sop_class = text(elements, "SOPClassUID")
    modality = views.wrong_modality(text(elements, "Modality"), body_part, [*series, study], sop_class)
    captured = views.no_picture([*series, study, " ".join(texts(elements, "ImageType"))])
    raw = views.for_processing(text(elements, "PresentationIntentType"), sop_class)
    for exclusion in (modality, captured, raw):
        if exclusion is not None:
            return exclusion
    try:
        frames = whole_number(elements, "NumberOfFrames") or 1
    except DecodeError as error:
        return error
    if frames > 1:
        return DecodeError(Reason.MULTI_FRAME, f"expected one frame, NumberOfFrames says {frames}")
    return views.not_a_chest(body_part, series, study)


def _age(stated: str) -> float | None:
    found = re.fullmatch(r"(\d{1,3})([DWMY])", stated.upper())
    if not found:
        return None
    years = int(found[1]) * _YEARS_PER[found[2]]
    return years if years <= MAX_AGE else None


def _day(stated: str) -> date | None:
    try:
        return datetime.strptime(stated, "%Y%m%d").date()
    except ValueError:
        return None
