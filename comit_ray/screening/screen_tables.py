"""The tables of a screen: `predictions`, whose files commit a chunk, and its side tables."""

from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.chunks import compaction, run_record
from comit_ray.chunks.accounts import foreign
from comit_ray.chunks.ownership import Owner
from comit_ray.chunks.plan import Layout
from comit_ray.data.manifest import manifest
from comit_ray.errors import NotFoundError, StorageError
from comit_ray.storage import storage
from comit_ray.tables import parquet, schema
from comit_ray.tables.staging import Check, Staged

PREDICTIONS, MASKS, EMBEDDINGS, GRADCAM, VARIANTS = "predictions", "masks", "embeddings", "gradcam", "variants"


def layout(embeddings: bool, gradcam: bool = False, variants: int = 0) -> Layout:
    """Returns the requested tables; `variants` is the number of altered copies of each image."""
    asked = ((EMBEDDINGS, embeddings), (GRADCAM, gradcam), (VARIANTS, variants > 0))
    return Layout(
        main=PREDICTIONS,
        sides=(MASKS, *(name for name, wanted in asked if wanted)),
        facts=("image_id", "view", "model_id", "run_id", "screened_at"),
        flag="covid_flag",
        owned=("run_id", "model_id"),
        several={VARIANTS: variants} if variants else {},
    )


def recorded_owner(results: str) -> Owner | None:
    """Returns the owner that the record in `results` names; None if there is no record, or it names no model.

    Raises:
        StorageError: the file is not the record of a run.
    """
    try:
        owner = Owner.of(run_record.read(results))
    except NotFoundError:
        return None
    return owner if owner.model_id else None


def refuse_foreign(part: str, table: pa.Table, owner: Owner | None) -> None:
    """Refuses a file of another run, model or run settings, because its scores do not belong to these results.

    Raises:
        StorageError: the file belongs to another run; the message says which.
    """
    difference = None if owner is None else foreign(table, owner)
    if difference:
        raise StorageError(
            f"{part} belongs to another run than the {run_record.FILE} beside it ({difference}): run the same "
            "comit-ray screen again, which processes this chunk again"
        )


def read_predictions(results: str) -> pa.Table:
    """Reads the `predictions` of `results`; columns that the table's version did not have yet are null.

    Raises:
        NotFoundError: there are no predictions.
        StorageError: they cannot be read, or rows belong to another run or model than the record beside them names.
    """
    uri = storage.join(results, PREDICTIONS)
    owner = recorded_owner(results)
    tables = []
    for part in parquet.parts(uri):
        table = parquet.read_part(part)
        refuse_foreign(part, table, owner)
        tables.append(table)
    table = pa.concat_tables(tables, promote_options="default")
    for field in schema.PREDICTIONS:
        if field.nullable and field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table


_OWNED = ("run_id", "model_id")
"""Columns that name the run of a file, in files that are older than such metadata."""


def stage_predictions(
    tables: Staged, name: str, results: str, fields: Sequence[pa.Field], check: Check | None = None
) -> int:
    """Stages columns of the `predictions` of `results` as the table `name`, with the checks of `read_predictions`.

    Args:
        tables: staged tables, which get this one.
        name: name of the table in queries.
        results: URI of the results.
        fields: names and types of the columns.
        check: further check of each file.

    Returns:
        The number of rows.

    Raises:
        NotFoundError: there are no predictions.
        StorageError: they cannot be read, or rows belong to another run or model than the record beside them names.
    """
    owner = recorded_owner(results)
    names = {field.name for field in fields}
    more = [field for field in schema.PREDICTIONS if field.name in _OWNED and field.name not in names]

    def checked(part: str, table: pa.Table) -> None:
        refuse_foreign(part, table, owner)
        if check is not None:
            check(part, table)

    def stage() -> int:
        return tables.add(name, compaction.files_of(results, PREDICTIONS), [*fields, *more], checked)

    try:
        return stage()
    except NotFoundError:  # large files were replaced after the listing
        return stage()


def stage_newest(
    tables: Staged, results: str, fields: Sequence[pa.Field], manifest_uri: str, known: Sequence[pa.Field]
) -> None:
    """Stages columns of `predictions` and of the `manifest`, without images whose file has a newer version.

    A file that has changed has one row per version. Only the newest counts; otherwise the patient would count twice.

    Args:
        tables: staged tables, which get these two names.
        results: URI of the results.
        fields: columns of the predictions, including `image_id`.
        manifest_uri: URI of the manifest.
        known: columns of the manifest, including `image_id`.

    Raises:
        NotFoundError: there are no predictions, or there is no manifest.
        StorageError: as for `stage_predictions`, or the manifest cannot be read.
    """
    stage_predictions(tables, "predictions", results, fields)
    tables.add("manifest", manifest.part_uris(manifest_uri), known)
    old = pa.array(list(manifest.read_marks(manifest_uri).superseded), pa.string())
    if len(old):
        tables.add_batches("superseded", pa.table({"image_id": old}))
        for name in ("predictions", "manifest"):
            tables.run(f"DELETE FROM {name} WHERE image_id IN (SELECT image_id FROM superseded)")  # noqa: S608


def rows_of(results: str, name: str, image_ids: pa.Array, chunks: Collection[str]) -> pa.Table:
    """Reads the rows of a few images from a table of a screen; columns that a file does not have yet are null.

    Args:
        results: URI of the results.
        name: name of the table, such as `masks`.
        image_ids: ids of the images.
        chunks: chunks of the manifest that hold the images; only their files are read, if files carry these names.

    Raises:
        NotFoundError: there is no such table.
        StorageError: as for `read_predictions`.
    """
    owner, tables = recorded_owner(results), []
    parts = parquet.parts(storage.join(results, name))
    theirs = [part for part in parts if part.rpartition("/")[2].rpartition("-")[0] in chunks]
    for part in theirs or parts:
        table = parquet.read_part(part)
        refuse_foreign(part, table, owner)
        tables.append(table.filter(pc.is_in(table["image_id"], image_ids)))
    return pa.concat_tables(tables, promote_options="default")
