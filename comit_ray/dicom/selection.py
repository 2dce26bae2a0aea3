"""Selects the results to export: the review queue or all images, filtered by an SQL condition.

The predictions are read part by part, so memory does not grow with the archive. A part is a chunk of the screen, and
also a unit of the export.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.config.export_config import ExportConfig
from comit_ray.data.images.load import PLACE_COLUMNS
from comit_ray.errors import ConfigError, StorageError
from comit_ray.screening.results_folder import QUEUE_FILE
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.schema import PREDICTIONS


@dataclass(frozen=True)
class Unit:
    """The selected images of one chunk.

    Attributes:
        file: name of the chunk's file in every table of the results.
        places: their rows of the manifest: `image_id` and where the file lies.
    """

    file: str
    places: pa.Table


def units(config: ExportConfig) -> Iterator[Unit]:
    """Yield every chunk that has a selected image.

    Raises:
        ConfigError: the condition is not valid SQL on a row of predictions, or an image is not in the manifest.
        StorageError: a table cannot be read.
    """
    queue = None
    if config.select == "queue":
        queue = parquet.read_part(storage.join(config.results, QUEUE_FILE), ["image_id"])["image_id"]
    places = parquet.read_table(config.manifest, ["image_id", *PLACE_COLUMNS])
    for uri in parquet.parts(storage.join(config.results, "predictions")):
        rows = parquet.read_part(uri)
        wanted = chosen(rows, config.where)
        if queue is not None:
            wanted = wanted.filter(pc.is_in(wanted, value_set=queue.combine_chunks()))
        if not len(wanted):
            continue
        at = pc.index_in(wanted, value_set=places["image_id"].combine_chunks())
        if at.null_count:
            lacking = wanted.filter(pc.is_null(at))[0].as_py()
            raise ConfigError(f"--manifest {config.manifest} lacks {lacking}: give the manifest that was screened")
        yield Unit(uri.rpartition("/")[2], places.take(at).combine_chunks())


def chosen(predictions: pa.Table, where: str | None) -> pa.Array:
    """Return the ids of the rows that meet a condition, in their order; all ids without a condition.

    Args:
        predictions: rows of the table.
        where: condition in DuckDB's SQL on the table's columns. It cannot read files or the network.

    Raises:
        ConfigError: the condition is not valid, or DuckDB is not installed.
    """
    if where is None:
        return predictions["image_id"].combine_chunks()
    try:
        import duckdb
    except ImportError:
        raise ConfigError("--where needs DuckDB: pip install 'comit-ray[analysis]'") from None
    for field in PREDICTIONS:  # adds columns that an older table lacks
        if field.nullable and field.name not in predictions.column_names:
            predictions = predictions.append_column(field, pa.nulls(predictions.num_rows, field.type))
    numbered = predictions.append_column("_row", pa.array(range(predictions.num_rows), pa.int64()))
    with duckdb.connect(config={"enable_external_access": "false", "threads": "1"}) as connection:
        connection.register("predictions", numbered)
        try:
            connection.execute(f"SELECT image_id FROM predictions WHERE ({where}\n) ORDER BY _row")  # noqa: S608
            found = connection.fetchall()
        except duckdb.Error as error:
            text = " ".join(str(error).split())[:300]
            raise ConfigError(
                f"--where: expected a condition on the columns of predictions, got {where!r}: {text}"
            ) from None
    return pa.array([row[0] for row in found], pa.string())


def rows_of(results: str, table: str, file: str) -> dict[str, dict[str, Any]]:
    """Return a chunk's rows of one table by image id; empty if the results have no such table."""
    uri = storage.join(results, table, file)
    try:
        rows = parquet.read_part(uri).to_pylist()
    except StorageError:
        if storage.exists(uri):
            raise
        return {}
    return {row["image_id"]: row for row in rows}
