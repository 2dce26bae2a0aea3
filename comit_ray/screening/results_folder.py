"""Completes a results folder: manifest rows, the review queue, and the images that nobody has read.

    images/            the screened rows of the manifest: patient, study, site, device, date, view, place
    review_queue/      which images are read, and why; `queue.csv` lists those still to be read, for a spreadsheet
    unread/            images without a score, and those that the queue has no room for; `unread.csv` likewise

All of these can be built again from the tables and the manifest.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks import run_record
from comit_ray.chunks.plan import Plan, select
from comit_ray.config.queue_config import QueueConfig
from comit_ray.data.manifest import manifest
from comit_ray.data.manifest.manifest_updates import NO_MARKS, Marks
from comit_ray.errors import REASON_WORDS, NotFoundError, Reason, Status, StorageError
from comit_ray.screening import drift, folder_guide, review_queue
from comit_ray.screening.screen_tables import stage_newest
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import REVIEW_QUEUE, SCREENED_IMAGES, UNREAD
from comit_ray.tables.staging import MEMORY_GIB, Staged, staging
from comit_ray.tables.vocabulary import REVIEW_WORDS, ReviewReason, block_words, counted, review_words

IMAGES = "images"
QUEUE_FILE = "review_queue/queue.parquet"
UNREAD_FILE = "unread/unread.parquet"
QUEUE_CSV, UNREAD_CSV = "queue.csv", "unread.csv"
BEYOND_CAPACITY = "beyond_capacity"
BEYOND_WORDS = "has a reason to be read, but exceeds the queue's capacity"
REVIEWS, WITHDRAWN = "reviews", "withdrawn"
"""Directory of the readers' verdicts beside the results (`comit_ray.reading.store`), and the withdrawn verdict."""
_PLACES = [MANIFEST.field(name) for name in ("dataset", "site", "acquired_on")]
_HEAD = ["rank", "image_id", "reasons", "score", "p_covid", "placed_by"]


def write_images(output: str, plan: Plan, split: str, marks: Marks = NO_MARKS) -> bool:
    """Copies the screened rows of the manifest to `output`/images, one file for each manifest part.

    Args:
        output: URI of the results.
        plan: plan of the screen, with the parts of the manifest.
        split: split that was asked for; `all`: every row.
        marks: what updates of the manifest say of earlier rows.

    Returns:
        Whether a file was written or deleted; files that are up to date stay.

    Raises:
        StorageError: a part cannot be read, or a file cannot be written.
    """
    folder, changed = storage.join(output, IMAGES), False
    gone = {image_id: date.fromisoformat(day) for image_id, day in marks.gone.items()}
    names = set()
    known = [name for name in SCREENED_IMAGES.names if name not in ("superseded_by", "gone_on")]
    for number, part in enumerate(plan.parts):
        name = f"part-{number:05d}.parquet"
        names.add(name)
        rows = select(manifest.read_columns(part.uri, known), split)
        ids = rows["image_id"].to_pylist()
        marked = {
            "superseded_by": [marks.superseded.get(one) for one in ids],
            "gone_on": [gone.get(one) for one in ids],
        }
        columns = [
            pa.array(marked[field.name], field.type) if field.name in marked else rows[field.name].cast(field.type)
            for field in SCREENED_IMAGES
        ]
        table = pa.Table.from_arrays(columns, schema=SCREENED_IMAGES)
        changed |= _write(storage.join(folder, name), table)
    for entry in list(storage.list_files(folder, ".parquet")):
        if entry.path not in names:
            storage.delete(storage.join(folder, entry.path))
            changed = True
    return changed


