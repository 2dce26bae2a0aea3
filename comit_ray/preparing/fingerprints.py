"""Perceptual hashes of a manifest's images, on Ray: every image that is not excluded is fetched, decoded, hashed."""

from collections.abc import Iterator
from functools import partial

import pyarrow as pa
import ray.data

from comit_ray.chunks import graph, nodes
from comit_ray.config.data_config import DecodeLimits
from comit_ray.data.images.load import PLACE_COLUMNS
from comit_ray.prepare.fingerprints import fingerprint_tables
from comit_ray.prepare.frames import slices

ROWS_PER_TASK = 256
COLUMNS = ["image_id", *PLACE_COLUMNS, "excluded", "view"]


def fingerprints(rows: pa.Table, limits: DecodeLimits) -> pa.Table:
    """`image_id` and `fingerprint` (binary, null where there is no picture) of every row, in the rows' order.

    Raises:
        ConfigError: images lie on a path that not all nodes see.
        ray.exceptions.RayError: if a task failed more often than Ray retries it.
    """
    if not ray.is_initialized():
        ray.init(logging_config=ray.LoggingConfig(log_level="ERROR"))
    nodes.check({}, {}, rows)
    graph.tell_little()
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    cut = slices(rows.select(COLUMNS), ROWS_PER_TASK)
    hashed = ray.data.from_arrow(cut).map_batches(
        partial(_hash, limits=limits), batch_size=None, batch_format="pyarrow", num_cpus=1
    )
    return pa.concat_tables(ray.get(hashed.to_arrow_refs()))


def _hash(rows: pa.Table, limits: DecodeLimits) -> Iterator[pa.Table]:
    yield from fingerprint_tables(rows, limits)
