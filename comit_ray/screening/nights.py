"""Builds the queue of a programme night by night: new images follow those that were queued before.

A night is a day on which rows came into the manifest (`added_on`). Each night's images are ranked as a screen of them
alone would rank them, and follow those of the nights before. So nothing that comes later moves an image, and the queue
can be made again from the tables at any time. The capacity counts for a night. What readers have read stays in the
table, for what is estimated from verdicts needs all that was queued; it is left out of the list of what is to be read.
"""

from collections.abc import Mapping
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.config.queue_config import QueueConfig
from comit_ray.errors import NotFoundError
from comit_ray.screening.mask_choice import random_number
from comit_ray.screening.review_queue import build_queue
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.schema import REVIEW_QUEUE
from comit_ray.tables.vocabulary import ReviewReason

REVIEWS = "reviews"
"""Directory of the readers' verdicts beside the results (`comit_ray.reading.store`)."""
WITHDRAWN = "withdrawn"


def build_nights(
    predictions: pa.Table,
    manifest: pa.Table,
    config: QueueConfig,
    points: Mapping[str, OperatingPoint],
    trusted: bool | None = None,
) -> pa.Table:
    """The queue of all nights as a `REVIEW_QUEUE` table, the first night first.

    Random negatives of the first night are as many as are asked for, rounded up. Of later nights an image is drawn if
    its own number is high enough, or one of every small night would be, and few would stand for many. All of them stand
    for all that had no reason, in all nights.

    Args:
        predictions: the `predictions` table.
        manifest: its rows, with `review_queue.MANIFEST_COLUMNS` and `added_on`; of images that have been superseded
            none.
        config: options of the queue; its capacity is a night's.
        points: model_id -> the operating point that decided its flags.
        trusted: as in `build_queue`.
    """
    ids = manifest["image_id"].combine_chunks()
    at = pc.index_in(predictions["image_id"], ids)
    predictions = predictions.filter(pc.is_valid(at))
    days = manifest["added_on"].take(at.filter(pc.is_valid(at)))
    queues = []
    population = 0.0
    for first, day in _numbered(days):
        night = predictions.filter(pc.equal(days, day) if day is not None else pc.is_null(days))
        for model_id in sorted(night["model_id"].unique().to_pylist()):
            rows = night.filter(pc.equal(night["model_id"], model_id))
            mine = manifest.filter(pc.is_in(manifest["image_id"], rows["image_id"].combine_chunks()))
            queue = build_queue(rows, mine, config, points[model_id], trusted)
            random = _random(queue)
            population += pc.sum(queue["sampling_weight"].filter(random)).as_py() or 0.0
            queues.append(queue if first else queue.filter(pc.or_(pc.invert(random), _drawn(queue, config))))
    return _joined(queues, population) if len(queues) > 1 else queues[0]


def _numbered(days: pa.ChunkedArray) -> list[tuple[bool, date | None]]:
    """Whether it is the first night, and its day; images without a day, of older manifests, are the first."""
    found = sorted(days.unique().to_pylist(), key=lambda day: day or date.min)
    return [(number == 0, day) for number, day in enumerate(found)]


def _random(queue: pa.Table) -> pa.ChunkedArray:
    """Whether each image is there for no reason."""
    return pc.equal(pc.list_element(queue["reasons"], 0), str(ReviewReason.RANDOM_NEGATIVE))


def _drawn(queue: pa.Table, config: QueueConfig) -> pa.Array:
    """Whether each image's own number is among the share that is drawn."""
    least = 1 - config.random_negatives
    return pa.array([random_number(config.seed, name) >= least for name in queue["image_id"].to_pylist()], pa.bool_())


def _joined(queues: list[pa.Table], population: float) -> pa.Table:
    """The queues one after the other, ranked anew; random negatives stand for all that have no reason."""
    queue = pa.concat_tables(queues)
    random = _random(queue)
    drawn = pc.sum(random).as_py() or 0
    weight = pa.scalar(population / drawn if drawn else 1.0, pa.float32())
    columns = {
        "rank": pa.array(range(1, len(queue) + 1), pa.int32()),
        "sampling_weight": pc.if_else(random, weight, queue["sampling_weight"]),
    }
    for name, values in columns.items():
        index = REVIEW_QUEUE.get_field_index(name)
        queue = queue.set_column(index, REVIEW_QUEUE.field(index), values)
    return queue.replace_schema_metadata(REVIEW_QUEUE.metadata)


def to_read(queue: pa.Table, manifest: pa.Table, read: frozenset[str], since: date | None) -> pa.Table:
    """What of the queue nobody has read, in its order.

    Args:
        queue: of `build_nights`.
        manifest: rows with `image_id` and `added_on`.
        read: image_ids with a verdict.
        since: only images that came on this day or later; None: all.
    """
    keep = pc.invert(pc.is_in(queue["image_id"], pa.array(sorted(read), pa.string())))
    if since is not None:
        days = manifest["added_on"].take(pc.index_in(queue["image_id"], manifest["image_id"].combine_chunks()))
        keep = pc.and_(keep, pc.fill_null(pc.greater_equal(days, pa.scalar(since, pa.date32())), False))
    return queue.filter(keep)


def read_images(output: str) -> frozenset[str]:
    """image_ids that at least one reader has a verdict on which was not withdrawn.

    Raises:
        StorageError: the verdicts cannot be read.
    """
    uri = storage.join(output, REVIEWS)
    try:
        names = [entry.path for entry in storage.list_files(uri, ".parquet")]
    except NotFoundError:
        return frozenset()
    newest: dict[str, str] = {}
    for name in sorted(names):  # READER-IMAGE-REVISION: of a reader's verdicts on an image the last counts
        newest[name.rpartition("-")[0]] = name
    wanted = ["image_id", "verdict"]
    tables = [parquet.read_part(storage.join(uri, name), wanted) for name in newest.values()]
    rows = (row for table in tables for row in table.to_pylist())
    return frozenset(row["image_id"] for row in rows if row["verdict"] != WITHDRAWN)
