"""Makes a results folder complete: manifest rows, the review queue, and what nobody has read.

images/            the screened rows of the manifest: patient, study, site, device, date, view, place
review_queue/      who is read, and why; `queue.csv` has what of it is still to be read, for a spreadsheet
unread/            images without a score, and those that the queue has no room for; likewise `unread.csv`
"""

from datetime import date

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks import run_record
from comit_ray.chunks.plan import Plan, select
from comit_ray.config.queue_config import QueueConfig
from comit_ray.data.manifest import manifest
from comit_ray.data.manifest.manifest_updates import NO_MARKS, Marks
from comit_ray.errors import REASON_WORDS, NotFoundError, Reason, Status, StorageError
from comit_ray.screening import drift
from comit_ray.screening.nights import build_nights, read_images, to_read
from comit_ray.screening.review_queue import MANIFEST_COLUMNS
from comit_ray.screening.screen_tables import read_predictions
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.schema import SCREENED_IMAGES, UNREAD
from comit_ray.tables.vocabulary import REVIEW_WORDS, ReviewReason

IMAGES = "images"
QUEUE_FILE = "review_queue/queue.parquet"
UNREAD_FILE = "unread/unread.parquet"
QUEUE_CSV, UNREAD_CSV = "queue.csv", "unread.csv"
BEYOND_CAPACITY = "beyond_capacity"
BEYOND_WORDS = "has a reason to be read, but the queue had no room for it"
_PLACES = [*dict.fromkeys([*MANIFEST_COLUMNS, "dataset", "site", "acquired_on"])]


