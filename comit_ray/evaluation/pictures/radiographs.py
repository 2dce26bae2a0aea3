"""Loads radiographs for pictures, in their own aspect ratio, with masks on the same field.

A model's masks lie in its frame, which may stretch the radiograph or add borders. Here each mask is cut to the part of
the frame that the original fills. So masks of models with different frames can be laid over one radiograph.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images.frame import FrameMap
from comit_ray.data.images.load import PLACE_COLUMNS, Place, load_frame, wanted
from comit_ray.data.masks.mask_images import lung_rectangles
from comit_ray.data.masks.masks import from_png, read_mask
from comit_ray.data.masks.outline_words import OutlineGrid, sentences
from comit_ray.errors import DecodeError, ManifestError, Reason
from comit_ray.evaluation.pictures.contact_sheet import Mask, Pixels
from comit_ray.storage.file_reader import FileReader

DISPLAY_PX = 320
"""Longest side of a radiograph in a picture, in pixels: finer than the masks, so that readers see the chest."""
TASKS: tuple[Literal["lung", "disease"], ...] = ("lung", "disease")

Row = dict[Any, Any]
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True)
class Shown:
    """One radiograph with its annotated masks.

    Args:
        row: its row of `screen_metrics.join_tables`.
        pixels_HW: the radiograph, uint8, longest side `DISPLAY_PX`, air dark and bone bright.
        height: height of the original in pixels.
        width: width of the original in pixels.
        true: `lung` and `disease` -> annotated mask (H, W); None if there is none, or it cannot be read.
        problems: `lung` and `disease` -> why the annotation cannot be read; only for those that cannot.
    """

    row: Row
    pixels_HW: Pixels
    height: int
    width: int
    true: dict[str, Mask | None]
    problems: dict[str, str]


@dataclass(frozen=True)
class Unreadable:
    """An image whose radiograph can no longer be read, with the reason; not with a detail, which may name its path."""

    row: Row
    reason: Reason


def load(
    images: pd.DataFrame, limits: DecodeLimits, lungs: Literal["pixels", "boxes"] = "pixels"
) -> Iterator[Shown | Unreadable]:
    """Loads radiographs in the order of their rows, with their annotated masks.

    Args:
        images: result of `screen_metrics.join_tables`, only the images to load.
        limits: limits for decoding an image.
        lungs: whether annotated lungs are shown as drawn or as boxes, as in
            `comit_ray.config.image_config.MasksConfig`.
    """
    frame = FrameConfig(size=DISPLAY_PX, fit="letterbox")
    rows = images.to_dict("records")
    places = [_place(row) for row in rows]
    with FileReader(limits.max_bytes, wanted(places)) as reader:
        for row, place in zip(rows, places, strict=True):
            try:
                radiograph = load_frame(place, reader, frame, limits)
            except DecodeError as error:
                yield Unreadable(row, error.reason)
                continue
            height, width, its_map = radiograph.height, radiograph.width, radiograph.frame_map
            true: dict[str, Mask | None] = dict.fromkeys(TASKS)
            problems: dict[str, str] = {}
            for task in TASKS:
                reference = row[f"{task}_mask"]
                if not isinstance(reference, str):
                    continue
                try:
                    mask_HW = read_mask(reference, frame, height, width, reader=reader)
                    mask_HW = lung_rectangles(mask_HW) if task == "lung" and lungs == "boxes" else mask_HW
                except ManifestError as error:
                    problems[task] = str(error)
                    continue
                true[task] = _filled(mask_HW, its_map, height, width) == 1
            yield Shown(row, _filled(radiograph.pixels_HW, its_map, height, width), height, width, true, problems)


def is_null(value: Any) -> bool:
    """Whether a cell of a table is null: None, NaN or NA."""
    return bool(pd.isna(value))


def predicted(shown: Shown, row: Row, task: Literal["lung", "disease"]) -> Mask | None:
    """A model's mask on the field of the radiograph; None if the model gives no such mask.

    Args:
        shown: the radiograph.
        row: the model's row of `screen_metrics.join_tables` for the same image.
        task: which mask.
    """
    png = row[f"{task}_png"]
    return on_radiograph(from_png(png), shown, row) if isinstance(png, bytes) else None


def outlined(images: Iterable[Shown | Unreadable]) -> str:
    """What the predicted outlines of these radiographs are, in words; empty if they have none."""
    return sentences(
        OutlineGrid.of_row(shown.row)
        for shown in images
        if isinstance(shown, Shown) and any(isinstance(shown.row[f"{task}_png"], bytes) for task in TASKS)
    )


def on_radiograph(values_HW: npt.NDArray[T], shown: Shown, row: Row) -> npt.NDArray[T]:
    """Cuts a mask or map in a model's frame to the part of the frame that the radiograph fills.

    Args:
        values_HW: the mask or map, (frame_height, frame_width).
        shown: the radiograph.
        row: the model's row, with the columns of the `masks` table that describe the frame.
    """
    columns = ("original_top", "original_left", "rows_per_pixel", "columns_per_pixel")
    top, left, down, across = (float(row[name]) for name in columns)
    return _filled(values_HW, FrameMap(row["fit"], top, left, down, across), shown.height, shown.width)


def _filled(values_HW: npt.NDArray[T], place: FrameMap, height: int, width: int) -> npt.NDArray[T]:
    """The part of a frame that an original of height x width pixels fills, at least one row and one column."""
    rows, columns = values_HW.shape
    top, left = min(math.floor(place.top + 0.5), rows - 1), min(math.floor(place.left + 0.5), columns - 1)
    bottom = max(top + 1, math.floor(place.top + height * place.rows_per_pixel + 0.5))
    right = max(left + 1, math.floor(place.left + width * place.columns_per_pixel + 0.5))
    return values_HW[top:bottom, left:right]


def _place(row: Row) -> Place:
    known = {name: None if is_null(row[name]) else row[name] for name in PLACE_COLUMNS}
    if known["member_offset"] is not None:
        known["member_offset"] = int(known["member_offset"])  # pandas stores a column with nulls as floats
    return Place.of(known)
