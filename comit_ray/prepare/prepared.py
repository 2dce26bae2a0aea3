"""The training table of the job `prepare`: images decoded once with their masks, and frames made from it.

`OUTPUT/images/*.parquet` has one row for every row of the manifest (`comit_ray.tables.manifest_schema.PREPARED`), and
`OUTPUT/run.json` names the manifest. Pixels are those of `comit_ray.data.images.frame.shrink`, so a frame made from
them is, bit for bit, the frame that screening makes from the original.
"""

import io
import json
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from comit_ray.config.image_config import FrameConfig
from comit_ray.data.images.frame import to_frame
from comit_ray.data.masks.mask_images import Mask, lung_rectangles
from comit_ray.data.masks.masks import fit_mask, read_mask
from comit_ray.errors import ManifestError, NotFoundError, Reason, Status
from comit_ray.prepare import other_pictures
from comit_ray.prepare.frames import FRAMES, KEPT, MASKS, left_out
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import PREPARED
from comit_ray.tables.vocabulary import Split, Task, counted

TABLE = "images"
KIND = "prepare"
ROW_GROUP_ROWS = 64
"""Rows that are read together: some megabytes."""
_COLUMNS = [*KEPT, "status", "reason", "detail", "height", "width", "pixels"]
_MASK_COLUMNS = {Task.LUNG: ("lung_mask", "lung_png"), Task.DISEASE: ("disease_mask", "disease_png")}


@dataclass(frozen=True)
class PreparedTable:
    """A complete training table.

    Attributes:
        parts: URIs of its files.
        rows: number of images, whatever their status.
        training_hash: `comit_ray.data.manifest.manifest.training_hash` of its manifest.
    """

    parts: tuple[str, ...]
    rows: int
    training_hash: str


def open_prepared(uri: str) -> PreparedTable | None:
    """Opens the training table at `uri`; returns None for anything else, such as a manifest.

    Raises:
        ManifestError: it is incomplete, or holds images of an archive that does not match its checksum.
        StorageError: it cannot be read.
    """
    try:
        question = json.loads(storage.read_bytes(storage.join(uri, "run.json")))["question"]
    except (NotFoundError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(question, dict) or question.get("kind") != KIND:
        return None
    try:
        parts = parquet.parts(storage.join(uri, TABLE))
    except NotFoundError:
        parts = []
    rows = sum(parquet.count_rows(part) for part in parts)
    if rows != question["rows"]:
        raise ManifestError(
            f"{uri} holds {rows:,} of {counted(question['rows'], 'image')}: run comit-ray prepare again to add the rest"
        )
    _check_archives(uri, parts)
    return PreparedTable(tuple(parts), rows, str(question["training_hash"]))


def _check_archives(uri: str, parts: list[str]) -> None:
    """Refuses a table with images that are ok from an archive whose checksum is wrong: its run did not end."""
    wrong: set[str] = set()
    taken: set[str] = set()
    for part in parts:
        rows = parquet.read_part(part, ["image_id", "status", "reason"])
        members = rows.filter(pc.match_substring(rows["image_id"], "!"))
        for row in members.to_pylist():
            archive = row["image_id"].partition("!")[0]
            if row["reason"] == Reason.CHECKSUM_MISMATCH:
                wrong.add(archive)
            elif row["status"] == Status.OK:
                taken.add(archive)
    if wrong & taken:
        raise ManifestError(
            f"{uri} holds images of {min(wrong & taken)}, which does not match the checksum of its dataset: run "
            "comit-ray prepare again, which marks them as failed"
        )


def encode(pixels_HW: npt.NDArray[np.uint8], coding: Literal["png", "webp"]) -> bytes:
    """Encodes grey pixels as a lossless image."""
    buffer = io.BytesIO()
    if coding == "png":
        Image.fromarray(pixels_HW).save(buffer, "PNG")
    else:
        Image.fromarray(pixels_HW).convert("RGB").save(buffer, "WEBP", lossless=True, exact=True)
    return buffer.getvalue()


def decode_stored(data: bytes) -> npt.NDArray[np.uint8]:
    """Decodes the PNG or WebP image of `encode`."""
    with Image.open(io.BytesIO(data), formats=["PNG", "WEBP"]) as image:
        return np.array(image.convert("L"))


def frame_tables(
    part: str,
    frame: FrameConfig,
    tasks: Collection[str],
    lungs: Literal["pixels", "boxes"],
    sources: Collection[str] = (),
) -> Iterator[pa.Table]:
    """Turns one file of the training table into `FRAMES` rows, one row group at a time.

    Args:
        part: URI of the file.
        frame: frame of the model.
        tasks: heads of the model.
        lungs: lung masks as drawn, or as two rectangles.
        sources: datasets that training must not see.

    Raises:
        StorageError: the file cannot be read.
    """
    columns = _COLUMNS + [column for task, pair in _MASK_COLUMNS.items() if task in tasks for column in pair]
    with storage.open_file(part) as stream:
        file = pq.ParquetFile(stream, page_checksum_verification=True)
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, columns=columns).to_pylist()
            yield pa.Table.from_pylist([_frame_row(row, frame, tasks, lungs, sources) for row in rows], schema=FRAMES)


