"""Training images in the frame of the model: decoded once, kept as Arrow columns, read in any order."""

import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images.frame import to_frame
from comit_ray.data.images.load import PLACE_COLUMNS, Place, known_exclusion, load_frame, wanted
from comit_ray.data.masks.mask_images import lung_rectangles
from comit_ray.data.masks.mask_references import referenced_files
from comit_ray.data.masks.masks import read_mask
from comit_ray.errors import DecodeError, ManifestError, Status
from comit_ray.prepare import other_pictures
from comit_ray.storage.archive import is_streamed
from comit_ray.storage.file_reader import FileReader, FileRef
from comit_ray.storage.threads import map_ahead
from comit_ray.tables.vocabulary import SCORES_OF, Split, Task, View

FETCH_THREADS = 4  # a reading task mostly waits for the storage
ROWS_HELD = 64  # frames in one table: some megabytes

LABELS = ("unhealthy", "covid", "other")
KEPT = ("image_id", "dataset", "patient_id", "view", "split", *LABELS)
"""Columns of a manifest that frames keep unchanged."""
MASKS = {Task.LUNG: "lung_mask", Task.DISEASE: "disease_mask"}
NEEDS: dict[Task, tuple[str, ...]] = {
    Task.LUNG: ("lung_mask",),
    Task.DISEASE: ("disease_mask",),
    **SCORES_OF,
}
"""Columns of the manifest that must be known for a task's switch to be on (the paper's T1..T4)."""
COLUMNS = (*KEPT, *PLACE_COLUMNS, "excluded", *MASKS.values())
"""Columns that are read from the manifest."""

FRAMES = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("dataset", pa.string()),
        pa.field("patient_id", pa.string()),
        pa.field("view", pa.string(), metadata={"meaning": "the manifest's, or the header's where it has none"}),
        pa.field("split", pa.string()),
        pa.field("left_out", pa.string(), metadata={"meaning": "why training does not want it; null: it does"}),
        pa.field("failed", pa.string(), metadata={"meaning": "reason code and sentence; null: read, or left out"}),
        pa.field("pixels", pa.binary(), metadata={"meaning": "size x size bytes, row by row; null if not read"}),
        pa.field("lung_mask", pa.binary(), metadata={"meaning": "zlib of size x size bytes: 0, 1, 255 unknown"}),
        pa.field("disease_mask", pa.binary(), metadata={"meaning": "as lung_mask"}),
        *(pa.field(label, pa.int8()) for label in LABELS),
    ]
)
"""One row for each manifest row, whether it was read, left out or failed."""


def left_out(row: dict[str, Any], tasks: Collection[str], sources: Collection[str] = ()) -> str | None:
    """Says why training leaves out a manifest row, or returns None.

    Args:
        row: `COLUMNS` of the manifest; without `view`, only `excluded` identifies a lateral view.
        tasks: heads of the model.
        sources: datasets that training must not see.
    """
    known = known_exclusion({"view": None} | row)
    if known is not None:
        return f"excluded: {known.reason}"
    if row["split"] not in (Split.TRAIN, Split.VAL):
        return f"split: {row['split'] or 'none'}"
    if row["dataset"] in sources:
        return f"source: {row['dataset']}"
    if not any(all(row[column] is not None for column in NEEDS[Task(task)]) for task in tasks):
        return "no label or mask for the model's tasks"
    return None


def slices(rows: pa.Table, size: int) -> list[pa.Table]:
    """Divides manifest rows into tables of about `size` rows; the rows of one tar.gz stay together (one pass)."""
    uris = rows.column("uri").to_pylist()
    streamed = [
        member is not None and is_streamed(uri)
        for uri, member in zip(uris, rows.column("member").to_pylist(), strict=True)
    ]
    cuts = [0]
    for at in range(1, len(uris)):
        together = streamed[at] and uris[at] == uris[at - 1]
        if at - cuts[-1] >= size and not together:
            cuts.append(at)
    return [rows.slice(start, stop - start) for start, stop in pairwise([*cuts, len(uris)])]


