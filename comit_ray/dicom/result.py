"""The result of one image, from which DICOM objects are made, and what all objects share: names, warnings, UIDs."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from comit_ray.config.export_config import FORMATS
from comit_ray.data.images.frame import FrameMap
from comit_ray.data.masks.masks import from_png, to_original
from comit_ray.data.masks.outline_words import OutlineGrid, sentences
from comit_ray.dicom.concepts import Concept
from comit_ray.dicom.uids import uid
from comit_ray.errors import DecodeError, Reason
from comit_ray.tables.vocabulary import MASK_TASKS

Mask = npt.NDArray[np.bool_]

MANUFACTURER = "comit-ray"
MODEL_NAME = "COMiT-Net"
WARNING = "Research, not for diagnosis"
NOT_NORMAL = "Not flagged is not normal: the model looks for COVID-19 and for abnormal opacities alone."
_NAMES = {
    "seg": "lungs and opacities",
    "sr": "scores",
    "sc": "overlay",
    "gsps": "contours",
    "reviews": "reader",
}


@dataclass(frozen=True)
class Naming:
    """Names and numbers of exported series.

    Args:
        description: beginning of every SeriesDescription. Viewers show it, and an administrator finds exported series
            by it.
        number: the first SeriesNumber; each format has one of its own.
        software: version of this package.
    """

    description: str
    number: int
    software: str

    def series_description(self, format_: str) -> str:
        """Return the description of a format's series, at most 64 characters (VR LO)."""
        return f"{self.description} {_NAMES[format_]}"[:64]

    def series_number(self, format_: str) -> int:
        """Return the series number of a format."""
        return self.number + FORMATS[format_] - 1


@dataclass(frozen=True)
class ImageResult:
    """The result of one image.

    Attributes:
        prediction: its row of `predictions`.
        masks: `lung`, `disease` -> mask in the frame of the model, for the heads that the model has.
        frame_map: where the original lies in the frame; None if there are no masks.
        thresholds: score (`covid`, `unhealthy`) -> threshold of the operating point that decided the flags.
    """

    prediction: Mapping[str, Any]
    masks: Mapping[str, Mask]
    frame_map: FrameMap | None
    thresholds: Mapping[str, float]

    @property
    def image_id(self) -> str:
        """Id of the image, as in the manifest."""
        return str(self.prediction["image_id"])

    @property
    def model_id(self) -> str:
        """Id of the model: a hash of its weights."""
        return str(self.prediction["model_id"])

    @property
    def screened_at(self) -> datetime:
        """When the image was screened (UTC). All objects have this date, so a repeated export writes the same bytes."""
        at: datetime = self.prediction["screened_at"]
        return at.astimezone(UTC)

    def original_mask(self, task: str, height: int, width: int) -> Mask:
        """Return a mask on the pixels of the original, bool (height, width)."""
        assert self.frame_map is not None, "masks come with their frame's map"
        return to_original(self.masks[task], self.frame_map, height, width)

    @property
    def outlines(self) -> str:
        """What the outlines are and how coarse, in two sentences; empty without masks."""
        place = self.frame_map
        if place is None:
            return ""
        return sentences(OutlineGrid.of_mask(mask_HW.shape, place) for mask_HW in self.masks.values())

    def checked_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the source's rows and columns, if they are those of the image that was screened.

        Raises:
            DecodeError: `bad_geometry` if they differ, because the file was replaced.
        """
        screened = self.prediction["height"], self.prediction["width"]
        if screened != (height, width):
            raise DecodeError(
                Reason.BAD_GEOMETRY,
                f"the screened image had {screened[0]} x {screened[1]} pixels, the file now has {height} x {width}: "
                "screen it again",
            )
        return height, width


def make_result(
    prediction: Mapping[str, Any], masks: Mapping[str, Any] | None, thresholds: Mapping[str, float]
) -> ImageResult:
    """Build a result from a row of `predictions` and the row of `masks`, if there is one."""
    if masks is None:
        return ImageResult(prediction, {}, None, thresholds)
    drawn = {str(task): from_png(masks[f"{task}_png"]) for task in MASK_TASKS if masks.get(f"{task}_png") is not None}
    frame_map = FrameMap(
        fit=masks["fit"],
        top=masks["original_top"],
        left=masks["original_left"],
        rows_per_pixel=masks["rows_per_pixel"],
        columns_per_pixel=masks["columns_per_pixel"],
    )
    return ImageResult(prediction, drawn, frame_map, thresholds)


def instance_uid(header: Dataset, result: ImageResult, naming: Naming, format_: str, *more: str) -> str:
    """Return the SOP instance UID of an object. It depends on source, model, run, format and the options shown."""
    return uid("instance", *_of(header, result, naming, format_), *more)


def common(header: Dataset, result: ImageResult, naming: Naming, format_: str, *more: str) -> dict[str, Any]:
    """Return the arguments that all highdicom objects share. Every object is the only instance of its series."""
    return {
        "series_instance_uid": uid("series", *_of(header, result, naming, format_), *more),
        "series_number": naming.series_number(format_),
        "sop_instance_uid": instance_uid(header, result, naming, format_, *more),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MODEL_NAME,
        "software_versions": [naming.software, f"model {result.model_id}"],
        "device_serial_number": result.model_id,
        "series_description": naming.series_description(format_),
    }


def _of(header: Dataset, result: ImageResult, naming: Naming, format_: str) -> tuple[str, ...]:
    run = str(result.prediction["run_id"])
    shown = f"{naming.description}|{naming.number}|{naming.software}"
    return str(header.SOPInstanceUID), result.model_id, run, format_, shown


def coded(concept: Concept) -> Any:
    """Return the concept as a highdicom `CodedConcept`."""
    from highdicom.sr import CodedConcept

    return CodedConcept(concept.value, concept.scheme, concept.meaning)


def to_bytes(made: Dataset, when: datetime) -> bytes:
    """Return the file of an object (PS3.10). Its dates are those of the result in UTC, and its texts are UTF-8."""
    made.SpecificCharacterSet = "ISO_IR 192"
    _fix_drawn_uids(made)
    day, time = when.strftime("%Y%m%d"), when.strftime("%H%M%S")
    for keyword in ("InstanceCreation", "Content", "PresentationCreation", "Series"):
        if f"{keyword}Date" in made or keyword == "Series":
            setattr(made, f"{keyword}Date", day)
            setattr(made, f"{keyword}Time", time)
    for equipment in made.get("ContributingEquipmentSequence", []):
        equipment.ContributionDateTime = when.strftime("%Y%m%d%H%M%S")
    buffer = BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _fix_drawn_uids(made: Dataset) -> None:
    """Replace UIDs that highdicom draws at random by hashes, so that equal results give equal bytes."""
    from highdicom.uid import UID

    root = UID().rpartition(".")[0]
    fixed: dict[str, str] = {}

    def fix(dataset: Dataset, element: DataElement) -> None:
        if element.VR == "UI" and str(element.value).startswith(f"{root}."):
            number = str(len(fixed))
            element.value = fixed.setdefault(str(element.value), uid("drawn", str(made.SOPInstanceUID), number))

    made.walk(fix)
