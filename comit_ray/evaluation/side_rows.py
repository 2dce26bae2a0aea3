"""Rows of a screen's side table for a few images, part by part: an archive's maps and embeddings fit no memory."""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.tables import parquet


def read_rows(uri: str, image_ids: Iterable[str]) -> pa.Table:
    """The rows of the table at `uri` for these images, in no particular order.

    Raises:
        NotFoundError: there is no such table.
        StorageError: it cannot be read.
    """
    wanted = pa.array(list(image_ids), pa.string())
    tables = []
    for part in parquet.parts(uri):
        table = parquet.read_part(part)
        tables.append(table.filter(pc.is_in(table["image_id"], wanted)))
    return pa.concat_tables(tables)
