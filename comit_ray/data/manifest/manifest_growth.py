"""Adds what is new in an archive to its manifest, as new parts; no earlier part is changed.

A file that changed (size, ETag or time of change, or a checksum that the source states) becomes a new version of the
image: a new row whose image_id ends in `@2`. The earlier row stays, marked `superseded`. A file that is gone is marked;
no row is deleted. No patient changes its split: a new image of a known patient joins the patient's split. A new
patient's split is drawn by a hash of seed and name alone, since shares must hold over many nights of few patients.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.config.manifest_config import SplitConfig
from comit_ray.config.source_config import SourceOptions
from comit_ray.data.manifest import manifest, manifest_updates
from comit_ray.data.manifest.archive_changes import COMPARED, KnownImages, known_rows, sorted_out, with_columns
from comit_ray.data.manifest.manifest_build import NoRowError, read_source
from comit_ray.data.manifest.manifest_chunks import chunk_names, part_cuts
from comit_ray.data.manifest.manifest_updates import Update
from comit_ray.data.sources.skipped import Skipped
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.data.sources.source_registry import adapter
from comit_ray.errors import ConfigError, ManifestError
from comit_ray.storage import storage, web
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import LATE_COLUMNS, MANIFEST
from comit_ray.tables.vocabulary import Split

READ_BY_BYTES = ("files", "dicom")
"""Sources that read the files themselves; for these only new or changed files are read again."""
FEW = 10
"""Number of files that may change or go at once, however few files are known."""
_COLUMNS = [*dict.fromkeys([*COMPARED, "patient_id", "split", "split_group", "chunk", *LATE_COLUMNS])]


@dataclass(frozen=True)
class Asked:
    """The archive to update from, and the options for its new rows.

    Attributes:
        source: name of the source.
        root: URI of the archive.
        dataset: dataset of the rows.
        options: options of the source.
        split: shares and seed for new patients; None: the manifest is for screening alone, and has no splits.
        chunk_rows: most rows of a chunk.
        part_rows: most rows of a part.
        most_changed: share (0..1) of the known files that may have changed or be gone; more suggests a network share
            that is not mounted, or an archive that was copied.
        trust_listings: see `SourceFiles`.
    """

    source: str
    root: str
    dataset: str
    options: SourceOptions
    split: SplitConfig | None
    chunk_rows: int
    part_rows: int
    most_changed: float
    trust_listings: bool = True


@dataclass(frozen=True)
class Growth:
    """What an update found.

    Attributes:
        images: number of images in the manifest now, without earlier versions.
        new: number of images that were not there before.
        changed: image_id of an earlier version -> image_id of the new version.
        gone: image_ids whose file is gone.
        returned: image_ids whose file is there again.
        skipped: files that are not a row.
    """

    images: int
    new: int
    changed: dict[str, str]
    gone: tuple[str, ...]
    returned: tuple[str, ...]
    skipped: Skipped | None = None

    @property
    def any(self) -> bool:
        """Whether the manifest has changed."""
        return bool(self.new or self.changed or self.gone or self.returned)

    def describe(self) -> str:
        """Returns one line that tells a person what changed."""
        told = f"{self.new:,} new images, {len(self.changed):,} changed, {len(self.gone):,} gone"
        back = f", {len(self.returned):,} there again" if self.returned else ""
        return f"update: {told}{back}; {self.images:,} images now"


def grow(uri: str, asked: Asked, added_on: date) -> Growth:
    """Adds to the manifest at `uri` what is new in its archive, and marks what has changed or is gone.

    Args:
        uri: URI of the manifest.
        asked: the archive and its options.
        added_on: day of the new rows.

    Raises:
        ConfigError: the archive lies elsewhere than the manifest says.
        ManifestError: there is no whole manifest, too many files have changed or are gone, or another process has
            updated it meanwhile.
        StorageError: the archive cannot be listed, or the manifest not be read or written.
    """
    names, updates = manifest_updates.files(uri)
    schema = parquet.read_part(storage.join(uri, names[0]), []).schema
    content = (schema.metadata or {}).get(manifest.CONTENT)
    if content is None:
        raise ManifestError(f"{uri}: expected a manifest that comit-ray manifest wrote; write it with that")
    _check_root(uri, names, asked)
    marks = manifest_updates.marks(updates)
    columns = pa.concat_tables([manifest.read_columns(storage.join(uri, name), _COLUMNS) for name in names])
    known = known_rows(columns, marks, asked.dataset)
    files = SourceFiles(asked.root, trust_listings=asked.trust_listings, entries=_entries(known, asked))
    skipped: Skipped | None
    try:
        source = read_source(adapter(asked.source), files, asked.dataset, asked.options)
        rows, skipped = source.table, source.skipped
    except NoRowError:
        rows, skipped = MANIFEST.empty_table(), None
    fresh, changed = sorted_out(rows, known, by_rows=web.is_web(files.root))
    unseen = (row for index, row in enumerate(known.rows) if index not in known.seen)
    lost = (row["image_id"] for row in unseen if row["file_size"] is not None and row["image_id"] not in changed)
    gone = sorted(image_id for image_id in lost if image_id not in marks.gone)
    there = {known.rows[index]["image_id"] for index in known.seen}
    returned = tuple(sorted(there & marks.gone.keys()))
    _refuse_too_many(uri, len(changed), len(gone), len(known.rows) - len(marks.gone), asked.most_changed)
    new = len(fresh) - len(changed)
    growth = Growth(len(known.rows) + new, new, changed, tuple(gone), returned, skipped)
    if not growth.any:
        return growth
    parts = _write(uri, _finished(fresh, columns, asked, added_on), content, len(names), asked)
    manifest_updates.put(
        uri,
        Update(
            number=len(updates) + 1,
            added_on=added_on.isoformat(),
            base=content.decode(),
            parts=tuple(parts),
            rows=len(fresh),
            superseded=changed,
            gone=growth.gone,
            returned=returned,
        ),
    )
    return growth


def _check_root(uri: str, names: list[str], asked: Asked) -> None:
    """Refuses another archive of the same name, since all files of the known one would count as gone.

    Raises:
        ConfigError: the rows of the dataset lie below another root.
    """
    root = storage.normalise(asked.root)
    for name in names:
        rows = parquet.read_part(storage.join(uri, name), ["uri", "dataset"])
        first = rows.filter(pc.equal(rows["dataset"], asked.dataset)).slice(0, 1)["uri"].to_pylist()
        if first and not first[0].startswith(f"{root}/"):
            raise ConfigError(
                f"expected --root to be the archive that the manifest {uri} was made of, {root} is another one: its "
                f"rows of {asked.dataset!r} lie elsewhere. Make a manifest of its own, with its own --name"
            )
        if first:
            return


def _entries(known: KnownImages, asked: Asked) -> Iterator[storage.FileEntry] | None:
    """Returns the archive's listing; for sources that read the files themselves, only new and changed files."""
    if web.is_web(storage.normalise(asked.root)):
        return None
    only_new = asked.source in READ_BY_BYTES
    listed = storage.list_files(asked.root, passed_over=True)
    return (entry for entry in listed if known.passes(entry, only_new=only_new))


