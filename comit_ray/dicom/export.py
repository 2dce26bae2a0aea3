"""Exports the results of one chunk: makes objects, stores and verifies them, and records each in `exports/`.

A chunk's rows are in `exports/<destination>/<chunk>.parquet` below the results. The file is written as a whole when the
chunk is finished or breaks off. A repeated export starts from these rows and does not make stored objects again. Even
if the rows are lost, a repeated export adds nothing to the PACS, because UIDs are derived by a hash.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pyarrow as pa

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.load import Place, wanted
from comit_ray.dicom.build import Builder, ExportTask, tasks_of
from comit_ray.dicom.destination import Destination, Directory, Made, Pace, Pacs
from comit_ray.dicom.result import Naming, make_result
from comit_ray.dicom.selection import Unit, rows_of
from comit_ray.errors import StorageError
from comit_ray.storage import storage
from comit_ray.storage.file_reader import FileReader
from comit_ray.tables import parquet
from comit_ray.tables.review_schema import EXPORTS

TOGETHER = 8
"""Number of images whose objects are held, sent and searched for at the same time: about 30 MB."""
Row = dict[str, Any]
_Key = tuple[str, str, str | None]


@dataclass(frozen=True)
class Export:
    """Facts that all chunks of an export share, as plain values that other processes can receive.

    Attributes:
        results: URI of the screen's output.
        destination: URL of a DICOMweb server, or URI of a directory.
        to_pacs: whether the destination is a DICOMweb server.
        formats: names of `comit_ray.config.export_config.FORMATS`.
        naming: names and numbers of the series.
        thresholds: score -> threshold of the operating point.
        limits: bounds on images.
        rate: largest number of objects per second in one worker; None: no limit.
    """

    results: str
    destination: str
    to_pacs: bool
    formats: tuple[str, ...]
    naming: Naming
    thresholds: Mapping[str, float]
    limits: DecodeLimits
    rate: float | None

    @property
    def table(self) -> str:
        """URI of the rows for this destination and naming."""
        text = f"{self.destination}|{self.naming}"
        return storage.join(self.results, "exports", hashlib.sha256(text.encode()).hexdigest()[:12])


@dataclass(frozen=True)
class ExportCounts:
    """Numbers of objects of a chunk: stored before (`done`), `stored` now, `refused` now."""

    done: int
    stored: int
    refused: int


def export_unit(export: Export, unit: Unit, reviews: Mapping[str, Sequence[Row]], pace: Pace) -> ExportCounts:
    """Export a chunk.

    Args:
        export: what is exported, and where to.
        unit: the chunk's selected images.
        reviews: image id -> its rows of `reviews`.
        pace: limit of the worker's rate.

    Raises:
        StorageError: the server does not answer any more, or a table cannot be read or written. Objects stored until
            then have their rows.
    """
    uri = storage.join(export.table, unit.file)
    rows = _earlier(uri)
    asked = _asked(export, unit, reviews)
    left = {image: [task for task in tasks if not _is_stored(rows, image, task)] for image, tasks in asked.items()}
    done = sum(map(len, asked.values())) - sum(map(len, left.values()))
    places = {row["image_id"]: Place.of(row) for row in unit.places.to_pylist() if left[row["image_id"]]}
    fresh: list[Row] = []
    if places:
        try:
            for row in _export(export, unit.file, places, left, pace):
                rows[_key(row)] = row
                fresh.append(row)
        finally:
            if fresh:
                parquet.write_table(uri, pa.Table.from_pylist(list(rows.values()), schema=EXPORTS))
    stored = sum(row["status"] == "stored" for row in fresh)
    return ExportCounts(done, stored, len(fresh) - stored)


def _asked(export: Export, unit: Unit, reviews: Mapping[str, Sequence[Row]]) -> dict[str, list[ExportTask]]:
    return {image: tasks_of(export.formats, reviews.get(image, ())) for image in unit.places["image_id"].to_pylist()}


def _export(
    export: Export, file: str, places: Mapping[str, Place], left: Mapping[str, Sequence[ExportTask]], pace: Pace
) -> Iterator[Row]:
    """Yield the rows of the objects, a few images at a time."""
    predictions, masks = (rows_of(export.results, table, file) for table in ("predictions", "masks"))
    destination: Destination = (Pacs if export.to_pacs else Directory)(export.destination, pace)
    with FileReader(export.limits.max_bytes, wanted(places.values())) as reader:
        builder = Builder(export.naming, export.formats, export.limits, reader)
        images = iter(places.items())
        while held := list(islice(images, TOGETHER)):
            made: list[Made] = []
            for image, place in held:
                result = make_result(predictions[image], masks.get(image), export.thresholds)
                facts = {"model_id": result.model_id, "run_id": result.prediction["run_id"]}
                facts["destination"] = export.destination
                for one in builder.objects(place, result, left[image]):
                    if isinstance(one, Made):
                        one.row.update(facts)
                        made.append(one)
                    else:
                        task, why = one
                        yield facts | {
                            "image_id": image,
                            "format": task.format,
                            "subject": task.subject,
                            "status": "refused",
                            "answer": why,
                            "exported_at": datetime.now(UTC),
                        }
            for one, (status, answer) in zip(made, destination.put(made), strict=True):
                yield one.row | {"status": status, "answer": answer, "exported_at": datetime.now(UTC)}


def _earlier(uri: str) -> dict[_Key, Row]:
    try:
        return {_key(row): row for row in parquet.read_part(uri).to_pylist()}
    except StorageError:
        if storage.exists(uri):
            raise
        return {}


def _is_stored(rows: Mapping[_Key, Row], image: str, task: ExportTask) -> bool:
    row = rows.get((image, task.format, task.subject))
    return row is not None and row["status"] == "stored"


def _key(row: Row) -> _Key:
    return row["image_id"], row["format"], row["subject"]
