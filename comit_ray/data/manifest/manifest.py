"""Validates, reads and writes the manifest, one row per image, in parts and chunks.

A **chunk** is `chunk_rows` consecutive rows of one dataset, named like `dataset-00012`; a **part** is a Parquet file of
whole chunks of one dataset. Every part carries the hash of the whole manifest's content and the number of parts. So a
reader sees one whole manifest or an error, even where storage cannot swap a directory at once. The manifest grows by
updates (`manifest_updates`), which change none of these parts.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.data.manifest import manifest_updates
from comit_ray.data.manifest.manifest_chunks import part_cuts, run_starts
from comit_ray.data.manifest.manifest_updates import ADDED_PART, RECORD
from comit_ray.errors import ConfigError, ManifestError, NotFoundError, Reason
from comit_ray.storage import storage
from comit_ray.storage.file_reader import FileRef
from comit_ray.tables import parquet
from comit_ray.tables.arrays import SCHEMA_VERSION
from comit_ray.tables.manifest_schema import LATE_COLUMNS, MANIFEST
from comit_ray.tables.vocabulary import Split, View

DATASET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # the name becomes part of file names
_PART_NAME = re.compile(r"part-\d{5,}\.parquet")
CONTENT, CONFIG, BASE = b"comit_ray.manifest", b"comit_ray.config", b"comit_ray.base"
"""Metadata keys of parts: the hash of all rows that were written together, the options, and, in a part that an update
added, the hash of the rows that were written first."""
_PARTS = b"comit_ray.parts"
_HASHED = tuple(name for name in MANIFEST.names if name != "added_on")  # an archive hashes the same on any day
_KNOWN: dict[str, list[str]] = {
    "view": [str(view) for view in View],
    "split": [str(split) for split in Split],
    "excluded": [str(reason) for reason in Reason],
    "sex": ["M", "F"],
}
_LABELS = ("unhealthy", "covid", "other")
_MASKS = ("lung_mask", "disease_mask")
_HASHED_ROWS = 65536  # rows held as Python objects at a time


def part_uris(uri: str) -> list[str]:
    """Returns the URIs of the manifest's parts in order; parts that updates added come last.

    Raises:
        NotFoundError: there is no part.
        ManifestError: a part that an update added is missing.
    """
    if uri.endswith(".parquet"):
        return parquet.parts(uri)
    uri = storage.normalise(uri)
    return [storage.join(uri, name) for name in manifest_updates.files(uri)[0]]


def read(uri: str) -> pa.Table:
    """Reads and validates the manifest at `uri`; earlier versions of changed files are `excluded` as `superseded`.

    Raises:
        ManifestError: if it is not a manifest, or parts are missing or left over from another one.
        StorageError: if it cannot be read.
    """
    parts = [parquet.read_part(part) for part in part_uris(uri)]
    check_whole(uri, [part.schema for part in parts])
    table = pa.concat_tables([part.replace_schema_metadata() for part in parts], promote_options="default")
    return validate(read_marks(uri).excluding(table), uri)


def read_columns(part: str, columns: list[str]) -> pa.Table:
    """Reads some columns of one part; columns that are newer than the part are null.

    Raises:
        StorageError: the part cannot be read.
    """
    table = parquet.read_part(part, columns, LATE_COLUMNS)
    for name in (name for name in LATE_COLUMNS if name in columns and name not in table.column_names):
        table = table.append_column(MANIFEST.field(name), pa.nulls(len(table), MANIFEST.field(name).type))
    return table.select(columns)


def read_marks(uri: str) -> manifest_updates.Marks:
    """Reads what the manifest's updates say of earlier rows; a manifest that is one file has no updates."""
    return manifest_updates.marks([]) if uri.endswith(".parquet") else manifest_updates.read_marks(uri)


def check_whole(uri: str, schemas: list[pa.Schema]) -> None:
    """Checks by the schemas' metadata that the parts at `uri` are all the parts of one manifest.

    Raises:
        ManifestError: if parts are missing, or left over from another manifest.
    """
    first = [schema.metadata or {} for schema in schemas if BASE not in (schema.metadata or {})]
    stamps = {tuple(metadata.get(key) for key in (CONTENT, _PARTS)) for metadata in first}
    counts = {int(count) for _, count in stamps if count is not None}
    added_to = {schema.metadata[BASE] for schema in schemas if BASE in (schema.metadata or {})}
    if added_to - {content for content, _ in stamps}:
        raise ManifestError(f"{uri}: an update added parts to another manifest than the one that is there")
    if len(stamps) > 1 or (counts and counts != {len(first)}):
        raise ManifestError(
            f"{uri}: its {len(schemas)} parts are not those of one whole manifest (writing was interrupted, or parts "
            "were copied together); write it again with comit-ray manifest"
        )