def write_queue(
    output: str,
    manifest_uri: str,
    config: QueueConfig,
    operating_point: OperatingPoint,
    memory_gib: float = MEMORY_GIB,
) -> bool:
    """Builds the queue and the list of unread images from `output`'s tables and the manifest, and writes what changed.

    Args:
        output: URI of the results.
        manifest_uri: URI of the manifest, for study, age, labels and place of each image.
        config: options of the queue.
        operating_point: the operating point that decided the flags.
        memory_gib: memory that the tables may use, in GiB; the rest goes to disk.

    Returns:
        Whether a queue was written.
    """
    drifted = drift.read(output)
    trusted = None if drifted is None else drifted.trusted
    since = None if config.since is None else date.fromisoformat(config.since)
    with staging(memory_gib) as tables, tempfile.TemporaryDirectory(prefix="comit-ray-queue-") as made:
        stage_newest(tables, output, review_queue.PREDICTED, manifest_uri, [*review_queue.KNOWN, *_PLACES])
        models = [str(row[0]) for row in tables.rows("SELECT DISTINCT model_id FROM predictions")]
        points = dict.fromkeys(models, operating_point) | kept_points(output)
        review_queue.rank(tables, config, points, trusted)
        queue = review_queue.batches(tables, trusted, read_images(output), since)
        with parquet.csv_file(f"{made}/queue.csv", _SPREADSHEET) as listed:
            rows = (_without_listed(batch, listed, points) for batch in queue)
            digest = parquet.write_batches(f"{made}/queue.parquet", rows, REVIEW_QUEUE)
        written = _put(storage.join(output, QUEUE_FILE), f"{made}/queue.parquet", digest)
        storage.write_file(storage.join(output, QUEUE_CSV), f"{made}/queue.csv")
        digest = parquet.write_batches(f"{made}/unread.parquet", unread_images(tables), UNREAD)
        new = _put(storage.join(output, UNREAD_FILE), f"{made}/unread.parquet", digest)
        if new or not storage.exists(storage.join(output, UNREAD_CSV)):
            with parquet.csv_file(f"{made}/unread.csv", UNREAD) as add:
                for piece in parquet.read_pieces(f"{made}/unread.parquet", UNREAD.names):
                    add(piece)
            storage.write_file(storage.join(output, UNREAD_CSV), f"{made}/unread.csv")
    folder_guide.write(output)
    return written


def _put(uri: str, path: str, digest: str) -> bool:
    """Copies a local file with this SHA-256 to `uri` unless the same file is there; returns whether it was copied."""
    try:
        if parquet.check_part(uri).sha256 == digest:
            return False
    except (NotFoundError, StorageError):  # there is none yet, or it is incomplete
        pass
    storage.write_file(uri, path)
    return True


def kept_points(output: str) -> dict[str, OperatingPoint]:
    """Returns model_id -> operating point of earlier models whose rows were kept.

    Raises:
        StorageError: the record of the run cannot be read.
    """
    try:
        kept = run_record.read(output).get("kept_models", [])
    except NotFoundError:
        return {}
    points = {str(old["model_id"]): old["operating_point"] for old in kept}
    return {name: OperatingPoint(str(point["name"]), point["thresholds"]) for name, point in points.items()}


def read_images(output: str) -> frozenset[str]:
    """Returns the image_ids for which at least one reader has a verdict that was not withdrawn.

    Raises:
        StorageError: the verdicts cannot be read.
    """
    uri = storage.join(output, REVIEWS)
    try:
        names = [entry.path for entry in storage.list_files(uri, ".parquet")]
    except NotFoundError:
        return frozenset()
    newest: dict[str, str] = {}
    for name in sorted(names):  # READER-IMAGE-REVISION: a reader's last verdict on an image counts
        newest[name.rpartition("-")[0]] = name
    wanted = ["image_id", "verdict"]
    tables = [parquet.read_part(storage.join(uri, name), wanted) for name in newest.values()]
    rows = (row for table in tables for row in table.to_pylist())
    return frozenset(row["image_id"] for row in rows if row["verdict"] != WITHDRAWN)


