"""Manifest rows -> perceptual hashes of their pictures."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import pyarrow as pa

from comit_ray.config.data_config import DecodeLimits
from comit_ray.data.images.frame import shrink
from comit_ray.data.images.load import Place, known_exclusion, load_radiograph, wanted
from comit_ray.data.manifest.fingerprint import fingerprint
from comit_ray.errors import DecodeError
from comit_ray.storage.file_reader import FileReader
from comit_ray.storage.threads import map_ahead

THREADS = 2
ROWS_HELD = 1024
SCHEMA = pa.schema([pa.field("image_id", pa.string(), nullable=False), pa.field("fingerprint", pa.binary())])


def fingerprint_tables(rows: pa.Table, limits: DecodeLimits) -> Iterator[pa.Table]:
    """`SCHEMA` rows in the rows' order; the fingerprint is null where an image is excluded or cannot be read."""
    records = rows.to_pylist()
    places = (Place.of(row) for row in records if known_exclusion(row) is None)

    def one(row: dict[str, Any]) -> dict[str, Any]:
        if known_exclusion(row) is not None:
            return {"image_id": row["image_id"]}
        try:
            pixels_HW = load_radiograph(Place.of(row), reader, limits).pixels_HW
        except DecodeError:
            return {"image_id": row["image_id"]}
        return {"image_id": row["image_id"], "fingerprint": fingerprint(shrink(pixels_HW))}

    with FileReader(limits.max_bytes, wanted(places)) as reader, ThreadPoolExecutor(THREADS) as pool:
        hashed = map_ahead(pool, one, records, 2 * THREADS)
        while held := list(islice(hashed, ROWS_HELD)):
            yield pa.Table.from_pylist(held, schema=SCHEMA)
