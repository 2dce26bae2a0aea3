"""Computes perceptual hashes of a manifest's images on Ray, to find near-duplicates.

Every image that is not excluded is fetched, decoded and hashed.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa
import ray.data

from comit_ray.chunks import graph, nodes, ray_start
from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.load import PLACE_COLUMNS, Place, known_exclusion, load_shrunken, wanted
from comit_ray.data.manifest.fingerprint import fingerprint
from comit_ray.errors import DecodeError
from comit_ray.prepare.frames import slices
from comit_ray.storage.file_reader import FileReader
from comit_ray.storage.threads import map_ahead

THREADS = 2
ROWS_HELD = 1024
SCHEMA = pa.schema([pa.field("image_id", pa.string(), nullable=False), pa.field("fingerprint", pa.binary())])


def fingerprint_tables(rows: pa.Table, limits: DecodeLimits) -> Iterator[pa.Table]:
    """Yields `SCHEMA` rows in the order of `rows`; the fingerprint is null if an image is excluded or unreadable."""
    records = rows.to_pylist()
    places = (Place.of(row) for row in records if known_exclusion(row) is None)

    def one(row: dict[str, Any]) -> dict[str, Any]:
        if known_exclusion(row) is not None:
            return {"image_id": row["image_id"]}
        try:
            pixels_HW = load_shrunken(Place.of(row), reader, limits).pixels_HW
        except DecodeError:
            return {"image_id": row["image_id"]}
        return {"image_id": row["image_id"], "fingerprint": fingerprint(pixels_HW)}

    with FileReader(limits.max_bytes, wanted(places)) as reader, ThreadPoolExecutor(THREADS) as pool:
        hashed = map_ahead(pool, one, records, 2 * THREADS)
        while held := list(islice(hashed, ROWS_HELD)):
            yield pa.Table.from_pylist(held, schema=SCHEMA)


ROWS_PER_TASK = 256
COLUMNS = ["image_id", *PLACE_COLUMNS, "excluded", "view"]


def fingerprints(rows: pa.Table, limits: DecodeLimits) -> pa.Table:
    """Returns `image_id` and `fingerprint` of every row, in the order of the rows.

    A fingerprint is binary, and null if there is no picture.

    Raises:
        ConfigError: images lie on a path that not all nodes see.
        ray.exceptions.RayError: a task failed more often than Ray retries it.
    """
    ray_start.start(ray.LoggingConfig(log_level="ERROR"))
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