def frame_tables(
    manifest: pa.Table,
    frame: FrameConfig,
    limits: DecodeLimits,
    tasks: Collection[str],
    lungs: Literal["pixels", "boxes"] = "pixels",
    sources: Collection[str] = (),
    others: float = 0.0,
) -> Iterator[pa.Table]:
    """Turns manifest rows into `FRAMES` rows: fetches, decodes and resamples the wanted ones with their masks.

    A row that fails keeps its place, with the reason; no row is dropped.

    Args:
        manifest: rows with `COLUMNS`.
        frame: frame of the model.
        limits: bounds on images.
        tasks: heads of the model.
        lungs: lung masks as drawn, or as two rectangles.
        sources: datasets that training must not see.
        others: share (0 to 1) of the pictures that are no frontal chest to read (`comit_ray.prepare.other_pictures`).

    Raises:
        ManifestError: an archive does not match its checksum, so its images must not be used for training.
    """
    rows = manifest.to_pylist()
    reasons = {row["image_id"]: left_out(row, tasks, sources) for row in rows}
    read = [row for row in rows if reasons[row["image_id"]] is None]
    files = [ref for row in read for ref in (*wanted([Place.of(row)]), *_mask_files(row, tasks))]

    def frame_row(row: dict[str, Any]) -> dict[str, Any]:
        kept = {name: row[name] for name in KEPT}
        reason = reasons[row["image_id"]]
        if reason is not None:
            picture = None if row["dataset"] in sources else other_pictures.picture(row, reader, limits, others)
            pixels = {} if picture is None else {"pixels": to_frame(picture, frame).tobytes()}
            return kept | {"left_out": reason} | pixels
        try:
            return kept | _load(row, reader, frame, limits, tasks, lungs)
        except DecodeError as error:
            excluded = error.status is Status.EXCLUDED
            return kept | ({"left_out": f"excluded: {error.reason}"} if excluded else {"failed": str(error)})
        except ManifestError as error:
            return kept | {"failed": f"mask: {error}"}

    with FileReader(limits.max_bytes, files) as reader, ThreadPoolExecutor(FETCH_THREADS) as threads:
        framed = map_ahead(threads, frame_row, rows, 2 * FETCH_THREADS)
        while held := list(islice(framed, ROWS_HELD)):
            yield pa.Table.from_pylist(held, schema=FRAMES)
        for uri, checksum in {row["uri"]: row["checksum"] for row in read if Place.of(row).streamed}.items():
            problem = reader.verify_archive(uri, checksum)
            if problem is not None:
                raise ManifestError(f"{uri}: {problem.detail}; download the archive again, or write the manifest again")


def _mask_files(row: dict[str, Any], tasks: Collection[str]) -> Iterator[FileRef]:
    for task, column in MASKS.items():
        if task in tasks and row[column] is not None:
            try:
                yield from referenced_files(row[column])
            except ManifestError:
                continue  # reading the mask reports this in the row


def _load(
    row: dict[str, Any],
    reader: FileReader,
    frame: FrameConfig,
    limits: DecodeLimits,
    tasks: Collection[str],
    lungs: Literal["pixels", "boxes"],
) -> dict[str, Any]:
    image = load_frame(Place.of(row), reader, frame, limits)
    columns: dict[str, Any] = {"pixels": image.pixels_HW.tobytes()}
    if row["view"] == View.UNKNOWN:
        columns["view"] = image.view
    for task, column in MASKS.items():
        if task in tasks and row[column] is not None:
            mask = read_mask(row[column], frame, image.height, image.width, reader=reader)
            mask = lung_rectangles(mask) if task is Task.LUNG and lungs == "boxes" else mask
            columns[column] = zlib.compress(mask.tobytes(), level=1)
    return columns


_FACTS = ("image_id", "dataset", "patient_id", "view", *LABELS)


def _facts(batches: Sequence[pa.RecordBatch], split: Split) -> pa.Table:
    """Returns labels and origin of a split's frames by `image_id`, with the batch (`number`) and `row` of each."""
    tables = []
    for number, batch in enumerate(batches):
        wanted = pc.and_(
            pc.fill_null(pc.equal(batch.column("split"), str(split)), False), batch.column("pixels").is_valid()
        )
        rows = pc.indices_nonzero(pc.and_(wanted, batch.column("left_out").is_null()))
        columns = {name: batch.column(name).take(rows) for name in _FACTS}
        places = {"number": pa.array(np.full(len(rows), number, np.int32)), "row": rows.cast(pa.int32())}
        tables.append(pa.table(columns | places))
    if not tables:
        return pa.schema(
            [*(FRAMES.field(name) for name in _FACTS), ("number", pa.int32()), ("row", pa.int32())]
        ).empty_table()
    found = pa.concat_tables(tables)
    return found.take(
        pc.sort_indices(found, [("image_id", "ascending"), ("number", "ascending"), ("row", "ascending")])
    )


