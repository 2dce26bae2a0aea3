"""Manifest rows -> frames: fetch, decode, exclude and quarantine row by row, in threads.

One bad file costs one row: it becomes `excluded` or `failed` with its reason, and the rest of its chunk goes on.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from comit_ray.config import DecodeLimits, FrameConfig
from comit_ray.data.fetch import load_frame
from comit_ray.errors import STATUS_OF, DecodeError, Reason, Status
from comit_ray.schema import View

MANIFEST_COLUMNS = ["image_id", "uri", "member", "view", "excluded", "split", "chunk"]
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
    ]
)
"""A chunk between fetch and prediction: internal, never stored."""


def fetch_row(row: dict[str, Any], frame: FrameConfig, limits: DecodeLimits) -> dict[str, Any]:
    """One manifest row as one `FETCHED` row; never raises for what lies in the file."""
    fetched: dict[str, Any] = dict.fromkeys(FETCHED.names)
    fetched |= {"image_id": row["image_id"], "view": row["view"]}
    known = row["excluded"] or (Reason.LATERAL if row["view"] == View.LATERAL else None)
    if known is not None:
        reason = Reason(known)
        return fetched | {"status": STATUS_OF[reason], "reason": reason, "detail": f"known from the manifest: {reason}"}
    try:
        loaded = load_frame(row["uri"], row["member"], frame, limits)
    except DecodeError as error:
        return fetched | {"status": error.status, "reason": error.reason, "detail": error.detail}
    return fetched | {
        "status": Status.OK,
        "view": row["view"] if row["view"] != View.UNKNOWN else loaded.view,
        "height": loaded.height,
        "width": loaded.width,
        "frame": loaded.pixels_HW.tobytes(),
        "top": loaded.frame_map.top,
        "left": loaded.frame_map.left,
        "rows_per_pixel": loaded.frame_map.rows_per_pixel,
        "columns_per_pixel": loaded.frame_map.columns_per_pixel,
    }


def fetch_chunk(
    rows: pa.Table, frame: FrameConfig, limits: DecodeLimits, threads: int, count: Callable[[str], None] | None = None
) -> pa.Table:
    """All rows of one chunk, in order, as a `FETCHED` table; `count` is told each row's status."""
    with ThreadPoolExecutor(threads) as pool:
        fetched = list(pool.map(lambda row: fetch_row(row, frame, limits), rows.to_pylist()))
    if count is not None:
        for row in fetched:
            count(row["status"])
    return pa.Table.from_pylist(fetched, schema=FETCHED)
