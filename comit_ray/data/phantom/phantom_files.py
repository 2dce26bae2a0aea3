"""Writes synthetic radiographs as files in many DICOM and raster formats; all decode to the same pixels."""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

Pixels = npt.NDArray[np.uint8]

DICOM_FORMATS = (
    "dicom-8bit",
    "dicom-implicit",
    "dicom-12bit",
    "dicom-12bit-monochrome1",
    "dicom-rle",
    "dicom-jpeg2000",
    "dicom-jpegls-monochrome1",
    "dicom-deflated",
    "dicom-jpeg",
    "dicom-12bit",
)
RASTER_FORMATS = ("png", "png", "png", "png-16bit", "png-rgb", "png-rgba", "jpeg", "jpeg", "jpeg", "jpeg-rgb")
FORMATS = DICOM_FORMATS + RASTER_FORMATS
"""Formats that `encode` takes; a name occurs as often as it is common."""

_SYNTAX = {
    "implicit": ImplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg2000": JPEG2000Lossless,
    "jpegls": JPEGLSLossless,
    "deflated": DeflatedExplicitVRLittleEndian,
    "jpeg": JPEGBaseline8Bit,
}
# Named, so that the bytes do not depend on installed encoders; GDCM's RLE encoder also aborts the process.
_ENCODERS = {RLELossless: "pydicom", JPEG2000Lossless: "pylibjpeg", JPEGLSLossless: "pyjpegls"}
_STEP, _BASE = 14, 180  # for 12-bit values: stored = base + step * grey; the window undoes this
JPEG_QUALITY = 93


@dataclass(frozen=True)
class Header:
    """Header values of a DICOM file.

    Attributes:
        patient: PatientID.
        study: name of the study, unique in the archive; its UID is made from it.
        image: name of the image, unique in the archive.
        view: ViewPosition; may be blank, as in real archives.
        sex: PatientSex.
        age: age in years.
        modality: CR or DX.
        body_part: BodyPartExamined; may be blank.
        date: StudyDate, YYYYMMDD.
        manufacturer: Manufacturer.
        device: ManufacturerModelName; blank for none.
    """

    patient: str
    study: str
    image: str
    view: str
    sex: str
    age: int
    modality: Literal["CR", "DX"]
    body_part: str
    date: str
    manufacturer: str = "Phantom"
    device: str = ""


def encode(pixels_HW: Pixels, form: str, header: Header) -> bytes:
    """Returns the file of a radiograph in one of `FORMATS`; equal arguments give equal bytes."""
    if form.startswith("dicom"):
        return save_dicom(dicom(pixels_HW, form, header))
    if form.startswith("jpeg"):
        image = Image.fromarray(pixels_HW)
        return save_image(image.convert("RGB") if form == "jpeg-rgb" else image, "JPEG")
    if form == "png-16bit":
        return save_image(Image.fromarray(pixels_HW.astype(np.uint16) * 257), "PNG")
    mode = {"png": "L", "png-rgb": "RGB", "png-rgba": "RGBA"}[form]
    return save_image(Image.fromarray(pixels_HW).convert(mode), "PNG")


def suffix(form: str) -> str:
    """Returns the file name suffix of a format, with its dot."""
    return {"dicom": ".dcm", "png": ".png", "jpeg": ".jpg"}[form.partition("-")[0]]


def dicom(pixels_HW: Pixels, form: str, header: Header) -> Dataset:
    """Returns a CR or DX dataset of one frame (DICOM PS3.3 A.2 and A.26), compressed as `form` says."""
    words = form.split("-")
    inverted = "monochrome1" in words
    dataset = blank_dicom(header)
    dataset.Rows, dataset.Columns = pixels_HW.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.PixelRepresentation = 0
    dataset.NumberOfFrames = 1
    shown: Pixels = 255 - pixels_HW if inverted else pixels_HW
    if "12bit" in words:
        stored = shown.astype("<u2") * _STEP + _BASE
        bits, allocated = 12, 16
        dataset.WindowCenter = _BASE + 0.5 * _STEP * 255 + 0.5  # linear VOI function, PS3.3 C.11.2.1.2
        dataset.WindowWidth = _STEP * 255 + 1
    else:
        stored, bits, allocated = shown, 8, 8
        dataset.WindowCenter, dataset.WindowWidth = 128, 256
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, bits - 1
    data = stored.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    syntax = next((_SYNTAX[word] for word in words if word in _SYNTAX), ExplicitVRLittleEndian)
    dataset["PixelData"].VR = "OW" if allocated == 16 or syntax == ImplicitVRLittleEndian else "OB"
    if syntax == JPEGBaseline8Bit:
        dataset.PixelData = encapsulate([save_image(Image.fromarray(shown), "JPEG")])
        dataset.LossyImageCompression = "01"
        dataset.file_meta.TransferSyntaxUID = syntax
    elif syntax in _ENCODERS:
        dataset.compress(syntax, encoding_plugin=_ENCODERS[syntax], generate_instance_uid=False)
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def blank_dicom(header: Header) -> Dataset:
    """Returns a dataset with its header and without pixels, to be filled."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    storage_class = {"CR": ComputedRadiographyImageStorage, "DX": DigitalXRayImageStorageForPresentation}
    meta.MediaStorageSOPClassUID = storage_class[header.modality]
    meta.MediaStorageSOPInstanceUID = _uid("instance", header.image)
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = _uid("study", header.study)
    dataset.SeriesInstanceUID = _uid("series", header.image)
    dataset.Modality = header.modality
    dataset.Manufacturer = header.manufacturer
    if header.device:
        dataset.ManufacturerModelName = header.device
    dataset.StudyDate = header.date
    dataset.PatientName = f"Phantom^{header.patient}"
    dataset.PatientID = header.patient
    dataset.PatientSex = header.sex
    dataset.PatientAge = f"{header.age:03d}Y"
    dataset.BodyPartExamined = header.body_part
    dataset.ViewPosition = header.view
    return dataset


def save_dicom(dataset: Dataset) -> bytes:
    """Returns a DICOM file (PS3.10): preamble, file meta information, dataset."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def save_image(image: Image.Image, kind: Literal["PNG", "JPEG"]) -> bytes:
    """Returns a PNG or JPEG file."""
    buffer = io.BytesIO()
    if kind == "JPEG":
        image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    else:
        image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def _uid(*names: str) -> UID:
    return generate_uid(entropy_srcs=["comit-ray phantom", *names])