def _shared(column: pa.ChunkedArray) -> list[str | None]:
    """Returns the values as Python objects, equal ones as one object: repeated names take little memory."""
    encoded = column.combine_chunks().dictionary_encode()
    values = [*encoded.dictionary.to_pylist(), None]
    return [values[at] for at in encoded.indices.fill_null(len(values) - 1).to_pylist()]


class FrameStore:
    """The frames of one split, by index; the pixels stay in Arrow's memory: Ray's shared memory, or a mapped file.

    Frames are ordered by `image_id`, so an index means the same image on every worker and in every run.

    Args:
        blocks: tables of `FRAMES`; rows of other splits, left out or without pixels are skipped.
        split: train or val.
        size: side of the frame in pixels.

    Attributes:
        image_ids: id of each frame.
        datasets: dataset of each frame.
        patients: patient of each frame; None: not known.
        views: view of each frame; `unknown` if it is not known.
        labels: `unhealthy`, `covid`, `other` -> (N,) int8, 1, 0, or -1 if unknown.
        teaches: (N,) bool, whether the COVID-19 head learns from an image; `comit_ray.training.sources` decides.
        teaches_health: the same for the health head.
        groups: (N, 3) numbers of each image's group, source and class, from the same module.
    """

    def __init__(self, blocks: Iterable[pa.Table], split: Split, size: int) -> None:
        self.size = size
        self._batches = [batch for block in blocks for batch in block.to_batches()]
        found = _facts(self._batches, split)
        self.image_ids: list[str] = found["image_id"].to_pylist()
        self._numbers, self._rows = found["number"].to_numpy(), found["row"].to_numpy()
        self.datasets = [str(name) for name in _shared(found["dataset"])]
        self.patients = _shared(found["patient_id"])
        self.views = [view or str(View.UNKNOWN) for view in _shared(found["view"])]
        self.labels = {label: found[label].fill_null(-1).to_numpy().astype(np.int8) for label in LABELS}
        self.teaches = np.ones(len(self), dtype=bool)
        self.teaches_health = np.ones(len(self), dtype=bool)
        self.groups = np.zeros((len(self), 3), dtype=np.int64)

    def __len__(self) -> int:
        return len(self._rows)

    def _place(self, index: int) -> tuple[pa.RecordBatch, int]:
        return self._batches[self._numbers[index]], int(self._rows[index])

    def pixels_HW(self, index: int) -> npt.NDArray[np.uint8]:
        """Returns the frame, uint8 (size, size), read-only and not copied."""
        batch, row = self._place(index)
        column = batch.column("pixels")
        _, offsets, data = column.buffers()  # a scalar of the column would copy the pixels
        start = int(np.frombuffer(offsets, dtype=np.int32)[column.offset + row])
        area = self.size * self.size
        pixels: npt.NDArray[np.uint8] = np.frombuffer(data, dtype=np.uint8, count=area, offset=start)
        pixels.flags.writeable = False
        return pixels.reshape(self.size, self.size)

    def annotated(self, task: Task) -> npt.NDArray[np.bool_]:
        """Returns (N,) whether each frame has a lung or disease mask."""
        valid = [batch.column(MASKS[task]).is_valid().to_numpy(zero_copy_only=False) for batch in self._batches]
        return np.array([valid[number][row] for number, row in zip(self._numbers, self._rows, strict=True)], dtype=bool)

    def mask_HW(self, index: int, task: Task) -> npt.NDArray[np.uint8] | None:
        """Returns the lung or disease mask, uint8 (size, size): 0, 1, or 255 for unknown; None if there is none."""
        batch, row = self._place(index)
        packed = batch.column(MASKS[task])[row].as_py()
        if packed is None:
            return None
        return np.frombuffer(zlib.decompress(packed), dtype=np.uint8).reshape(self.size, self.size)