def write(uri: str, table: pa.Table, part_rows: int, config: str = "") -> None:
    """Writes the manifest as `uri/part-00000.parquet` and so on; an earlier manifest there is replaced as a whole.

    Parts are put one by one, then parts left over from a longer manifest are deleted. Until then `read` refuses the
    directory, because its parts carry different hashes or numbers of parts.

    Args:
        uri: directory that is new, empty, or holds a manifest.
        table: table from `finish`.
        part_rows: most rows of a part; a part has at least one chunk.
        config: the resolved configuration as JSON, for the tables' metadata.

    Raises:
        ConfigError: if other Parquet files are at `uri`; they would be read as parts of the manifest.
        StorageError: if it cannot be written.
    """
    old = _replaceable_parts(uri)
    for name in sorted(name for name in old if RECORD.fullmatch(name)):
        storage.delete(storage.join(uri, name))  # records go first: without them their parts do not count
        old.discard(name)
    cuts = part_cuts(table, part_rows)
    metadata = {
        **MANIFEST.metadata,
        CONTENT: content_hash(table).encode(),
        _PARTS: str(len(cuts)).encode(),
        CONFIG: config.encode(),
    }
    table = table.replace_schema_metadata(metadata)
    for number, (start, stop) in enumerate(cuts):
        name = f"part-{number:05d}.parquet"
        parquet.write_table(storage.join(uri, name), table.slice(start, stop - start))
        old.discard(name)
    for name in sorted(old):
        storage.delete(storage.join(uri, name))


def validate(table: pa.Table, where: str) -> pa.Table:
    """Returns `table` with exactly the columns and types of `MANIFEST`; further columns are dropped.

    Raises:
        ManifestError: as `conform`; or an id or a chunk occurs twice, or a patient lies in two splits.
    """
    table = conform(table, where)
    check_ids(table)
    _check_chunks(table, where)
    _check_patients(table, where)
    return table


def conform(table: pa.Table, where: str) -> pa.Table:
    """Checks and converts what `validate` asks of each row alone.

    Raises:
        ManifestError: naming `where` and what is wrong: columns, types, version, or an unknown value.
    """
    version = (table.schema.metadata or {}).get(b"comit_ray.version", SCHEMA_VERSION.encode()).decode()
    if version != SCHEMA_VERSION:
        raise ManifestError(f"{where}: expected schema version {SCHEMA_VERSION}, got {version}; write it again")
    for name in (name for name in LATE_COLUMNS if name not in table.column_names):
        table = table.append_column(MANIFEST.field(name), pa.nulls(len(table), MANIFEST.field(name).type))
    lacking = [name for name in MANIFEST.names if name not in table.column_names]
    if lacking:
        raise ManifestError(f"{where}: expected a manifest, the columns {', '.join(lacking)} are not there")
    for field in MANIFEST:
        if not field.nullable and table.column(field.name).null_count:
            raise ManifestError(f"{where}: expected a value of {field.name} in every row, some have none")
    try:
        table = table.select(MANIFEST.names).cast(MANIFEST).replace_schema_metadata(MANIFEST.metadata)
    except (pa.ArrowException, ValueError):
        # Arrow's error would show a cell, which may be of a patient
        raise ManifestError(f"{where}: columns of the wrong type: {'; '.join(_wrong_types(table))}") from None
    _check_values(table, where)
    return table


def content_hash(table: pa.Table, columns: Sequence[str] = _HASHED) -> str:
    """Returns 16 hex digits over the values of `columns` in order of rows, however Arrow cuts or types the table.

    112,120 rows with all columns take about a second.
    """
    digest = hashlib.sha256(json.dumps(list(columns)).encode())
    for start in range(0, len(table), _HASHED_ROWS):
        rows = table.slice(start, _HASHED_ROWS)
        for name in columns:
            digest.update(json.dumps(rows.column(name).to_pylist(), default=str).encode())  # str is for days
    return digest.hexdigest()[:16]


def training_hash(table: pa.Table) -> str:
    """Returns 16 hex digits over what a model is trained and tested on: images' split, exclusion, labels and masks.

    The order of the rows, their chunks and where the archive is mounted do not matter: a mask below the root of its
    image counts by its path relative to that root.
    """
    table = table.sort_by("image_id")
    for name in _MASKS:
        index = table.schema.get_field_index(name)
        table = table.set_column(index, name, pa.array(_relative(table, name), pa.string()))
    return content_hash(table, ("image_id", "split", "excluded", *_LABELS, *_MASKS))


def _relative(table: pa.Table, mask: str) -> list[str | None]:
    """Returns the references in the column `mask`; those below the root of their image are relative to it."""
    relative: list[str | None] = []
    needed = [mask, "uri", "image_id", "dataset", "member", "version"]
    for batch in table.select(needed).to_batches(max_chunksize=_HASHED_ROWS):
        columns = (column.to_pylist() for column in batch.columns)
        for reference, uri, image_id, dataset, member, version in zip(*columns, strict=True):
            path = path_of(image_id, dataset, version)
            root = uri.removesuffix(path if member is None else path.removesuffix(f"!{member}"))
            if reference is not None and reference.startswith("{"):
                relative.append(reference.replace(f'"{root}', '"'))
            else:
                relative.append(reference and reference.removeprefix(root))
    return relative


