"""Turns a manifest row into a frame: fetches and decodes its image, or records why the image is excluded or failed.

A damaged file costs one row: the row becomes `excluded` or `failed` with its reason, and the rest of its chunk
continues.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images.frame import STATISTICS, statistics
from comit_ray.data.images.load import PLACE_COLUMNS, Place, known_exclusion, load_frame
from comit_ray.errors import DecodeError, Status
from comit_ray.storage.file_reader import FileReader
from comit_ray.tables import arrays
from comit_ray.tables.vocabulary import View

MANIFEST_COLUMNS = ["image_id", *PLACE_COLUMNS, "view", "view_source", "excluded", "split", "chunk"]
"""Columns of the manifest that reading a chunk needs."""


def fetched_schema(frame: FrameConfig) -> pa.Schema:
    """Returns the schema of a chunk between fetching and prediction, for frames of this size; it is never stored."""
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("status", pa.string(), nullable=False),
            pa.field("reason", pa.string()),
            pa.field("detail", pa.string()),
            pa.field("view", pa.string(), nullable=False),
            pa.field("height", pa.int32()),
            pa.field("width", pa.int32()),
            pa.field("frame", pa.binary(frame.size**2)),  # grey values; null unless the status is ok
            pa.field("top", pa.float32()),
            pa.field("left", pa.float32()),
            pa.field("rows_per_pixel", pa.float32()),
            pa.field("columns_per_pixel", pa.float32()),
            *(pa.field(name, pa.float32()) for name in STATISTICS),
        ]
    )


def to_table(rows: Sequence[Mapping[str, Any]], frame: FrameConfig) -> pa.Table:
    """Builds a table of `fetched_schema` from the rows of `fetch_row` and `fail_row`; each frame is copied once."""
    schema = fetched_schema(frame)
    there_N = np.array([row["status"] == Status.OK for row in rows], bool)
    frames_NHW = np.zeros((len(rows), frame.size, frame.size), np.uint8)
    for frame_HW, row, there in zip(frames_NHW, rows, there_N, strict=True):
        if there:
            frame_HW[:] = row["frame"]
    columns = {
        field.name: pa.array([row.get(field.name) for row in rows], field.type)
        for field in schema
        if field.name != "frame"
    }
    return arrays.table(columns | {"frame": arrays.fixed_binary(frames_NHW, there_N)}, schema, len(rows))


def frames_of(fetched: pa.Table) -> npt.NDArray[np.uint8]:
    """Returns (B, size, size) frames of the rows that are ok, in their order."""
    pixels_NB = arrays.fixed_values(fetched["frame"])
    there_N = np.asarray(fetched["frame"].is_valid())
    size = math.isqrt(pixels_NB.shape[1])
    chosen_BB = pixels_NB if there_N.all() else pixels_NB[there_N]
    return chosen_BB.reshape(-1, size, size)


def fetch_row(row: dict[str, Any], reader: FileReader, frame: FrameConfig, limits: DecodeLimits) -> dict[str, Any]:
    """Returns a manifest row as a row of `fetched_schema`; never raises an error for the content of a file."""
    known = known_exclusion(row)
    if known is not None:
        return fail_row(row, known)
    try:
        loaded = load_frame(Place.of(row), reader, frame, limits)
    except DecodeError as error:
        return fail_row(row, error)
    return {
        "image_id": row["image_id"],
        "status": str(Status.OK),
        "view": row["view"] if row["view"] != View.UNKNOWN else loaded.view,
        "height": loaded.height,
        "width": loaded.width,
        "frame": loaded.pixels_HW,
        "top": loaded.frame_map.top,
        "left": loaded.frame_map.left,
        "rows_per_pixel": loaded.frame_map.rows_per_pixel,
        "columns_per_pixel": loaded.frame_map.columns_per_pixel,
        **{name: value[0] for name, value in statistics(loaded.pixels_HW[None]).items()},
    }


def fail_row(row: dict[str, Any], error: DecodeError) -> dict[str, Any]:
    """Returns a manifest row that cannot or must not be scored as a row of `fetched_schema`, with its reason."""
    return {
        "image_id": row["image_id"],
        "status": str(error.status),
        "reason": str(error.reason),
        "detail": error.detail,
        "view": row["view"],
    }


def fail_fetched(fetched: pa.Table, error: DecodeError) -> pa.Table:
    """Returns a table of `fetched_schema` in which all rows that were ok have failed with `error` and have no frame."""
    sound = pc.equal(fetched["status"], Status.OK)
    for name, value in (("status", error.status), ("reason", error.reason), ("detail", error.detail)):
        column = pc.if_else(sound, str(value), fetched[name])
        fetched = fetched.set_column(fetched.schema.get_field_index(name), fetched.schema.field(name), column)
    index, frame = fetched.schema.get_field_index("frame"), fetched.schema.field("frame")
    return fetched.set_column(index, frame, pa.nulls(len(fetched), frame.type))
