"""Makes the DICOM objects of one image from its source file and its result."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.dicom_file import looks_like_dicom
from comit_ray.data.images.load import Place, check, decode_apart
from comit_ray.data.images.radiograph import decoder_guard
from comit_ray.dicom.destination import Made
from comit_ray.dicom.gsps import make_gsps
from comit_ray.dicom.result import ImageResult, Naming
from comit_ray.dicom.reviews import make_review, subject_of, that_count
from comit_ray.dicom.secondary_capture import make_secondary_capture
from comit_ray.dicom.seg import make_seg
from comit_ray.dicom.source import blank_header, read_header
from comit_ray.dicom.sr import make_sr
from comit_ray.dicom.uids import uid
from comit_ray.errors import DecodeError, Status
from comit_ray.storage.file_reader import FileReader


@dataclass(frozen=True)
class ExportTask:
    """One object to make.

    Attributes:
        format: one of `comit_ray.config.export_config.FORMATS`.
        subject: text that tells the verdicts on one image apart; None for other formats.
        review: the reader's row of `reviews`; None for other formats.
    """

    format: str
    subject: str | None = None
    review: Mapping[str, Any] | None = None


def tasks_of(formats: Sequence[str], reviews: Sequence[Mapping[str, Any]]) -> list[ExportTask]:
    """List the objects of one image. Each reader's current verdict becomes a report of its own."""
    plain = [ExportTask(format_) for format_ in formats if format_ != "reviews"]
    counting = that_count(reviews) if "reviews" in formats else []
    read = [ExportTask("reviews", subject_of(row), row) for row in counting]
    return plain + read


class Builder:
    """Makes the objects of a chunk's images.

    Args:
        naming: names and numbers of the series.
        formats: all formats of the export. A report refers to a SEG only if one is exported too.
        limits: bounds on images.
        reader: reads the source files.
    """

    def __init__(self, naming: Naming, formats: Sequence[str], limits: DecodeLimits, reader: FileReader) -> None:
        self._naming, self._formats, self._limits, self._reader = naming, formats, limits, reader

    def objects(
        self, place: Place, result: ImageResult, tasks: Sequence[ExportTask]
    ) -> Iterator[Made | tuple[ExportTask, str]]:
        """Yield every object of an image, or the task with a sentence that says why there is no object.

        The sentence never names a person. The source file is read once for all objects.
        """
        try:
            data = self._reader.read(place.file)
            if place.checksum is not None and place.file.member is None:
                check(data, place.checksum)
            sidecar = None if place.sidecar is None else self._reader.read(place.sidecar)
            header = read_header(data) if looks_like_dicom(data) else None
        except DecodeError as error:
            yield from ((task, f"the source cannot be used now: {error}") for task in tasks)
            return
        for task in tasks:
            try:
                made_for, file = self._make(task, result, header, data, sidecar)
            except DecodeError as error:
                yield task, f"not made: {error}"
                continue
            with decoder_guard():
                made = dcmread(BytesIO(file), specific_tags=["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"])
            row = {
                "image_id": result.image_id,
                "format": task.format,
                "subject": task.subject,
                "sop_instance_uid": str(made.SOPInstanceUID),
                "series_instance_uid": str(made.SeriesInstanceUID),
                "bytes": len(file),
            }
            yield Made(row, made_for, str(made.StudyInstanceUID), file)

    def _make(
        self, task: ExportTask, result: ImageResult, header: Dataset | None, data: bytes, sidecar: bytes | None
    ) -> tuple[Dataset, bytes]:
        naming = self._naming
        if task.format == "sc":
            owner = header if header is not None else _nobody(result)
            return owner, make_secondary_capture(owner, decode_apart(data, self._limits, sidecar), result, naming)
        if header is None:
            header = read_header(data)  # raises, because the file is not DICOM
        if task.format == "seg":
            return header, make_seg(header, result, naming)
        if task.format == "gsps":
            return header, make_gsps(header, result, naming)
        if task.review is not None:
            return header, make_review(header, result, naming, task.review)
        scored = result.prediction["status"] == Status.OK
        return header, make_sr(header, result, naming, with_seg="seg" in self._formats and scored)


def _nobody(result: ImageResult) -> Dataset:
    """Make a header for a PNG or JPEG: a study of its own, without a patient, with UIDs derived from the image's id."""
    return blank_header(*(uid(f"source {kind}", result.image_id) for kind in ("study", "series", "instance")))
