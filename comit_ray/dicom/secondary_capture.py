"""The overlay as a Secondary Capture image (PS3.3 A.8), for viewers that show no SEG or presentation state.

The picture is the radiograph with the outlines of the masks, and a legend below it that hides nothing. No identity of
the patient is burnt in. A PNG or JPEG can only have this format. It has no DICOM header, so the object belongs to no
patient and has a study of its own.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from scipy.ndimage import binary_erosion

from comit_ray.data.images.radiograph import Radiograph, decoder_guard
from comit_ray.dicom.result import MODEL_NAME, NOT_NORMAL, WARNING, ImageResult, Mask, Naming, common, to_bytes
from comit_ray.dicom.seg import COLOURS, SEGMENTS
from comit_ray.tables.vocabulary import Task

SHORTEST, LONGEST = 512, 1024
"""Bounds on the longest side of the drawn radiograph in pixels: finer than the masks, and at most 3 MB per object."""
WIDTH = 640
"""Smallest width in pixels at which a line of the legend fits."""
FILL = 0.25
"""Opacity of the disease mask, from 0 to 1. Lungs are drawn as outlines only."""
_BACKGROUND, _INK, _ALARM = (16, 16, 16), (235, 235, 235), (240, 228, 66)

Pixels = npt.NDArray[np.uint8]


def make_secondary_capture(header: Dataset, radiograph: Radiograph, result: ImageResult, naming: Naming) -> bytes:
    """Make the file of a Secondary Capture in RGB, uncompressed.

    Args:
        header: header of the source; for a PNG or JPEG, `comit_ray.dicom.source.blank_header`.
        radiograph: pixels of the source.
        result: result of the image.
        naming: names and numbers of the series.

    Raises:
        DecodeError: `bad_geometry` if the source is not the image that was screened.
    """
    result.checked_size(radiograph.height, radiograph.width)
    picture_HW3 = draw(radiograph.pixels_HW, result)
    with decoder_guard():
        from highdicom.sc import SCImage

        made = SCImage(
            pixel_array=picture_HW3,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            study_instance_uid=header.StudyInstanceUID,
            patient_id=header.PatientID,
            patient_name=header.PatientName,
            patient_birth_date=header.PatientBirthDate,
            patient_sex=header.PatientSex or None,
            accession_number=header.AccessionNumber,
            study_id=header.StudyID,
            study_date=header.StudyDate or None,
            study_time=header.StudyTime or None,
            referring_physician_name=header.ReferringPhysicianName,
            patient_orientation=("L", "F"),  # highdicom needs one; the source's own replaces it below
            **common(header, result, naming, "sc"),
        )
        made["PatientOrientation"].value = header.get("PatientOrientation") or None
        made.Laterality = header.get("Laterality", "")
        made.ConversionType = "WSD"
        made.BurnedInAnnotation = "YES"  # model and scores are burnt in, but nothing of the patient
        made["DateOfSecondaryCapture"].value = result.screened_at.strftime("%Y%m%d")
        made["TimeOfSecondaryCapture"].value = result.screened_at.strftime("%H%M%S")
        made.DerivationDescription = "Masks and scores of a model burnt in. Research, not for diagnosis"
        if "SOPClassUID" in header:
            reference = Dataset()
            reference.ReferencedSOPClassUID = header.SOPClassUID
            reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
            made.SourceImageSequence = [reference]
        return to_bytes(made, result.screened_at)


def draw(pixels_HW: Pixels, result: ImageResult) -> Pixels:
    """Draw the picture with its legend.

    Args:
        pixels_HW: (H, W) grey values of the original for display, in the size that was screened.
        result: result of the image: its masks are drawn and its scores written.

    Returns:
        The picture, uint8 RGB (H, W, 3).
    """
    height, width = pixels_HW.shape
    longest = max(height, width)
    scale = min(max(longest, SHORTEST), LONGEST) / longest
    size = max(1, round(width * scale)), max(1, round(height * scale))
    grey = np.asarray(Image.fromarray(pixels_HW).resize(size, Image.Resampling.BILINEAR), np.float32)
    picture = np.repeat(grey[..., np.newaxis], 3, axis=2)
    for task in SEGMENTS:
        if task in result.masks:
            mask = _resized(result, task, size, height, width)
            _paint(picture, mask, COLOURS[Task(task)], FILL if task == Task.DISEASE else 0.0)
    return _with_legend(picture.round().astype(np.uint8), result)


def _resized(result: ImageResult, task: str, size: tuple[int, int], height: int, width: int) -> Mask:
    original = Image.fromarray(result.original_mask(task, height, width))
    return np.asarray(original.resize(size, Image.Resampling.NEAREST), bool)


def _paint(picture_HW3: npt.NDArray[np.float32], mask_HW: Mask, colour: tuple[int, int, int], fill: float) -> None:
    line = mask_HW & ~binary_erosion(mask_HW, iterations=2)
    if fill:
        picture_HW3[mask_HW] = (1 - fill) * picture_HW3[mask_HW] + fill * np.array(colour, np.float32)
    picture_HW3[line] = colour


def _with_legend(picture_HW3: Pixels, result: ImageResult) -> Pixels:
    width = max(WIDTH, picture_HW3.shape[1])
    font = ImageFont.load_default(size=max(14, width // 48))
    step = round(1.4 * max(14, width // 48))
    lines = list(_lines(result))
    strip = Image.new("RGB", (width, step * (len(lines) + 1)), _BACKGROUND)
    pen = ImageDraw.Draw(strip)
    for number, (text, ink) in enumerate(lines):
        pen.text((step // 2, step // 2 + number * step), text, fill=ink, font=font)
    canvas = np.zeros((picture_HW3.shape[0] + strip.height, width, 3), np.uint8)
    canvas[: picture_HW3.shape[0], : picture_HW3.shape[1]] = picture_HW3
    canvas[picture_HW3.shape[0] :] = np.asarray(strip)
    return canvas


def _lines(result: ImageResult) -> Iterator[tuple[str, tuple[int, int, int]]]:
    row = result.prediction
    yield f"{WARNING.upper()}   {MODEL_NAME} {result.model_id}", _ALARM
    yield f"run {row['run_id']}, {result.screened_at:%Y-%m-%d %H:%M} UTC", _INK
    if row["status"] != "ok":
        yield f"{row['status']}: {row['reason']}; no scores, which says nothing about the patient", _ALARM
        return
    names = {"p_covid": "COVID-19", "p_other": "other disease", "p_unhealthy": "any abnormality"}
    scores = [f"{name} {row[column]:.3f}" for column, name in names.items() if row[column] is not None]
    if scores:
        kind = "divided by a temperature" if row["calibration"] == "temperature" else "no probabilities"
        yield f"scores, {kind}: {', '.join(scores)}", _INK
    for score, name in (("covid", "COVID-19"), ("unhealthy", "any abnormality")):
        flag = row[f"{score}_flag"]
        if flag is not None:
            limit = f" ({result.thresholds[score]:.3g})" if score in result.thresholds else ""
            said = "AT OR ABOVE" if flag else "below"
            yield f"{name}: {said} the operating point {row['operating_point']}{limit}", _ALARM if flag else _INK
    for task, (label, _, _) in SEGMENTS.items():
        if task in result.masks:
            drawn = "" if result.masks[task].any() else ": none drawn"
            yield f"in this colour: {label.lower()}{drawn}", COLOURS[Task(task)]
    for line in filter(None, result.outlines.split("; ")):  # lines that fit below a radiograph
        yield line, _INK
    yield NOT_NORMAL, _INK
