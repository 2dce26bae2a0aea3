"""Reads the header of the source radiograph: identity, and the elements that an object repeats or refers to.

The patient's identity is read here, at the time of the export, and goes into the exported objects only. No message,
table or log of this project may hold it. `without_identity` removes it from a server's answer.
"""

import re
from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.valuerep import DA, TM

from comit_ray.data.images.dicom_file import looks_like_dicom, open_dicom
from comit_ray.data.images.radiograph import decoder_guard
from comit_ray.errors import DecodeError, Reason

PATIENT = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "AccessionNumber",
    "ReferringPhysicianName", "StudyID", "OtherPatientIDs", "PatientComments", "ImageComments", "StudyDescription",
)  # fmt: skip
"""Elements that identify a patient, or may do so. They never appear in a table, log or message."""
_STUDY = ("StudyInstanceUID", "StudyDate", "StudyTime")
_IMAGE = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "InstanceNumber", "Rows", "Columns",
    "FrameOfReferenceUID", "PixelSpacing", "ImagerPixelSpacing", "PatientOrientation", "Laterality",
    "ImageLaterality", "NumberOfFrames", "SeriesNumber", "ImageType", "AcquisitionDate", "AcquisitionTime",
    "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence", "RescaleSlope", "RescaleIntercept",
    "RescaleType", "ModalityLUTSequence", "PresentationLUTShape",
)  # fmt: skip
_REQUIRED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Rows", "Columns")
_DATES, _TIMES = ("PatientBirthDate", "StudyDate", "AcquisitionDate"), ("StudyTime", "AcquisitionTime")
_MIN_WORD = 3
"""Smallest number of characters of a name part that is removed from a text. Shorter parts occur inside other words."""


def read_header(data: bytes) -> Dataset:
    """Read the header elements that results need from a DICOM file's bytes. Values of a wrong format become blank.

    Raises:
        DecodeError: `not_an_image` if the file is not DICOM, `bad_geometry` if it lacks an element that a result must
            refer to, or the reason why the header cannot be read.
    """
    if not looks_like_dicom(data):
        raise DecodeError(Reason.NOT_AN_IMAGE, "expected a DICOM source, got another format: only sc can be made of it")
    with decoder_guard():
        header = open_dicom(data, PATIENT + _STUDY + _IMAGE).elements
        header.walk(lambda dataset, element: element.value)  # decodes raw elements here, where errors are translated
        lacking = [keyword for keyword in _REQUIRED if not header.get(keyword)]
        if lacking:
            raise DecodeError(
                Reason.BAD_GEOMETRY, f"the DICOM header lacks {', '.join(lacking)}: no object can refer to it"
            )
        _tidy(header)
        return header


def _tidy(header: Dataset) -> None:
    """Add absent type 2 elements as blank, and blank dates, times, age and sex of a wrong format."""
    for keyword in ("PatientName", "PatientID", "PatientSex", "AccessionNumber", "StudyID", "ReferringPhysicianName"):
        if keyword not in header:
            setattr(header, keyword, "")
    for keyword, parse in [*((name, DA) for name in _DATES), *((name, TM) for name in _TIMES)]:
        try:
            parse(str(header.get(keyword) or ""))
            readable = keyword in header
        except ValueError:
            readable = False
        if not readable:
            setattr(header, keyword, "")
    if not re.fullmatch(r"\d{3}[DWMY]", str(header.get("PatientAge") or "")):
        header.PatientAge = ""
    if str(header.PatientSex).upper() not in ("M", "F", "O"):
        header.PatientSex = ""


def blank_header(study_uid: str, series_uid: str, instance_uid: str) -> Dataset:
    """Make the header of a PNG or JPEG: it has no patient, and its UIDs come from the caller."""
    header = Dataset()
    header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID = study_uid, series_uid, instance_uid
    _tidy(header)
    return header


def without_identity(words: str, header: Dataset) -> str:
    """Remove the patient's identity from a text such as a server's answer; return one line of at most 300 characters.

    Args:
        words: text that may repeat names or numbers of the patient.
        header: header of the patient's image.
    """
    text = " ".join(words.split())
    for secret in sorted(set(_secrets(header)), key=len, reverse=True):
        text = re.sub(re.escape(secret), "[removed]", text, flags=re.IGNORECASE)
    return text[:300]


def _secrets(header: Dataset) -> Iterator[str]:
    for keyword in PATIENT:
        value = header.get(keyword)
        if value is None or isinstance(value, DicomSequence):
            continue
        text = " ".join(str(value).split())
        for part in [text, *re.split(r"[\s^=\\]+", text)]:
            if len(part) >= _MIN_WORD:
                yield part
