"""Scores, flags and lung fractions as a structured report (Comprehensive SR, PS3.3 A.35.3, TID 1500).

The report has three measurement groups: for the image (scores, thresholds, flags, or why there are none), for the
lungs, and for the abnormal opacities. If a SEG is exported too, the last two refer to its segments.
"""

from collections.abc import Iterator
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from comit_ray.data.images.radiograph import decoder_guard
from comit_ray.dicom import concepts
from comit_ray.dicom.concepts import Concept
from comit_ray.dicom.result import (
    MANUFACTURER,
    MODEL_NAME,
    NOT_NORMAL,
    WARNING,
    ImageResult,
    Naming,
    coded,
    common,
    instance_uid,
    to_bytes,
)
from comit_ray.dicom.seg import segment_numbers
from comit_ray.dicom.uids import uid
from comit_ray.tables.vocabulary import Task

_ROIS = {Task.LUNG: concepts.LUNG, Task.DISEASE: concepts.OPACITY}
_FRACTIONS_OF = {Task.LUNG: ("lung_area",), Task.DISEASE: ("disease_area", "disease_in_lung")}


def make_sr(header: Dataset, result: ImageResult, naming: Naming, *, with_seg: bool) -> bytes:
    """Make the file of a report. For an image without scores, the report gives the reason code.

    Args:
        header: header of the source.
        result: result of the image.
        naming: names and numbers of the series.
        with_seg: whether a SEG of the result is exported too, so that the report may refer to its segments.
    """
    more = "with seg" if with_seg else "alone"
    with decoder_guard():
        groups = [_of_image(header, result, naming)]
        groups += [_of_segment(header, result, naming, task, with_seg=with_seg) for task in segment_numbers(result)]
        evidence = [header, *([_seg_reference(header, result, naming)] if with_seg and result.masks else [])]
        return report(header, result, naming, _device(result), groups, evidence, "sr", more)


def report(
    header: Dataset,
    result: ImageResult,
    naming: Naming,
    observer: Any,
    groups: list[Any],
    evidence: list[Dataset],
    format_: str,
    more: str,
) -> bytes:
    """Make the file of a TID 1500 report. Call it inside `decoder_guard`.

    Args:
        header: header of the source.
        result: result that gives the report its model, run and date.
        naming: names and numbers of the series.
        observer: highdicom's `ObservationContext`.
        groups: measurement groups.
        evidence: headers of all objects that the report refers to.
        format_: `sr` or `reviews`.
        more: text that tells the report from others of the same result.
    """
    from highdicom.coding_schemes import CodingSchemeIdentificationItem
    from highdicom.sr import ComprehensiveSR, MeasurementReport

    content = MeasurementReport(
        observation_context=observer,
        procedure_reported=coded(concepts.PROCEDURE),
        imaging_measurements=groups,
    )
    shared = common(header, result, naming, format_, more)
    made = ComprehensiveSR(
        evidence=evidence,
        content=content[0],
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=[CodingSchemeIdentificationItem(concepts.SCHEME, name="comit-ray")],
        **shared,
    )
    return to_bytes(made, result.screened_at)


def measurement(concept: Concept, value: float, **more: Any) -> Any:
    """Make a highdicom `Measurement`: a number without unit, with at most 7 significant digits, as float32 has."""
    from highdicom.sr import Measurement

    return Measurement(coded(concept), float(f"{value:.7g}"), coded(concepts.NO_UNITS), **more)


def evaluation(concept: Concept, value: Concept) -> Any:
    """Make a highdicom `QualitativeEvaluation`: a coded answer."""
    from highdicom.sr import QualitativeEvaluation

    return QualitativeEvaluation(coded(concept), coded(value))


def add_texts(group: Any, texts: list[tuple[Concept, str]]) -> None:
    """Add lines of text at the end of a measurement group; highdicom's templates have no argument for them."""
    from highdicom.sr import RelationshipTypeValues, TextContentItem

    group[0].ContentSequence.extend(
        TextContentItem(coded(name), text, RelationshipTypeValues.CONTAINS) for name, text in texts
    )


def tracking(header: Dataset, result: ImageResult, what: str) -> Any:
    """Make the identifier of a measurement group, which is the same in all reports of the image by the model."""
    from highdicom.sr import TrackingIdentifier

    return TrackingIdentifier(
        uid=uid("tracking", str(header.SOPInstanceUID), result.model_id, what), identifier=f"{MODEL_NAME} {what}"
    )


def _device(result: ImageResult) -> Any:
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObservationContext, ObserverContext
    from pydicom.sr.codedict import codes

    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=uid("device", result.model_id),
                name=MODEL_NAME,
                manufacturer_name=MANUFACTURER,
                model_name=MODEL_NAME,
                serial_number=result.model_id,
            ),
        )
    )


