"""Building a manifest: a source's rows or other manifests in, one table with its splits and chunks out."""

from collections.abc import Iterable, Sequence
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from comit_ray import storage
from comit_ray.config import SplitConfig
from comit_ray.data.manifest import DATASET_NAME, check_ids, read, validate
from comit_ray.data.sources.row import ManifestRow
from comit_ray.data.split import assign
from comit_ray.errors import ConfigError, ManifestError, Reason
from comit_ray.schema import MANIFEST

_BATCH = 8192  # rows held as Python objects at a time


def from_rows(rows: Iterable[ManifestRow], root: str, dataset: str) -> pa.Table:
    """The rows of one source as a manifest without chunks, its `split` being the source's own.

    Args:
        rows: what the source's adapter gives.
        root: URI of the source's directory.
        dataset: name of the source, the first part of every `image_id`.

    Raises:
        ConfigError: if `dataset` cannot be part of a file name.
        ManifestError: if there is no row, or two have one id.
    """
    if not DATASET_NAME.fullmatch(dataset):
        raise ConfigError(f"the dataset's name must be letters, digits, dots, dashes or underscores, got {dataset!r}")
    root = storage.normalise(root)
    stream = iter(rows)
    batches = []
    while batch := list(islice(stream, _BATCH)):
        records = [_record(row, root, dataset) for row in batch]
        batches.append(pa.RecordBatch.from_pylist(records, schema=MANIFEST))
    if not batches:
        raise ManifestError(f"no image of dataset {dataset!r} below {root}")
    table = pa.Table.from_batches(batches)
    check_ids(table)
    return table


def merge(inputs: Sequence[str]) -> pa.Table:
    """The rows of several manifests as one, dataset after dataset; `split` is that of the inputs.

    Raises:
        ManifestError: if an input is no manifest, or an image is in two of them.
        StorageError: if an input cannot be read.
    """
    table = pa.concat_tables([read(uri) for uri in inputs])
    check_ids(table)
    datasets = table.column("dataset")
    return pa.concat_tables([table.filter(pc.equal(datasets, name)) for name in pc.unique(datasets)])


def finish(table: pa.Table, split: SplitConfig, chunk_rows: int) -> pa.Table:
    """The manifest with its splits decided and its chunks cut; the `split` column so far counts as the source's own."""
    splits = assign(table, split, source_split=table.column("split").combine_chunks())
    chunks: list[str] = []
    rows_so_far: dict[str, int] = {}
    for dataset in table.column("dataset").to_pylist():
        row = rows_so_far.get(dataset, 0)
        chunks.append(f"{dataset}-{row // chunk_rows:05d}")
        rows_so_far[dataset] = row + 1
    columns = {"split": splits, "chunk": pa.array(chunks, pa.string())}
    for name, values in columns.items():
        index = MANIFEST.get_field_index(name)
        table = table.set_column(index, MANIFEST.field(index), values)
    return validate(table, "the new manifest")


def mark_missing(table: pa.Table) -> pa.Table:
    """Marks rows whose file is absent: `excluded` = `missing` where nothing else excludes it; old marks go."""
    missing = pa.scalar(str(Reason.MISSING))
    index = MANIFEST.get_field_index("excluded")
    reasons = table.column("excluded")
    reasons = pc.if_else(pc.fill_null(pc.equal(reasons, missing), False), pa.scalar(None, pa.string()), reasons)
    reasons = pc.if_else(pc.and_(pc.invert(_present(table)), pc.is_null(reasons)), missing, reasons)
    return table.set_column(index, MANIFEST.field(index), reasons)


def present_only(table: pa.Table) -> pa.Table:
    """The rows whose file lies where the manifest says.

    Raises:
        ManifestError: if there is none.
    """
    kept = table.filter(_present(table))
    if not len(kept):
        raise ManifestError(f"none of the {len(table)} files is present, the first being {table['uri'][0].as_py()}")
    return kept


def _record(row: ManifestRow, root: str, dataset: str) -> dict[str, object]:
    """A row's columns; `split` holds the source's own for now, `chunk` nothing."""
    return {
        "image_id": f"{dataset}/{row.path}",
        "uri": storage.join(root, row.path),
        "dataset": dataset,
        "site": row.site,
        "patient_id": row.patient_id,
        "study_id": row.study_id,
        "view": str(row.view),
        "view_source": row.view_source,
        "sex": row.sex,
        "age": row.age,
        "device": row.device,
        "acquired_on": row.acquired_on,
        "illness_day": row.illness_day,
        "findings": row.findings,
        "unhealthy": row.unhealthy,
        "covid": row.covid,
        "other": row.other,
        "lung_mask": row.lung_mask,
        "disease_mask": row.disease_mask,
        "checksum": row.checksum,
        "excluded": None if row.excluded is None else str(row.excluded),
        "split": None if row.source_split is None else str(row.source_split),
    }


def _present(table: pa.Table) -> pa.Array:
    """Whether each row's file exists, from one listing of every root rather than a look at every file."""
    roots: dict[str, set[str]] = {}
    found = []
    columns = (table.column(name).to_pylist() for name in ("image_id", "dataset", "uri", "member"))
    for image_id, dataset, uri, member in zip(*columns, strict=True):
        path = image_id.removeprefix(f"{dataset}/")
        path = path.removesuffix(f"!{member}") if member is not None else path
        if not uri.endswith(f"/{path}"):
            raise ManifestError(f"expected the URI of {image_id} to end in its path below the root, got {uri}")
        root = uri.removesuffix(f"/{path}")
        if root not in roots:
            roots[root] = {entry.path for entry in storage.list_files(root)}
        found.append(path in roots[root])
    return pa.array(found, pa.bool_())
