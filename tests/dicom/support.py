"""A radiograph as a DICOM file with a patient whose name must appear nowhere, and what a screen says of it."""

from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Literal

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from comit_ray.config.image_config import FrameConfig
from comit_ray.data.images.frame import frame_map
from comit_ray.data.masks.masks import to_png
from comit_ray.data.phantom import phantom_drawing
from comit_ray.data.phantom.phantom_files import Header, dicom, save_dicom
from comit_ray.dicom.result import ImageResult, Naming, make_result

NAMING = Naming("COMiT-Net research", 9701, "0.1.0")
CANARIES = ("Kanarienvogel", "MRN-471147", "ACC-471148", "Liebeskummer")
"""The patient's name, numbers and a comment: only exported objects may hold them."""


def radiograph(
    number: int = 0, modality: Literal["CR", "DX"] = "CR", form: str = "dicom-12bit", size: tuple[int, int] = (200, 160)
) -> bytes:
    """A phantom's file; patient, accession number and comment are `CANARIES`."""
    pixels_HW = phantom_drawing.draw(number, phantom_drawing.PhantomKind.COVID, size=size).pixels_HW
    header = Header(
        patient=CANARIES[1],
        study=f"pacs {number // 2}",
        image=f"pacs {number}",
        view="PA",
        sex="F",
        age=61,
        modality=modality,
        body_part="CHEST",
        date="20261101",
    )
    made = dicom(pixels_HW, form, header)
    made.PatientName = f"{CANARIES[0]}^Jörg"
    made.AccessionNumber = CANARIES[2]
    made.PatientComments = CANARIES[3]
    made.SpecificCharacterSet = "ISO_IR 100"
    return save_dicom(made)


def read(data: bytes) -> Dataset:
    """A file as pydicom reads it, with the pixels."""
    return dcmread(BytesIO(data))


def prediction(image_id: str = "pacs/a.dcm", height: int = 200, width: int = 160, **changes: Any) -> dict[str, Any]:
    """A flagged image's row."""
    row: dict[str, Any] = {
        "image_id": image_id,
        "status": "ok",
        "reason": None,
        "detail": None,
        "p_unhealthy": 0.875,
        "p_covid": 0.75,
        "p_other": 0.125,
        "covid_flag": True,
        "unhealthy_flag": None,
        "operating_point": "specificity_0.90",
        "calibration": "none",
        "lung_area": 0.25,
        "disease_area": 0.0625,
        "disease_in_lung": 0.125,
        "zone_disease": [0.0, 0.125, 0.25, 0.0, None, 0.5],
        "height": height,
        "width": width,
        "view": "PA",
        "model_id": "abc123def456",
        "run_id": "20261129T100000000000Z",
        "screened_at": datetime(2026, 11, 29, 10, tzinfo=UTC),
    }
    return row | changes


def masks(
    height: int = 200, width: int = 160, *, frame: FrameConfig | None = None, disease: bool = True
) -> dict[str, Any]:
    """Two lungs and a patch in each; or lungs alone and a head for disease that drew nothing."""
    frame = frame or FrameConfig(size=64, fit="letterbox")
    field = frame_map(height, width, frame)
    lung_HW, disease_HW = np.zeros((2, frame.size, frame.size), bool)
    unit = frame.size // 16
    lung_HW[3 * unit : 12 * unit, 3 * unit : 7 * unit] = lung_HW[3 * unit : 12 * unit, 9 * unit : 13 * unit] = True
    if disease:
        disease_HW[8 * unit : 10 * unit, 4 * unit : 6 * unit] = disease_HW[
            5 * unit : 6 * unit, 10 * unit : 12 * unit
        ] = 1
    return {
        "image_id": "pacs/a.dcm",
        "lung_png": to_png(lung_HW),
        "disease_png": to_png(disease_HW),
        "frame_height": frame.size,
        "frame_width": frame.size,
        "fit": field.fit,
        "original_top": float(np.float32(field.top)),
        "original_left": float(np.float32(field.left)),
        "rows_per_pixel": float(np.float32(field.rows_per_pixel)),
        "columns_per_pixel": float(np.float32(field.columns_per_pixel)),
    }


def result(height: int = 200, width: int = 160, **changes: Any) -> ImageResult:
    """Of a `radiograph`."""
    return make_result(prediction(height=height, width=width, **changes), masks(height, width), {"covid": 0.41})