def _refuse_too_many(uri: str, changed: int, gone: int, known: int, most: float) -> None:
    """Refuses an update that suggests a network share that is not mounted, or an archive that was copied.

    Raises:
        ManifestError: more than `FEW` files, and more than the share `most` of the known ones, changed or are gone.
    """
    if changed + gone > max(FEW, most * known):
        raise ManifestError(
            f"{uri}: of {known:,} known files {changed:,} have changed and {gone:,} are gone, more than "
            f"--max_changed_share {most:g} allows. Is the archive mounted, or was it copied (then files have new "
            "times)? If it is right so, raise --max_changed_share"
        )


def _finished(fresh: pa.Table, there: pa.Table, asked: Asked, added_on: date) -> pa.Table:
    """Returns the new rows with split, chunk and day, validated beside the present rows."""
    day = f"{added_on.isoformat()}-"
    same_day = pc.starts_with(there["chunk"], day)
    first = len(there["chunk"].filter(same_day).unique())  # a second update of a day continues the count
    splits, groups = _sides(fresh, there, asked)
    fresh = with_columns(
        fresh,
        split=splits,
        split_group=groups,
        chunk=chunk_names(fresh, asked.chunk_rows, day, first),
        added_on=pa.array([added_on] * len(fresh), pa.date32()),
    )
    fresh = manifest.validate(fresh, "the new rows")
    taken = fresh["image_id"].filter(pc.is_in(fresh["image_id"], there["image_id"].combine_chunks()))
    if len(taken):
        raise ManifestError(f"expected every image once, {taken[0].as_py()} is there already: rename that file")
    return fresh


