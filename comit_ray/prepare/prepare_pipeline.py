"""The job `prepare` as a Ray Data graph: manifest parts, decoded and reduced chunks, committed files.

Each manifest row becomes a row of the training table: its image is fetched, decoded and shrunken, with its masks.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal

import pyarrow as pa

from comit_ray.chunks import graph
from comit_ray.chunks.attempts import Attempts
from comit_ray.chunks.graph import READ_MEMORY, WRITE_CPUS, WRITE_MEMORY, Commit, ReadParts, ReadSettings
from comit_ray.chunks.ownership import Owner
from comit_ray.chunks.plan import Layout, Plan
from comit_ray.chunks.progress import Counters
from comit_ray.config.image_config import DecodeLimits
from comit_ray.config.prepare_config import PrepareConfig
from comit_ray.data.images.frame import shrink
from comit_ray.data.images.load import PLACE_COLUMNS, Place, known_exclusion, load_shrunken
from comit_ray.data.masks.mask_references import referenced_files
from comit_ray.data.masks.masks import draw_mask, needs_no_file
from comit_ray.errors import DecodeError, ManifestError, Reason, Status
from comit_ray.prepare import other_pictures
from comit_ray.prepare.prepared import ROW_GROUP_ROWS, TABLE, encode
from comit_ray.storage import storage
from comit_ray.storage.file_reader import FileReader, FileRef
from comit_ray.tables import arrays
from comit_ray.tables.manifest_schema import MANIFEST, PREPARED
from comit_ray.tables.vocabulary import View

FACTS = tuple(name for name in PREPARED.names if name in MANIFEST.names and not name.endswith("_mask"))
"""Columns that are copied from the manifest."""
MANIFEST_COLUMNS = [*FACTS, *PLACE_COLUMNS, "excluded", "lung_mask", "disease_mask", "chunk"]
"""Columns that are read from the manifest."""
LAYOUT = Layout(main=TABLE, facts=FACTS, row_group_rows=ROW_GROUP_ROWS)


def prepare_row(
    row: dict[str, Any], reader: FileReader, limits: DecodeLimits, coding: Literal["png", "webp"], others: float = 0.0
) -> dict[str, Any]:
    """Turns a manifest row into a `PREPARED` row; never raises an error for the content of its files.

    Args:
        row: row of the manifest.
        reader: reader of its files.
        limits: bounds on images.
        coding: format of the stored pixels.
        others: share (0 to 1) of pictures that are no frontal chest to keep (`comit_ray.prepare.other_pictures`).
    """
    known = known_exclusion(row)
    if known is not None:
        picture = other_pictures.picture(row, reader, limits, others)
        kept = {} if picture is None else {"pixels": encode(shrink(picture), coding)}
        return fail_row(row, known) | kept
    try:
        radiograph = load_shrunken(Place.of(row), reader, limits)
        masks = _masks(row, reader, radiograph.height, radiograph.width)
    except DecodeError as error:
        return fail_row(row, error)
    except ManifestError as error:
        return fail_row(row, DecodeError(Reason.BAD_MASK, str(error)))
    facts = {name: row[name] for name in FACTS}
    view = row["view"] if row["view"] != View.UNKNOWN else str(radiograph.view)
    return (
        facts
        | masks
        | {
            "view": view,
            "status": str(Status.OK),
            "height": radiograph.height,
            "width": radiograph.width,
            "pixels": encode(radiograph.pixels_HW, coding),
        }
    )


def fail_row(row: dict[str, Any], error: DecodeError) -> dict[str, Any]:
    """Turns a manifest row that cannot or must not be used for training into a `PREPARED` row with its reason."""
    facts = {name: row[name] for name in FACTS}
    return facts | {"status": str(error.status), "reason": str(error.reason), "detail": error.detail}


def to_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Builds a table of `PREPARED` from the rows of `prepare_row` and `fail_row`."""
    columns = {field.name: pa.array([row.get(field.name) for row in rows], field.type) for field in PREPARED}
    return arrays.table(columns, PREPARED, len(rows))


def wanted_masks(row: dict[str, Any]) -> Iterator[FileRef]:
    """Yields the files that a row's masks need; none for a row that is not read or has a malformed reference."""
    if known_exclusion(row) is not None:
        return
    for column in ("lung_mask", "disease_mask"):
        if row[column] is not None:
            try:
                yield from referenced_files(row[column])
            except ManifestError:
                continue  # `prepare_row` reports this in the row


def _masks(row: dict[str, Any], reader: FileReader, height: int, width: int) -> dict[str, Any]:
    """Reads the masks: boxes stay boxes, exact in any frame; other masks become PNG of the size drawn."""
    columns: dict[str, Any] = {}
    for task in ("lung", "disease"):
        reference = row[f"{task}_mask"]
        if reference is None:
            continue
        if needs_no_file(reference):
            columns[f"{task}_mask"] = reference
        else:
            columns[f"{task}_png"] = encode(draw_mask(reference, height, width, reader=reader), "png")
    return columns


DECODE_CPUS = 1.0  # decoding is the main work; no later stage waits for a CPU

STEP = "prepare"
"""Name of the job, for its counters."""


def prepare(
    config: PrepareConfig, plan: Plan, owner: Owner, begun: frozenset[str] = frozenset(), others: float = 0.0
) -> None:
    """Prepares the chunks of `plan` on the Ray cluster to which this process is connected.

    Args:
        config: options of the job.
        plan: the chunks that remain.
        owner: the run that the files belong to.
        begun: names of files that exist already; rows in them that are ok are not replaced by failures.
        others: share (0 to 1) of the pictures that are no frontal chest to keep.

    Raises:
        ray.exceptions.RayError: a task failed more often than Ray retries it.
    """
    counters = Counters(STEP)
    share = graph.cpu_share(DECODE_CPUS + WRITE_CPUS)
    memory = graph.memory_share(READ_MEMORY + WRITE_MEMORY)
    settings = ReadSettings(
        columns=MANIFEST_COLUMNS,
        split="all",
        read=partial(prepare_row, limits=config.decode, coding=config.format, others=others),
        fail=fail_row,
        to_table=to_table,
        threads=config.threads,
        max_bytes=config.decode.max_bytes,
        name=LAYOUT.main,
        also_wanted=wanted_masks,
    )
    with graph.chunk_context():
        prepared = graph.read(plan, ReadParts(settings, counters, Attempts()), DECODE_CPUS * share, memory)
        graph.write(prepared, Commit(storage.normalise(config.output), LAYOUT, counters, owner, begun), share, memory)
