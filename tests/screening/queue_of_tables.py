"""The review queue of tables that are in memory, ranked as those of an output are."""

import pyarrow as pa

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.config.queue_config import QueueConfig
from comit_ray.screening import review_queue
from comit_ray.tables.schema import REVIEW_QUEUE
from comit_ray.tables.staging import staging


def queue_of(
    predictions: pa.Table,
    manifest: pa.Table,
    config: QueueConfig,
    point: OperatingPoint | dict[str, OperatingPoint],
    trusted: bool | None = None,
) -> pa.Table:
    """The queue as a `REVIEW_QUEUE` table; `point` decided all flags, or those of each model by its id."""
    models = predictions["model_id"].unique().to_pylist()
    points = dict.fromkeys(models, point) if isinstance(point, OperatingPoint) else point
    with staging(memory_gib=0.25) as tables:
        tables.add_tables("predictions", [predictions], review_queue.PREDICTED)
        tables.add_tables("manifest", [manifest], review_queue.KNOWN)
        review_queue.rank(tables, config, points, trusted)
        found = [batch.select(REVIEW_QUEUE.names) for batch in review_queue.batches(tables, trusted)]
    return pa.Table.from_batches(found, schema=REVIEW_QUEUE)