def _sides(fresh: pa.Table, there: pa.Table, asked: Asked) -> tuple[pa.Array, pa.Array]:
    """Returns the split and the group of look-alikes of every new row."""
    used = there.filter(pc.is_valid(there["split"]))
    known = used.filter(pc.is_valid(used["patient_id"])).select(["patient_id", "split", "split_group"])
    firsts = known.group_by("patient_id", use_threads=False).aggregate([("split", "min"), ("split_group", "max")])
    split_of = dict(zip(firsts["patient_id"].to_pylist(), firsts["split_min"].to_pylist(), strict=True))
    group_of = dict(zip(firsts["patient_id"].to_pylist(), firsts["split_group_max"].to_pylist(), strict=True))
    of_dataset = used.filter(pc.equal(used["dataset"], asked.dataset))["split"].unique().to_pylist()
    whole = of_dataset[0] if len(of_dataset) == 1 else None  # a dataset in one split stays there
    keep = asked.split is not None and bool(asked.split.keep_source)
    own: dict[str, set[str]] = {}  # patient -> splits in the source's own lists
    pairs = list(zip(fresh["patient_id"].to_pylist(), fresh["split"].to_pylist(), strict=True))
    for patient, side in pairs:
        if keep and patient is not None and side is not None:
            own.setdefault(patient, set()).add(side)
    splits: list[str | None] = []
    for (patient, _), excluded in zip(pairs, fresh["excluded"].to_pylist(), strict=True):
        if excluded is not None or asked.split is None:
            splits.append(None)
        elif patient in split_of:
            splits.append(split_of[patient])
        elif len(own.get(patient, ())) == 1:
            splits.append(next(iter(own[patient])))
        elif patient in own:
            splits.append(str(Split.TRAIN))
        else:
            splits.append(whole or (str(Split.TRAIN) if patient is None else drawn_split(patient, asked.split)))
    groups = [group_of.get(patient) for patient, _ in pairs]
    return pa.array(splits, pa.string()), pa.array(groups, pa.string())


def drawn_split(patient: str, shares: SplitConfig) -> str:
    """Returns the split of an unknown patient by a hash of seed and name, whoever else arrives the same night."""
    digest = hashlib.blake2b(f"{shares.seed}:{patient}".encode(), digest_size=8).digest()
    number = int.from_bytes(digest) / 2**64
    if number < shares.test:
        return str(Split.TEST)
    return str(Split.VAL if number < shares.test + shares.val else Split.TRAIN)


def _write(uri: str, fresh: pa.Table, content: bytes, parts: int, asked: Asked) -> list[str]:
    """Writes the new parts, whose names hold a hash of their rows; they count once the update's record names them."""
    names = []
    metadata = {**MANIFEST.metadata, manifest.BASE: content, manifest.CONFIG: asked.options.model_dump_json().encode()}
    for number, (start, stop) in enumerate(part_cuts(fresh, asked.part_rows), parts):
        rows = fresh.slice(start, stop - start)
        digest = hashlib.sha256(f"{manifest.content_hash(rows)} {rows['added_on'][0]}".encode()).hexdigest()[:12]
        names.append(f"part-{number:05d}-{digest}.parquet")
        parquet.write_table(storage.join(uri, names[-1]), rows.replace_schema_metadata(metadata))
    return names
