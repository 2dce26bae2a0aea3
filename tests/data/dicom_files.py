"""DICOM files made for tests, any pixel format and any header; and what becomes of them."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.load import decode
from comit_ray.errors import DecodeError, Reason

LIMITS = DecodeLimits()
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
"""The files that pydicom's own package brings."""


def row(data: bytes) -> NDArray[np.uint8]:
    """The first row of the decoded pixels: a ramp's values from left to right."""
    pixels: NDArray[np.uint8] = decode(data, LIMITS).pixels_HW[0]
    return pixels


def refusal(data: bytes, limits: DecodeLimits = LIMITS) -> DecodeError:
    """Why the file is refused; the patient of `dataset` must not be named in it, nor any exception of a library."""
    with pytest.raises(DecodeError) as caught:
        decode(data, limits)
    for hidden in ("Secret", "4711", "gave up"):
        assert hidden not in caught.value.detail
    return caught.value


def reason(data: bytes, limits: DecodeLimits = LIMITS) -> Reason:
    """The reason of the `refusal`."""
    return refusal(data, limits).reason


def ramp(height: int = 48, width: int = 64, low: int = 0, high: int = 4095) -> NDArray[np.int64]:
    """Values that rise from left to right, `low` in the first column, `high` in the last."""
    return np.tile(np.linspace(low, high, width).round().astype(np.int64), (height, 1))


def dataset(pixels: NDArray[np.int64], *, bits: int = 12, signed: bool = False, **header: Any) -> FileDataset:
    """A CR chest PA; `header` replaces elements by keyword, None deletes one."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = UID("1.2.826.0.1.3680043.8.498.1")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset(None, {}, preamble=b"\0" * 128, file_meta=meta)  # type: ignore[arg-type]
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    allocated = 8 if bits <= 8 else 16
    values: dict[str, Any] = {
        "Modality": "CR",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PatientName": "Secret^Person",
        "PatientID": "MRN-4711",
        "PatientBirthDate": "19501231",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1 if pixels.ndim == 2 else 3,
        "PhotometricInterpretation": "MONOCHROME2" if pixels.ndim == 2 else "RGB",
        "BitsAllocated": allocated,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(signed),
    }
    if pixels.ndim == 3:
        values["PlanarConfiguration"] = 0
    for keyword, value in (values | header).items():
        if value is not None:
            setattr(made, keyword, value)
    made.PixelData = pixels.astype(f"<{'i' if signed else 'u'}{allocated // 8}").tobytes()
    made["PixelData"].VR = "OB" if allocated == 8 else "OW"
    return made


def saved(made: FileDataset) -> bytes:
    """The file's bytes."""
    buffer = BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dicom(pixels: NDArray[np.int64] | None = None, **options: Any) -> bytes:
    """`dataset`, saved."""
    return saved(dataset(ramp() if pixels is None else pixels, **options))