def unread_images(tables: Staged) -> Iterator[pa.RecordBatch]:
    """Lists the images that nobody reads: images without a score, and images that the capacity left out of the queue.

    Args:
        tables: staged tables after `comit_ray.screening.review_queue.rank`.

    Returns:
        Batches of `UNREAD`: images with a score first, highest score first; then failures, then exclusions.
    """
    codes = [str(row[0]) for row in tables.rows("SELECT DISTINCT reason FROM predictions WHERE reason IS NOT NULL")]
    codes = sorted({*codes, BEYOND_CAPACITY})
    tables.add_batches("whys", pa.table({"code": codes, "why": [in_words(code) for code in codes]}))
    own = {"image_id": "p.image_id", "path": "m.uri || coalesce('!' || m.member, '')", "status": "p.status"}
    own |= {"reason": "w.code", "why": "w.why", "detail": "p.detail", "score": "a.score", "queue_rank": "r.rank"}
    columns = ", ".join(f"{own.get(name, f'm.{name}')} AS {name}" for name in UNREAD.names)
    order = " ".join(f"WHEN '{status}' THEN {at}" for at, status in enumerate((Status.OK, Status.FAILED)))
    yield from tables.batches(
        f"SELECT {columns} FROM predictions p LEFT JOIN manifest m USING (image_id) "  # noqa: S608 no user input
        f"LEFT JOIN (SELECT * FROM asked WHERE reasons <> {review_queue.RANDOM}) a ON a.row = p.rowid "
        "LEFT JOIN ranked r ON r.row = p.rowid "
        f"JOIN whys w ON w.code = coalesce(p.reason, '{BEYOND_CAPACITY}') "
        f"WHERE p.status <> '{Status.OK}' OR NOT a.chosen "
        f"ORDER BY CASE p.status {order} ELSE 2 END, a.score DESC NULLS LAST, w.code, p.image_id",
        UNREAD,
    )


@cache
def in_words(reason: str) -> str:
    """Returns a reason code of a table in words; an unknown code is returned unchanged."""
    if reason == BEYOND_CAPACITY:
        return BEYOND_WORDS
    if reason in set(Reason):
        return REASON_WORDS[Reason(reason)]
    return REVIEW_WORDS[ReviewReason(reason)] if reason in set(ReviewReason) else reason


def queue_head(output: str, count: int) -> tuple[pa.Table, int]:
    """Returns the first `count` rows of the queue (rank, image_id, reasons, score, p_covid, placed_by), and its number.

    Raises:
        StorageError: the queue cannot be read.
    """
    head, rows = REVIEW_QUEUE.empty_table().select(_HEAD), 0
    for piece in parquet.read_pieces(storage.join(output, QUEUE_FILE), _HEAD):
        if head.num_rows < count:
            if "placed_by" not in piece.column_names:  # a queue of an older version
                piece = piece.append_column("placed_by", pa.nulls(len(piece), pa.string()))
            head = pa.concat_tables([head, piece.select(_HEAD).cast(head.schema)]).slice(0, count)
        rows += piece.num_rows
    return head, rows


def wants_sample(output: str) -> bool:
    """Returns whether a random sample has to be read first: flags are not trusted, and they still order the queue.

    Raises:
        StorageError: the queue or drift.json cannot be read.
    """
    if drift.flags_trusted(output):
        return False
    head, _ = queue_head(output, 1)
    return not any(ReviewReason.FLAGS_UNTRUSTED in reasons for reasons in head["reasons"].to_pylist())


def unread_lines(output: str) -> list[str]:
    """Says what the readers get and what stays unread, as sentences for the summary of a screen.

    Raises:
        StorageError: the tables of the queue cannot be read.
    """
    queued = sum(piece.num_rows for piece in parquet.read_pieces(storage.join(output, QUEUE_FILE), ["rank"]))
    counts: Counter[tuple[str, bool]] = Counter()
    for piece in parquet.read_pieces(storage.join(output, UNREAD_FILE), ["status", "queue_rank"]):
        counts.update(zip(piece["status"].to_pylist(), piece["queue_rank"].is_null().to_pylist(), strict=True))
    beyond = counts[Status.OK, True] + counts[Status.OK, False]
    failed, excluded = counts[Status.FAILED, True], counts[Status.EXCLUDED, True]
    untrusted = wants_sample(output)
    read = f"read the {counted(queued, 'image')} of queue.csv"
    if untrusted:
        read = f"queue.csv has {counted(queued, 'image')}, ordered by flags that are not trusted"
    if beyond:
        parts = f"{beyond:,} with a reason but beyond --queue.capacity, {failed:,} failed"
        lines = [f"{read}; left unread: {counted(beyond + failed, 'image')} ({parts})"]
    else:
        left = f"; left unread: {counted(failed, 'failed image')}" if failed else ""
        # Of images in random order, none is the most urgent.
        hint = "; --queue.capacity N keeps the N most urgent" if drift.flags_trusted(output) else ""
        lines = [f"{read}{'' if untrusted else ', all with a reason'}{left}{hint}"]
    if excluded:
        lines.append(f"not scored and not in the queue: {counted(excluded, 'excluded image')}")
    if beyond + failed + excluded:
        lines.append("unread.csv lists the paths of all unread images")
    return lines


