"""Gives reports the few rows that they show, from a table in memory or from staged tables, and finds images by id."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
import pandas as pd
import pyarrow as pa

from comit_ray.statistics.intervals import IntArray
from comit_ray.tables import parquet

AT_ONCE = 200_000
"""Rows of a side table that are looked up together."""


class ImageRows(Protocol):
    """The rows behind a table of images, which may have only the columns that metrics need."""

    def first(self, images: pd.DataFrame, count: int, seed: int, *, masks: bool = True) -> pd.DataFrame:
        """Draws at most `count` images in a random order that depends on their ids and the seed alone.

        Args:
            images: images to draw from.
            count: number of images to draw.
            seed: seed of the draw.
            masks: whether the predicted masks are needed.

        Returns:
            The drawn images with all columns of `screen_metrics.join_tables`, and their index in `images`.
        """

    def places(self, images: pd.DataFrame, image_ids: pa.ChunkedArray) -> IntArray:
        """Returns (M,) the place in `images` of each id, -1 for an id that is not among them."""

    def lungs(self, images: pd.DataFrame, image_ids: pa.ChunkedArray) -> Mapping[str, bytes]:
        """Returns image id -> predicted lungs as PNG, for images that have them."""


class WholeRows:
    """Rows of a table in memory that has every column, such as the result of `screen_metrics.join_tables`."""

    def first(self, images: pd.DataFrame, count: int, seed: int, *, masks: bool = True) -> pd.DataFrame:
        """See `ImageRows`; the masks are always there."""
        order = images["image_id"].map(lambda image_id: hashlib.sha256(f"{seed}:{image_id}".encode()).hexdigest())
        return images.iloc[order.argsort(kind="stable").to_numpy()[:count]]

    def places(self, images: pd.DataFrame, image_ids: pa.ChunkedArray) -> IntArray:
        """See `ImageRows`."""
        return np.asarray(pd.Index(images["image_id"]).get_indexer(pd.Index(image_ids.to_pandas())), np.int64)

    def lungs(self, images: pd.DataFrame, image_ids: pa.ChunkedArray) -> Mapping[str, bytes]:
        """See `ImageRows`."""
        mine = images[images["image_id"].isin(image_ids.to_pandas())]
        return {str(one): png for one, png in zip(mine["image_id"], mine["lung_png"], strict=True) if _is(png)}


def _is(png: object) -> bool:
    return isinstance(png, bytes)


def batches(uri: str, rows: int = AT_ONCE) -> Iterator[pa.Table]:
    """Yields the table at `uri` in batches of whole files, of about so many rows each.

    Args:
        uri: URI of a side table of a screen.
        rows: number of rows at which a batch ends.

    Raises:
        NotFoundError: there is no such table.
        StorageError: a file cannot be read.
    """
    taken: list[pa.Table] = []
    for part in parquet.parts(uri):
        taken.append(parquet.read_part(part))
        if sum(table.num_rows for table in taken) >= rows:
            yield pa.concat_tables(taken)
            taken = []
    if taken:
        yield pa.concat_tables(taken)