def write_images(output: str, plan: Plan, split: str, marks: Marks = NO_MARKS) -> bool:
    """Copy the screened rows of the manifest to `output`/images, a file for each of its parts.

    Args:
        output: URI of the results.
        plan: of the screen: the manifest's parts.
        split: which rows were asked for; `all`: every one.
        marks: what updates of the manifest say of earlier rows.

    Returns:
        Whether a file was written or deleted; files that are right already stay.

    Raises:
        StorageError: a part cannot be read, or a file not be written.
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


def write_queue(output: str, manifest_uri: str, config: QueueConfig, operating_point: OperatingPoint) -> bool:
    """Build the queue and the list of unread images from `output`'s tables and the manifest; write what is new.

    Args:
        output: URI of the results.
        manifest_uri: URI of the manifest, for study, age, labels and place of each image.
        config: options of the queue.
        operating_point: the one that decided the flags.

    Returns:
        Whether a queue was written.
    """
    predictions, rows = read_predictions(output), _rows(manifest_uri)
    drifted = drift.read(output)
    trusted = None if drifted is None else drifted.trusted
    points = dict.fromkeys(predictions["model_id"].unique().to_pylist(), operating_point) | kept_points(output)
    queue = build_nights(predictions, rows, config, points, trusted)
    everything = config.model_copy(update={"capacity": None})
    whole = queue if config.capacity is None else build_nights(predictions, rows, everything, points, trusted)
    unread = unread_images(predictions, rows, queue, whole)
    written = _write(storage.join(output, QUEUE_FILE), queue)
    left = to_read(queue, rows, read_images(output), None if config.since is None else date.fromisoformat(config.since))
    parquet.write_csv(storage.join(output, QUEUE_CSV), _for_a_spreadsheet(left))
    if _write(storage.join(output, UNREAD_FILE), unread) or not storage.exists(storage.join(output, UNREAD_CSV)):
        parquet.write_csv(storage.join(output, UNREAD_CSV), unread)
    return written


def kept_points(output: str) -> dict[str, OperatingPoint]:
    """The operating points of earlier models whose rows were kept, by model_id.

    Raises:
        StorageError: the record of the run cannot be read.
    """
    try:
        kept = run_record.read(output).get("kept_models", [])
    except NotFoundError:
        return {}
    points = {str(old["model_id"]): old["operating_point"] for old in kept}
    return {name: OperatingPoint(str(point["name"]), point["thresholds"]) for name, point in points.items()}


def _rows(manifest_uri: str) -> pa.Table:
    """The manifest's rows with what the queue needs of them; of files that have changed only the newest version's."""
    parts = manifest.part_uris(manifest_uri)
    rows = pa.concat_tables([manifest.read_columns(part, [*_PLACES, "added_on"]) for part in parts])
    old = pa.array(list(manifest.read_marks(manifest_uri).superseded), pa.string())
    return rows.filter(pc.invert(pc.is_in(rows["image_id"], old))) if len(old) else rows


def unread_images(predictions: pa.Table, rows: pa.Table, queue: pa.Table, whole: pa.Table) -> pa.Table:
    """What nobody has read: images without a score, and images that the capacity left out of the queue.

    Args:
        predictions: the `predictions` table.
        rows: of the manifest.
        queue: the review queue.
        whole: the review queue without a capacity.

    Returns:
        An `UNREAD` table: what has a score first, highest first; then failures, then exclusions.
    """
    ranks = dict(zip(queue["image_id"].to_pylist(), queue["rank"].to_pylist(), strict=True))
    asked = whole.filter(
        pc.invert(pc.equal(pc.list_element(whole["reasons"], 0), str(ReviewReason.RANDOM_NEGATIVE)))
    ).select(["image_id", "score"])
    scores = dict(zip(asked["image_id"].to_pylist(), asked["score"].to_pylist(), strict=True))
    images = predictions.select(["image_id", "status", "reason", "detail"]).to_pandas()
    left_out = images["image_id"].isin([name for name in scores if name not in ranks])
    images = images[(images["status"] != Status.OK) | left_out]
    wanted = [name for name in (*UNREAD.names, "uri", "member") if name in rows.column_names]
    places = rows.select(wanted)
    places = places.filter(pc.is_in(places["image_id"], pa.array(images["image_id"], pa.string())))
    days = dict(zip(places["image_id"].to_pylist(), places["acquired_on"].to_pylist(), strict=True))
    images = images.merge(places.drop_columns(["acquired_on"]).to_pandas(), on="image_id", how="left")
    images["acquired_on"] = pd.Series([days.get(name) for name in images["image_id"]], dtype=object)
    images["path"] = images["uri"] + ("!" + images["member"]).fillna("").astype(str)
    images["reason"] = images["reason"].fillna(BEYOND_CAPACITY)
    images["why"] = [in_words(reason) for reason in images["reason"]]
    images["score"] = pd.Series([scores.get(name) for name in images["image_id"]], dtype=float)
    images["queue_rank"] = pd.Series([ranks.get(name) for name in images["image_id"]], dtype="Int32")
    order = images["status"].map({Status.OK: 0, Status.FAILED: 1, Status.EXCLUDED: 2})
    images = images.assign(order=order).sort_values(
        ["order", "score", "reason", "image_id"], ascending=[True, False, True, True], kind="stable"
    )
    return pa.Table.from_pandas(images[UNREAD.names], schema=UNREAD, preserve_index=False).replace_schema_metadata(
        UNREAD.metadata
    )


def in_words(reason: str) -> str:
    """A reason code of a table in words; of a code that is not known, the code itself."""
    if reason == BEYOND_CAPACITY:
        return BEYOND_WORDS
    if reason in set(Reason):
        return REASON_WORDS[Reason(reason)]
    return REVIEW_WORDS[ReviewReason(reason)] if reason in set(ReviewReason) else reason


def unread_lines(output: str) -> list[str]:
    """What the readers get and what stays unread: sentences for the summary of a screen.

    Raises:
        StorageError: the tables of the queue cannot be read.
    """
    queue = parquet.read_part(storage.join(output, QUEUE_FILE), ["image_id"])
    unread = parquet.read_part(storage.join(output, UNREAD_FILE), ["status", "queue_rank"]).to_pandas()
    beyond = int((unread["status"] == Status.OK).sum())
    outside = unread[unread["queue_rank"].isna()]
    failed, excluded = (int((outside["status"] == status).sum()) for status in (Status.FAILED, Status.EXCLUDED))
    lines = []
    if beyond:
        lines.append(
            f"read these {len(queue):,} (queue.csv); {beyond + failed:,} flagged or failed remain unread: {beyond:,} "
            f"with a reason beyond --queue.capacity, {failed:,} failed"
        )
    else:
        lines.append(
            f"read these {len(queue):,} (queue.csv), all with a reason; --queue.capacity N keeps the N most urgent; "
            f"{failed:,} failed remain unread"
        )
    lines.append(f"{excluded:,} excluded were not scored either; unread.csv has the paths of all unread images")
    return lines


def other_picture_lines(output: str) -> list[str]:
    """How many images of the queue look like no frontal chest: one sentence; none where there is none.

    Raises:
        StorageError: the queue cannot be read.
    """
    queue = parquet.read_part(storage.join(output, QUEUE_FILE), ["reasons"])
    count = sum(str(ReviewReason.NOT_A_FRONTAL_CHEST) in reasons for reasons in queue["reasons"].to_pylist())
    if not count:
        return []
    return [
        f"{count:,} of them look like no frontal chest (a lateral, a CT slice, another part): their scores say nothing"
    ]


def _for_a_spreadsheet(queue: pa.Table) -> pa.Table:
    """The queue with its reasons in words, and without lists, which CSV has not."""
    told = ["; ".join(in_words(reason) for reason in reasons) for reasons in queue["reasons"].to_pylist()]
    codes = ["; ".join(reasons) for reasons in queue["reasons"].to_pylist()]
    index = queue.schema.get_field_index("reasons")
    table = queue.set_column(index, "reasons", pa.array(codes, pa.string()))
    return table.add_column(index, "why", pa.array(told, pa.string()))


def _write(uri: str, table: pa.Table) -> bool:
    """Write a table unless the same is there already; whether it was written."""
    try:
        there = parquet.read_part(uri)
        if there.schema.equals(table.schema) and there.equals(table):
            return False
    except (NotFoundError, StorageError):  # none yet, or not whole
        pass
    parquet.write_table(uri, table)
    return True
