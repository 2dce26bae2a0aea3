"""Builds a manifest from a source's rows or from other manifests, with splits and chunks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from itertools import chain, islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.config.manifest_config import SplitConfig
from comit_ray.config.source_config import SourceOptions
from comit_ray.data.manifest.manifest import DATASET_NAME, check_ids, path_of, read, validate
from comit_ray.data.manifest.manifest_chunks import chunk_names
from comit_ray.data.manifest.split import assign
from comit_ray.data.sources.manifest_row import ManifestRow
from comit_ray.data.sources.skipped import Skipped, member_name
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.data.sources.source_registry import Adapter
from comit_ray.errors import ConfigError, ManifestError, Reason
from comit_ray.storage import storage
from comit_ray.tables.manifest_schema import MANIFEST

_BATCH = 8192  # rows held as Python objects at a time
_TOGETHER = 32  # batches that are combined into one
_FIRST_RADIOGRAPH = date(1896, 1, 1)
_PLACEHOLDER_YEARS = frozenset({1900, 1901, 1904, 1910, 1950, 1960, 1970, 1980})
_LAST_YEAR = 2300  # collections with shifted dates go to about 2200


ARCHIVE_TAG = " | "
"""Separates, in a member's tag, the part that describes its archive from the member's own part."""


class NoRowError(ManifestError):
    """A source has no row."""


@dataclass(frozen=True)
class SourceTable:
    """The rows of one source.

    Attributes:
        table: rows as in a manifest, without chunks.
        listed: whether a table of the source names each row.
        skipped: files below the root that are not a row and that the source does not use; None if unknown.
    """

    table: pa.Table
    listed: pa.Array
    skipped: Skipped | None = None
    placeholder_dates: int = 0
    """Number of acquisition dates that are placeholders of an anonymisation; they are null in `table`."""


def read_source(adapter: Adapter, files: SourceFiles, dataset: str, options: SourceOptions) -> SourceTable:
    """Reads every image of one source; an archive that could not be listed to its end becomes one failed row.

    Raises:
        ConfigError: if `dataset` cannot be part of a file name.
        ManifestError: if a table lacks its expected form, there is no row, or two rows have one id.
    """
    rows = chain(_marked(adapter(files, dataset, options), files), _broken(files))
    try:
        source = from_rows(rows, files.root, dataset, files.checksums)
    except NoRowError as error:
        raise NoRowError(f"{error}; {files.passed_over().describe()}") from error
    return replace(source, table=_stamped(source.table, files), skipped=files.passed_over())


def _stamped(table: pa.Table, files: SourceFiles) -> pa.Table:
    """Returns the rows with size and tag of their files; null where a file is not listed.

    A member's tag holds size and tag of its archive, and the member's own tag. So members of an unchanged archive are
    known to be unchanged without opening the archive.
    """
    paths = pc.utf8_slice_codeunits(table["uri"], len(files.root) + 1)
    listed = files.listed
    keys = _file_keys(listed["path"], listed["member"]).combine_chunks()
    own = pc.index_in(_file_keys(paths, table["member"]), keys)
    around = pc.index_in(_file_keys(paths, pa.chunked_array([pa.nulls(len(table), pa.string())])), keys)
    size, tag = listed["size"].take(own), listed["tag"].take(own)
    whole = archive_tag(listed["size"].take(around), listed["tag"].take(around))
    members = pc.binary_join_element_wise(whole, pc.fill_null(tag, "?"), ARCHIVE_TAG)
    tag = pc.if_else(pc.is_valid(table["member"]), members, tag)
    for name, values in (("file_size", size), ("file_tag", tag)):
        index = MANIFEST.get_field_index(name)
        table = table.set_column(index, MANIFEST.field(index), values)
    return table


def archive_tag(sizes: pa.ChunkedArray, tags: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns the part of the members' tags that describes their archives."""
    return pc.binary_join_element_wise(sizes.cast(pa.string()), pc.fill_null(tags, "?"), " ")