def path_of(image_id: str, dataset: str, version: int | None) -> str:
    """Returns a file's path below its root, `archive!member` for a member: the image id without dataset and version."""
    path = image_id.removeprefix(f"{dataset}/")
    return path.removesuffix(f"@{version}") if version is not None and version > 1 else path


def check_ids(table: pa.Table) -> None:
    """Checks that every image occurs once.

    Raises:
        ManifestError: naming the first id that occurs twice.
    """
    hashes = np.fromiter((hash(image_id) for image_id in _values(table, "image_id")), np.int64, len(table))
    found = np.sort(hashes)
    suspects = set(found[1:][found[1:] == found[:-1]].tolist())  # equal ids or, very rarely, a collision
    if not suspects:
        return
    seen: set[str] = set()
    for image_id in _values(table, "image_id"):
        if hash(image_id) in suspects:
            if image_id in seen:
                raise ManifestError(f"expected every image once, {image_id} is there twice")
            seen.add(image_id)


def _values(table: pa.Table, name: str) -> Iterator[str]:
    """Yields the values of a column, a batch of them as Python objects at a time."""
    for batch in table.select([name]).to_batches(max_chunksize=_HASHED_ROWS):
        yield from batch.column(0).to_pylist()


def _wrong_types(table: pa.Table) -> list[str]:
    """Returns name, type and expected type of each column whose values do not have the manifest's type."""
    wrong = []
    for field in MANIFEST:
        column = table.column(field.name)
        try:
            column.cast(field.type)
        except (pa.ArrowException, ValueError):
            wrong.append(f"{field.name} is {column.type}, expected {field.type}")
    return wrong


def _check_values(table: pa.Table, where: str) -> None:
    for name, known in _KNOWN.items():
        for value in pc.unique(table.column(name)).to_pylist():
            if value is not None and value not in known:
                raise ManifestError(f"{where}: unknown {name} {value!r}; known: {', '.join(known)}")
    for sidecar in pc.unique(table.column("sidecar")).drop_null().to_pylist():
        FileRef.from_text(sidecar)  # raises if the reference has no known form
    for name in _LABELS:
        for value in pc.unique(table.column(name)).to_pylist():
            if value not in (None, 0, 1):
                raise ManifestError(f"{where}: expected 1, 0 or null in {name}, got {value}")


def _check_chunks(table: pa.Table, where: str) -> None:
    """Checks that a chunk's rows are consecutive and of one dataset: it is read, predicted and committed as one."""
    starts = run_starts(table["dataset"], table["chunk"])[:-1]
    chunks = table["chunk"].take(pa.array(starts))
    counts = pc.value_counts(chunks.combine_chunks())
    twice = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        name = twice.field("values")[0].as_py()
        raise ManifestError(f"{where}: expected the rows of chunk {name} one after the other, in one dataset")


def _check_patients(table: pa.Table, where: str) -> None:
    """Checks that no patient or picture lies in two splits, which would make every metric too good."""
    for column, what in (("patient_id", "patients"), ("split_group", "groups of look-alikes")):
        known = table.select([column, "split"])
        if table.column(column).null_count:
            known = known.filter(pc.is_valid(table.column(column)))
        sides = known.group_by(column).aggregate([("split", "count_distinct")])
        leaking = sides.filter(pc.greater(sides.column("split_count_distinct"), 1)).column(column)
        if len(leaking):
            images = pc.sum(pc.is_in(known.column(column), leaking.combine_chunks())).as_py()
            raise ManifestError(f"{where}: {len(leaking)} {what} with {images} images lie in more than one split")


def _replaceable_parts(uri: str) -> set[str]:
    """Returns the file names of the manifest that lies at `uri`; empty if there is none."""
    try:
        found = {entry.path for entry in storage.list_files(uri) if _is_ours(entry.path)}
    except NotFoundError:
        return set()
    foreign = {name for name in found if not (_PART_NAME.fullmatch(name) or _is_added(name))}
    first = min((name for name in found if _PART_NAME.fullmatch(name)), default=None)
    if not foreign and first is not None:
        schema = parquet.read_part(storage.join(uri, first)).schema
        foreign = found if not set(MANIFEST.names) - set(LATE_COLUMNS) <= set(schema.names) else set()
    if foreign:
        raise ConfigError(
            f"expected a new directory or a manifest at {uri}, it holds other Parquet files, such as {min(foreign)}; "
            "choose another --output"
        )
    return found


def _is_added(name: str) -> bool:
    """Returns whether a file of this name belongs to an update."""
    return ADDED_PART.fullmatch(name) is not None or RECORD.fullmatch(name) is not None


def _is_ours(name: str) -> bool:
    """Returns whether a file of this name would be read as a part, or belongs to an update."""
    return name.endswith(".parquet") or _is_added(name)
