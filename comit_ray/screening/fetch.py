"""A manifest row -> a frame: fetch, decode, exclude and quarantine, row by row.

One bad file costs one row: it becomes `excluded` or `failed` with its reason, and the rest of its chunk goes on.
"""

from typing import Any

import pyarrow as pa

from comit_ray.config.data_config import DecodeLimits, FrameConfig
from comit_ray.data.images.frame import STATISTICS, statistics
from comit_ray.data.images.load import PLACE_COLUMNS, Place, known_exclusion, load_frame
from comit_ray.errors import DecodeError, Status
from comit_ray.storage.file_reader import FileReader
from comit_ray.tables.vocabulary import View

MANIFEST_COLUMNS = ["image_id", *PLACE_COLUMNS, "view", "view_source", "excluded", "split", "chunk"]
"""What reading a chunk needs of the manifest."""

FETCHED = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("view", pa.string(), nullable=False),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("frame", pa.binary()),  # size * size grey values; null unless ok
        pa.field("top", pa.float32()),
        pa.field("left", pa.float32()),
        pa.field("rows_per_pixel", pa.float32()),
        pa.field("columns_per_pixel", pa.float32()),
        *(pa.field(name, pa.float32()) for name in STATISTICS),
    ]
)
"""A chunk between fetch and prediction: internal, never stored."""


def fetch_row(row: dict[str, Any], reader: FileReader, frame: FrameConfig, limits: DecodeLimits) -> dict[str, Any]:
    """One manifest row as one `FETCHED` row; never raises for what lies in the file."""
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
        "frame": loaded.pixels_HW.tobytes(),
        "top": loaded.frame_map.top,
        "left": loaded.frame_map.left,
        "rows_per_pixel": loaded.frame_map.rows_per_pixel,
        "columns_per_pixel": loaded.frame_map.columns_per_pixel,
        **{name: value[0] for name, value in statistics(loaded.pixels_HW[None]).items()},
    }


def fail_row(row: dict[str, Any], error: DecodeError) -> dict[str, Any]:
    """A manifest row that cannot, or must not, be scored as a `FETCHED` row."""
    return {
        "image_id": row["image_id"],
        "status": str(error.status),
        "reason": str(error.reason),
        "detail": error.detail,
        "view": row["view"],
    }