def _of_image(header: Dataset, result: ImageResult, naming: Naming) -> Any:
    from highdicom.sr import (
        AlgorithmIdentification,
        MeasurementsAndQualitativeEvaluations,
        SourceImageForMeasurementGroup,
    )

    row = result.prediction
    scores = [measurement(concept, row[name]) for name, concept in concepts.SCORES.items() if row[name] is not None]
    flagged = {score: row[f"{score}_flag"] for score in concepts.FLAGS if row[f"{score}_flag"] is not None}
    limits = [
        measurement(concepts.THRESHOLDS[score], result.thresholds[score])
        for score in flagged
        if score in result.thresholds
    ]
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking(header, result, "scores"),
        algorithm_id=AlgorithmIdentification(
            name=MODEL_NAME, version=f"{naming.software}, model {result.model_id}", manufacturer=MANUFACTURER
        ),
        source_images=[SourceImageForMeasurementGroup(header.SOPClassUID, header.SOPInstanceUID)],
        measurements=scores + limits or None,
        qualitative_evaluations=[
            evaluation(concepts.FLAGS[score], concepts.YES if value else concepts.NO)
            for score, value in flagged.items()
        ]
        or None,
    )
    add_texts(group, list(_texts(result)))
    return group


def _texts(result: ImageResult) -> Iterator[tuple[Concept, str]]:
    row = result.prediction
    if row["status"] != "ok":
        yield concepts.STATUS, f"{row['status']}: {row['reason']}"
    elif row["operating_point"] is not None:
        yield concepts.OPERATING_POINT, str(row["operating_point"])
    if row["status"] == "ok":
        yield concepts.STATUS, "ok: the image was scored"
        yield concepts.COMMENT, NOT_NORMAL
    else:
        yield concepts.COMMENT, "The image was not scored: this says nothing about the patient."
    yield concepts.COMMENT, f"{WARNING}. Run {row['run_id']}; scores: {_calibration(row['calibration'])}."


def _calibration(name: str | None) -> str:
    return "divided by a temperature" if name == "temperature" else "as the model gives them, no probabilities"


def _of_segment(header: Dataset, result: ImageResult, naming: Naming, task: str, *, with_seg: bool) -> Any:
    from highdicom.sr import (
        FindingSite,
        MeasurementsAndQualitativeEvaluations,
        PlanarROIMeasurementsAndQualitativeEvaluations,
        ReferencedSegmentationFrame,
        SourceImageForMeasurementGroup,
        SourceImageForSegmentation,
    )

    row = result.prediction
    found = [
        measurement(concepts.FRACTIONS[name], row[name]) for name in _FRACTIONS_OF[Task(task)] if row[name] is not None
    ]
    if task == Task.DISEASE and row["zone_disease"] is not None:
        found += [
            measurement(concepts.ZONE_FRACTION, value, finding_sites=[FindingSite(coded(zone), laterality=coded(side))])
            for (zone, side), value in zip(concepts.ZONES, row["zone_disease"], strict=True)
            if value is not None
        ]
    shared = {
        "tracking_identifier": tracking(header, result, str(task)),
        "finding_type": coded(_ROIS[Task(task)]),
        "finding_sites": [FindingSite(coded(concepts.LUNG))] if task == Task.DISEASE else None,
        "measurements": found or None,
    }
    if not with_seg:
        image = SourceImageForMeasurementGroup(header.SOPClassUID, header.SOPInstanceUID)
        return MeasurementsAndQualitativeEvaluations(source_images=[image], **shared)
    number = segment_numbers(result)[task]
    segment = ReferencedSegmentationFrame(
        SegmentationStorage,
        instance_uid(header, result, naming, "seg"),
        frame_number=number,
        segment_number=number,
        source_image=SourceImageForSegmentation(header.SOPClassUID, header.SOPInstanceUID),
    )
    group = PlanarROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **shared)
    for item in group[0].ContentSequence:
        for reference in item.get("ReferencedSOPSequence", []):
            if "ReferencedSegmentNumber" in reference:  # PS3.3 table 10-3: no frame number beside a segment number
                del reference.ReferencedFrameNumber
    return group


def _seg_reference(header: Dataset, result: ImageResult, naming: Naming) -> Dataset:
    """Return the part of the SEG's header that the evidence must name."""
    shared = common(header, result, naming, "seg")
    reference = Dataset()
    reference.SOPClassUID = SegmentationStorage
    reference.SOPInstanceUID = shared["sop_instance_uid"]
    reference.SeriesInstanceUID = shared["series_instance_uid"]
    reference.StudyInstanceUID = header.StudyInstanceUID
    return reference