def other_picture_lines(output: str) -> list[str]:
    """Says in one sentence how many images of the queue do not look like a frontal chest; empty if there are none.

    Raises:
        StorageError: the queue cannot be read.
    """
    count = 0
    for piece in parquet.read_pieces(storage.join(output, QUEUE_FILE), ["reasons"]):
        found = pc.list_flatten(piece["reasons"])
        count += pc.sum(pc.equal(found, str(ReviewReason.NOT_A_FRONTAL_CHEST))).as_py() or 0
    if not count:
        return []
    return [
        f"probably no frontal chest: {count:,} of them (lateral, CT slice, other body part); their scores mean nothing"
    ]


def _without_listed(
    batch: pa.RecordBatch, add: Callable[[pa.Table], None], points: Mapping[str, OperatingPoint]
) -> pa.RecordBatch:
    """Returns a piece of the queue without the column `listed`, and adds its listed rows to the CSV."""
    table = pa.Table.from_batches([batch])
    add(_for_a_spreadsheet(table.filter(table["listed"]).select(REVIEW_QUEUE.names), points))
    return batch.select(REVIEW_QUEUE.names)


def _times_threshold(queue: pa.Table, points: Mapping[str, OperatingPoint]) -> pa.Array:
    """Returns each score divided by the threshold that decides its flag; null without a score or a threshold."""
    found = []
    for value, covid, model in zip(
        *(queue[name].to_pylist() for name in ("score", "p_covid", "model_id")), strict=True
    ):
        threshold = points[model].thresholds.get("unhealthy" if covid is None else "covid") if model in points else None
        found.append(value / threshold if value is not None and threshold else None)
    return pa.array(found, pa.float64())


def _for_a_spreadsheet(queue: pa.Table, points: Mapping[str, OperatingPoint]) -> pa.Table:
    """Returns the queue with reasons in words and scores over their thresholds, without lists, which CSV lacks."""
    with_covid = pc.or_(queue["p_covid"].is_valid(), queue["p_unhealthy"].is_null()).to_pylist()
    told = [
        "; ".join(review_words(reasons, covid))
        for reasons, covid in zip(queue["reasons"].to_pylist(), with_covid, strict=True)
    ]
    codes = ["; ".join(reasons) for reasons in queue["reasons"].to_pylist()]
    index = queue.schema.get_field_index("reasons")
    table = queue.set_column(index, "reasons", pa.array(codes, pa.string()))
    table = table.add_column(index, "why", pa.array(told, pa.string()))
    blocks = [
        None if placed_by is None else block_words(placed_by, covid)
        for placed_by, covid in zip(queue["placed_by"].to_pylist(), with_covid, strict=True)
    ]
    table = table.add_column(index, "block", pa.array(blocks, pa.string()))
    after_score = table.schema.get_field_index("score") + 1
    return table.add_column(after_score, "times_threshold", pc.round(_times_threshold(queue, points), 2))


_SPREADSHEET = _for_a_spreadsheet(REVIEW_QUEUE.empty_table(), {}).schema


def _write(uri: str, table: pa.Table) -> bool:
    """Writes a table unless the same table is there already; returns whether it was written."""
    try:
        there = parquet.read_part(uri)
        if there.schema.equals(table.schema) and there.equals(table):
            return False
    except (NotFoundError, StorageError):  # there is none yet, or it is incomplete
        pass
    parquet.write_table(uri, table)
    return True