def frames_of_parts(batch: pa.Table, **options: Any) -> Iterator[pa.Table]:
    """Runs `frame_tables` on every file in the column `part`; it stands here so that its task does not import torch."""
    for part in batch["part"].to_pylist():
        yield from frame_tables(part, **options)


def _frame_row(
    row: dict[str, Any],
    frame: FrameConfig,
    tasks: Collection[str],
    lungs: Literal["pixels", "boxes"],
    sources: Collection[str],
) -> dict[str, Any]:
    kept = {name: row[name] for name in KEPT}
    wanted = row["split"] in (Split.TRAIN, Split.VAL) and row["dataset"] not in sources
    if row["status"] == Status.FAILED and wanted:
        return kept | {"failed": f"{row['reason']}: {row['detail']}"}
    excluded = row["reason"] if row["status"] == Status.EXCLUDED or row["split"] is None else None
    known = {column: row.get(column) or row.get(png) for column, png in _MASK_COLUMNS.values()}
    reason = left_out(row | known | {"excluded": excluded}, tasks, sources)
    if reason is not None:
        shown = excluded in other_pictures.REASONS and row["pixels"] is not None and row["dataset"] not in sources
        pixels = {"pixels": to_frame(decode_stored(row["pixels"]), frame).tobytes()} if shown else {}
        return kept | {"left_out": reason} | pixels
    columns: dict[str, Any] = {"pixels": to_frame(decode_stored(row["pixels"]), frame).tobytes()}
    for task, column in MASKS.items():
        if task in tasks and known[column] is not None:
            mask = _mask(row, task, frame)
            mask = lung_rectangles(mask) if task is Task.LUNG and lungs == "boxes" else mask
            columns[column] = zlib.compress(mask.tobytes(), level=1)
    return kept | columns


def _mask(row: dict[str, Any], task: Task, frame: FrameConfig) -> Mask:
    column, png = _MASK_COLUMNS[task]
    if row[column] is not None:
        return read_mask(row[column], frame, row["height"], row["width"])
    return fit_mask(decode_stored(row[png]), frame, row["height"], row["width"])


def describe(uri: str) -> str:
    """Returns a table of images by dataset, status and reason, with masks and megabytes, as text to print."""
    columns = ["dataset", "status", "reason", "pixels", "lung_mask", "lung_png", "disease_mask", "disease_png"]
    tables = []
    for part in parquet.parts(storage.join(uri, TABLE)):
        rows = parquet.read_part(part, columns)
        tables.append(
            pa.table(
                {
                    "dataset": rows["dataset"],
                    "status": rows["status"],
                    "reason": pc.fill_null(rows["reason"], "-"),
                    "images": pa.array(np.ones(rows.num_rows, np.int64)),
                    "lungs": _known(rows, "lung_mask", "lung_png"),
                    "disease": _known(rows, "disease_mask", "disease_png"),
                    "MB": pc.divide(pc.cast(pc.fill_null(pc.binary_length(rows["pixels"]), 0), pa.float64()), 1e6),
                }
            )
        )
    sums = [(name, "sum") for name in ("images", "lungs", "disease", "MB")]
    frame = pa.concat_tables(tables).group_by(["dataset", "status", "reason"]).aggregate(sums).to_pandas()
    frame.columns = [str(name).removesuffix("_sum") for name in frame.columns]
    frame = frame[["dataset", "status", "reason", "images", "lungs", "disease", "MB"]]
    return str(frame.sort_values(["dataset", "status", "reason"]).round({"MB": 1}).to_string(index=False))


def _known(rows: pa.Table, *columns: str) -> pa.Array:
    either = pc.or_(*(pc.is_valid(rows[column]) for column in columns))
    return pc.cast(either, pa.int64())


assert set(_COLUMNS) <= set(PREPARED.names)
