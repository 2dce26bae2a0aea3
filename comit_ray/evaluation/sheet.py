"""A sheet of screened radiographs with predicted and true masks drawn on, from the tables."""

import hashlib
import math
from typing import Any, Literal

import pandas as pd

from comit_ray.config import DecodeLimits, FrameConfig
from comit_ray.data.fetch import PLACE_COLUMNS, Frame, Place, load_frame, wanted
from comit_ray.data.file_reader import FileReader
from comit_ray.data.masks import from_png, lung_rectangles, read_mask
from comit_ray.evaluation.figures import Tile, overlay_sheet

DISPLAY_PX = 320
"""Side of the frame in which radiographs are shown: finer than the masks, so that a reader sees the chest."""


def choose(images: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """`count` images of `scores.join_tables`: drawn at random, half of them (if there are so many) labelled COVID.

    The choice looks at labels alone, never at scores: a sheet of good examples would mislead.
    """
    order = images["image_id"].map(lambda image_id: hashlib.sha256(f"{seed}:{image_id}".encode()).hexdigest())
    shuffled = images.assign(order=order).sort_values("order")
    covid = shuffled[shuffled["covid"] == 1].head((count + 1) // 2)
    others = shuffled[shuffled["covid"] != 1].head(count - len(covid))
    return pd.concat([covid, others])


def draw(images: pd.DataFrame, title: str, limits: DecodeLimits, lungs: Literal["pixels", "boxes"] = "pixels") -> bytes:
    """The sheet as PNG: four radiographs a line."""
    tiles = [_tile(row, limits, lungs) for row in images.to_dict("records")]
    return overlay_sheet(tiles, columns=4, tile_px=DISPLAY_PX, title=title)


def _tile(row: dict[Any, Any], limits: DecodeLimits, lungs: Literal["pixels", "boxes"]) -> Tile:
    """One image of `scores.join_tables` as a tile: radiograph, predicted masks, true masks, scores and label."""
    frame = FrameConfig(size=DISPLAY_PX, fit=row["fit"] if isinstance(row["fit"], str) else "letterbox")
    radiograph = _radiograph(row, frame, limits)
    masks = {}
    for task in ("lung", "disease"):
        png, reference = row[f"{task}_png"], row[f"{task}_mask"]
        masks[f"{task}_HW"] = from_png(png) if isinstance(png, bytes) else None
        if isinstance(reference, str):
            truth_HW = read_mask(reference, frame, radiograph.height, radiograph.width)
            truth_HW = lung_rectangles(truth_HW) if task == "lung" and lungs == "boxes" else truth_HW
            masks[f"true_{task}_HW"] = truth_HW == 1
    return Tile(pixels_HW=radiograph.pixels_HW, caption=_caption(row), **masks)


def _radiograph(row: dict[Any, Any], frame: FrameConfig, limits: DecodeLimits) -> Frame:
    known = {name: None if pd.isna(row[name]) else row[name] for name in PLACE_COLUMNS}
    offset = known["member_offset"]
    place = Place.of(known | {"member_offset": None if offset is None else int(offset)})
    with FileReader(limits.max_bytes, wanted([place])) as reader:
        return load_frame(place, reader, frame, limits)


def _caption(row: dict[Any, Any]) -> tuple[str, ...]:
    """Two lines: what the model says, what is known."""
    said = " ".join(
        f"{name} {math.floor(row[column] * 100) / 100:.2f}"  # cut: 0.996 is not 1.00
        for name, column in (("COVID", "p_covid"), ("unhealthy", "p_unhealthy"))
        if not pd.isna(row[column])
    )
    names = {(1, 1): "COVID", (0, 1): "other disease", (0, 0): "healthy"}
    known = not pd.isna(row["covid"]) and not pd.isna(row["unhealthy"])
    label = names.get((int(row["covid"]), int(row["unhealthy"]))) if known else None
    return said or "no score", f"label: {label or 'incomplete'}"