def _file_keys(paths: pa.ChunkedArray, members: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns path and member as one text; that of a loose file ends in an empty member."""
    return pc.binary_join_element_wise(paths, pc.fill_null(members, ""), "\0")


def from_rows(
    rows: Iterable[ManifestRow], root: str, dataset: str, checksums: Mapping[str, str] | None = None
) -> SourceTable:
    """Returns the rows of one source as a manifest without chunks; `split` is the source's own.

    Loose files come first, in the adapter's order; then the members of each archive in the archive's order, so that one
    pass reads them.

    Args:
        rows: rows from the source's adapter.
        root: URI of the source's directory.
        dataset: name of the source, the first part of every `image_id`.
        checksums: file relative to the root -> `algorithm:hex digest`, where known.

    Raises:
        ConfigError: if `dataset` cannot be part of a file name.
        ManifestError: if there is no row, or two rows have one id.
    """
    check_name(dataset)
    root, stream = storage.normalise(root), iter(rows)
    batches = []
    placeholders = 0
    listed: list[np.ndarray[tuple[int], np.dtype[np.bool_]]] = []
    places: list[np.ndarray[tuple[int, int], np.dtype[np.int64]] | None] = []
    archives: dict[str, int] = {}
    while batch := list(islice(stream, _BATCH)):
        batches.append(
            pa.RecordBatch.from_pylist([_record(row, root, dataset, checksums or {}) for row in batch], schema=MANIFEST)
        )
        if len(batches) >= _TOGETHER and batches[-_TOGETHER].num_rows == _BATCH:
            # many small buffers waste as much memory as they use
            batches[-_TOGETHER:] = pa.Table.from_batches(batches[-_TOGETHER:]).combine_chunks().to_batches()
        listed.append(np.array([row.listed for row in batch]))
        placeholders += sum(is_placeholder(row.acquired_on) for row in batch)
        places.append(_places(batch, archives))
    if not batches:
        raise NoRowError(f"no image of dataset {dataset!r} below {root}")
    table, is_listed = pa.Table.from_batches(batches), np.concatenate(listed)
    if archives:
        lengths = [len(batch) for batch in listed]
        filled = [np.zeros((n, 2), np.int64) if p is None else p for p, n in zip(places, lengths, strict=True)]
        archive, position = np.concatenate(filled).T
        order = np.lexsort((position, archive))  # stable: loose files (archive and position 0) keep their order
        table, is_listed = table.take(pa.array(order)), is_listed[order]
    check_ids(table)
    return SourceTable(table, pa.array(is_listed), placeholder_dates=placeholders)


def is_placeholder(day: date | None) -> bool:
    """Returns whether a day is a placeholder of an anonymisation: before 1896, after 2300, 1 January 1900 and the like.

    Real dates that were shifted by years, as in MIMIC-CXR, are kept: months and order inside a patient still hold.
    """
    if day is None:
        return False
    first = (day.month, day.day) == (1, 1) and day.year in _PLACEHOLDER_YEARS
    return first or day < _FIRST_RADIOGRAPH or day.year > _LAST_YEAR


def check_name(dataset: str) -> None:
    """Raises ConfigError if `dataset` cannot be part of a file name."""
    if not DATASET_NAME.fullmatch(dataset):
        raise ConfigError(f"the dataset's name must be letters, digits, dots, dashes or underscores, got {dataset!r}")


def _places(
    rows: Sequence[ManifestRow], archives: dict[str, int]
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]] | None:
    """Returns each row's archive number, from 1 in order of appearance, and its place in it; 0, 0 for a loose file.

    Returns None if all files are loose.
    """
    if all(row.member is None for row in rows):
        return None
    places = np.zeros((len(rows), 2), np.int64)
    for number, row in enumerate(rows):
        if row.member is not None:
            places[number] = archives.setdefault(row.path, len(archives) + 1), row.position
    return places


def _marked(rows: Iterable[ManifestRow], files: SourceFiles) -> Iterator[ManifestRow]:
    """Yields the rows; a row whose file cannot be read gets the reason in `excluded`."""
    for row in rows:
        files.use(row.path, row.member, row.position)
        reason = files.unusable.get((row.path, row.member)) if files.unusable else None
        yield row if reason is None else replace(row, excluded=reason)


def _broken(files: SourceFiles) -> Iterator[ManifestRow]:
    """Yields a failed row for every archive that could not be listed to its end: it may hold further images."""
    for archive in files.broken:
        yield ManifestRow(path=archive.path, excluded=archive.reason, listed=False)


def merge(inputs: Sequence[str]) -> pa.Table:
    """Returns the rows of several manifests as one table, dataset after dataset; `split` is that of the inputs.

    Raises:
        ManifestError: if an input is not a manifest, an image is in two of them, or one name stands for two datasets,
            whose patients would be taken for each other's.
        StorageError: if an input cannot be read.
    """
    tables = [read(uri) for uri in inputs]
    roots: dict[str, str] = {}
    for uri, table in zip(inputs, tables, strict=True):
        for dataset, root in _roots(table):
            if roots.setdefault(dataset, root) != root:
                raise ManifestError(
                    f"dataset {dataset!r} of {uri} lies at {root}, that of another input at {roots[dataset]}: "
                    "give each its own --name when its manifest is made, or their patients are taken for each other's"
                )
    table = pa.concat_tables(tables)
    check_ids(table)
    datasets = table.column("dataset")
    return pa.concat_tables([table.filter(pc.equal(datasets, name)) for name in pc.unique(datasets)])


def _roots(table: pa.Table) -> Iterator[tuple[str, str]]:
    """Yields each dataset of a manifest and the root of its first image."""
    for dataset in table.column("dataset").unique().to_pylist():
        first = table.filter(pc.equal(table["dataset"], dataset)).slice(0, 1)
        row = first.select(["image_id", "uri", "member", "version"]).to_pylist()[0]
        path = path_of(row["image_id"], dataset, row["version"])
        path = path if row["member"] is None else path.removesuffix(f"!{row['member']}")
        yield dataset, row["uri"].removesuffix(f"/{path}")


def finish(table: pa.Table, split: SplitConfig | None, chunk_rows: int, added_on: date | None = None) -> pa.Table:
    """Returns the manifest with splits and chunks; its present `split` column counts as the source's own split.

    Args:
        table: rows of sources, or of manifests, whose `added_on` stays.
        split: shares and seed; None: for screening alone, so that no row has a split.
        chunk_rows: most rows of a chunk.
        added_on: day for rows that have none; None means today (UTC).
    """
    own = table.column("split").combine_chunks()
    splits = pa.nulls(len(table), pa.string()) if split is None else assign(table, split, source_split=own)
    days = pc.fill_null(table["added_on"], pa.scalar(added_on or today(), pa.date32()))
    columns = {"split": splits, "chunk": chunk_names(table, chunk_rows), "added_on": days}
    for name, values in columns.items():
        index = MANIFEST.get_field_index(name)
        table = table.set_column(index, MANIFEST.field(index), values)
    return validate(table, "the new manifest")


def today() -> date:
    """Returns today's date in UTC."""
    return datetime.now(UTC).date()


def mark_missing(table: pa.Table, files: SourceFiles | None = None) -> pa.Table:
    """Marks rows whose file is absent (`excluded` = `missing`) unless they are excluded already; old marks are cleared.

    Args:
        table: manifest.
        files: the listed files of the manifest's one root, if they are known already.
    """
    missing = pa.scalar(str(Reason.MISSING))
    index = MANIFEST.get_field_index("excluded")
    reasons = table.column("excluded")
    reasons = pc.if_else(pc.fill_null(pc.equal(reasons, missing), False), pa.scalar(None, pa.string()), reasons)
    reasons = pc.if_else(pc.and_(pc.invert(_present(table, files)), pc.is_null(reasons)), missing, reasons)
    return table.set_column(index, MANIFEST.field(index), reasons)


def present_only(table: pa.Table, files: SourceFiles | None = None) -> pa.Table:
    """Returns the rows whose file lies where the manifest says.

    Raises:
        ManifestError: if no file is there.
    """
    kept = table.filter(_present(table, files))
    if not len(kept):
        raise ManifestError(f"none of the {len(table)} files is present, the first being {table['uri'][0].as_py()}")
    return kept


def _record(row: ManifestRow, root: str, dataset: str, checksums: Mapping[str, str]) -> dict[str, object]:
    """Returns a row's columns; `split` holds the source's own split, and `chunk` is not set yet."""
    return {
        "image_id": f"{dataset}/{row.path}" if row.member is None else f"{dataset}/{row.path}!{row.member}",
        "uri": f"{root}/{row.path}",
        "member": row.member,
        "member_offset": row.member_offset,
        "sidecar": row.sidecar,
        "dataset": dataset,
        "site": row.site,
        "patient_id": row.patient_id,
        "study_id": row.study_id,
        "view": str(row.view),
        "view_source": row.view_source,
        "sex": row.sex,
        "age": row.age,
        "device": row.device,
        "acquired_on": None if is_placeholder(row.acquired_on) else row.acquired_on,
        "illness_day": row.illness_day,
        "findings": row.findings,
        "unhealthy": row.unhealthy,
        "covid": row.covid,
        "other": row.other,
        "lung_mask": row.lung_mask,
        "disease_mask": row.disease_mask,
        "checksum": row.checksum or checksums.get(row.path),
        "excluded": None if row.excluded is None else str(row.excluded),
        "split": None if row.source_split is None else str(row.source_split),
        "version": 1,
    }


def _present(table: pa.Table, files: SourceFiles | None) -> pa.Array:
    """Returns whether each row's file exists; lists every root once instead of asking for each file."""
    roots: dict[str, SourceFiles] = {} if files is None else {files.root: files}
    found = []
    for batch in table.select(["image_id", "dataset", "uri", "member", "version"]).to_batches(max_chunksize=_BATCH):
        columns = (column.to_pylist() for column in batch.columns)
        for image_id, dataset, uri, member, version in zip(*columns, strict=True):
            path = path_of(image_id, dataset, version)
            path = path.removesuffix(f"!{member}") if member is not None else path
            if not uri.endswith(f"/{path}"):
                raise ManifestError(f"expected the URI of {image_id} to end in its path below the root, got {uri}")
            root = uri.removesuffix(f"/{path}")
            if storage.is_remote(root) and not storage.is_s3(root):
                raise ConfigError(
                    "--check_files and --present_only look at files: a DICOMweb server is asked when it is read"
                )
            if root not in roots:
                roots[root] = SourceFiles(root, inside_archives=False)
            file = roots[root].find(path) or roots[root].find(member_name("", path))
            lacking = roots[root].unusable.get((path, member)) is Reason.MISSING
            found.append(file is not None and file.member is None and not lacking)
    return pa.array(found, pa.bool_())
