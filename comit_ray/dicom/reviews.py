"""A reader's verdict as a structured report (TID 1500), with the reader as observer.

A report holds who read the image (a pseudonym), when, and what the reader answered, as far as the `reviews` table has
these columns. The reader's comment goes into the object only, not into a table or log of the export. A verdict that its
reader replaced or withdrew gets no report.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydicom.dataset import Dataset

from comit_ray.data.images.radiograph import decoder_guard
from comit_ray.dicom.concepts import SCHEME, Concept
from comit_ray.dicom.result import MODEL_NAME, ImageResult, Naming
from comit_ray.dicom.sr import add_texts, report, tracking
from comit_ray.screening.mask_tables import ZONES

ANSWERS = {
    "verdict": "Verdict of the reader",
    "abnormal": "The reader sees an abnormality",
    "covid": "The reader suspects COVID-19",
    "category": "Category chosen by the reader",
    "findings": "Findings of the reader",
    "zones": "Severity of each lung zone, 0 to 3; sides are the patient's",
    "confidence": "Confidence of the reader",
    "comment": "Comment of the reader",
    "role": "Role of the reader",
    "seconds": "Seconds taken to read",
    "blinded": "Read without knowing the model's answer",
}
"""Column -> meaning of its code in this project's scheme."""


def that_count(reviews: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Keep the latest verdict of every reader on every image, without withdrawn ones; the order of the rows stays.

    Args:
        reviews: rows of a `reviews` table. The highest `revision` is the latest; without revisions, the last `read_at`.
    """
    latest: dict[tuple[str, str], dict[str, Any]] = {}
    for row in sorted(reviews, key=lambda one: (one.get("revision") or 0, _read_at(one))):
        key = row["image_id"], row["reader"]
        latest.pop(key, None)
        latest[key] = dict(row)
    return [row for row in latest.values() if row.get("verdict") != "withdrawn"]


def subject_of(review: Mapping[str, Any]) -> str:
    """Return a text that tells the verdicts on one image apart: reader, role and time."""
    return f"{review['reader']} {review.get('role') or ''} {_read_at(review):%Y%m%dT%H%M%S.%f}"


def make_review(header: Dataset, result: ImageResult, naming: Naming, review: Mapping[str, Any]) -> bytes:
    """Make the file of a report with a reader's answers. Its date is that of the reading.

    Args:
        header: header of the source.
        result: the model's result, which the reader saw or which was hidden.
        naming: names and numbers of the series.
        review: a row of a `reviews` table.
    """
    read = replace(result, prediction={**result.prediction, "screened_at": _read_at(review)})
    with decoder_guard():
        from highdicom.sr import MeasurementsAndQualitativeEvaluations, SourceImageForMeasurementGroup

        group = MeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking(header, read, f"review {subject_of(review)}"),
            source_images=[SourceImageForMeasurementGroup(header.SOPClassUID, header.SOPInstanceUID)],
        )
        answered = [
            (Concept(column, SCHEME, meaning), text)
            for column, meaning in ANSWERS.items()
            if (text := _text(column, review.get(column))) is not None
        ]
        shown = Concept("model_id", SCHEME, "Model whose result was at hand")
        add_texts(group, [*answered, (shown, f"{MODEL_NAME} {read.model_id}, run {read.prediction['run_id']}")])
        return report(header, read, naming, _person(review), [group], [header], "reviews", subject_of(review))


def _person(review: Mapping[str, Any]) -> Any:
    from highdicom.sr import ObservationContext, ObserverContext, PersonObserverIdentifyingAttributes
    from pydicom.sr.codedict import codes

    return ObservationContext(
        observer_person_context=ObserverContext(
            observer_type=codes.DCM.Person,
            observer_identifying_attributes=PersonObserverIdentifyingAttributes(name=str(review["reader"])),
        )
    )


def _text(column: str, value: Any) -> str | None:
    """An answer in words; None if the reader gave none."""
    if value is None or value == "" or (isinstance(value, list) and not value):
        return None
    if column == "zones":
        given = [f"{zone} {severity}" for zone, severity in zip(ZONES, value, strict=True) if severity is not None]
        return ", ".join(given) or None
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _read_at(review: Mapping[str, Any]) -> datetime:
    at: datetime | None = review.get("read_at")
    return datetime(1970, 1, 1, tzinfo=UTC) if at is None else at.astimezone(UTC)
