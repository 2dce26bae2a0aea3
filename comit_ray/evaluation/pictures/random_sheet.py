"""Draws a sheet of randomly chosen radiographs with predicted and annotated masks."""

import hashlib
from typing import Literal

import pandas as pd

from comit_ray.config.image_config import DecodeLimits
from comit_ray.evaluation.pictures import radiographs
from comit_ray.evaluation.pictures.contact_sheet import Blank, Tile, overlay_sheet
from comit_ray.evaluation.pictures.radiographs import DISPLAY_PX, Row, Shown, Unreadable, is_null
from comit_ray.evaluation.report.printing import score

COLUMNS = 4


def choose(images: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """`count` images of `scores.join_tables`: drawn at random, half of them (if there are so many) labelled COVID.

    The choice looks at labels alone, never at scores: a sheet of good examples would mislead.
    """
    mixed = shuffled(images, seed)
    covid = mixed[mixed["covid"] == 1].head((count + 1) // 2)
    others = mixed[mixed["covid"] != 1].head(count - len(covid))
    return pd.concat([covid, others])


def shuffled(images: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The images in an order that their ids and the seed alone decide."""
    order = images["image_id"].map(lambda image_id: hashlib.sha256(f"{seed}:{image_id}".encode()).hexdigest())
    return images.iloc[order.argsort(kind="stable").to_numpy()]


def draw(images: pd.DataFrame, title: str, limits: DecodeLimits, lungs: Literal["pixels", "boxes"] = "pixels") -> bytes:
    """The sheet as PNG: four radiographs a line; one that cannot be read has a place that says why."""
    tiles = [tile(shown, caption(shown.row)) for shown in radiographs.load(images, limits, lungs)]
    return overlay_sheet(tiles, columns=COLUMNS, tile_px=DISPLAY_PX, title=title)


def tile(shown: Shown | Unreadable, lines: tuple[str, ...]) -> Tile | Blank:
    """One image as a tile: radiograph, predicted masks, true masks, and lines below it."""
    if isinstance(shown, Unreadable):
        return unreadable(shown, lines)
    return Tile(
        pixels_HW=shown.pixels_HW,
        lung_HW=radiographs.predicted(shown, shown.row, "lung"),
        disease_HW=radiographs.predicted(shown, shown.row, "disease"),
        true_lung_HW=shown.true["lung"],
        true_disease_HW=shown.true["disease"],
        caption=(*lines, *(f"{task} annotation unreadable" for task in shown.problems)),
    )


def unreadable(image: Unreadable, lines: tuple[str, ...]) -> Blank:
    """The place of a radiograph that cannot be read again, although it was scored once."""
    return Blank(f"the radiograph cannot be read: {image.reason}", lines)


def caption(row: Row) -> tuple[str, ...]:
    """Lines below an image: what was decided, what is known, and which image it is."""
    return *decisions(row), f"label: {label(row)}", view(row), str(row["image_id"])


def decisions(row: Row) -> tuple[str, ...]:
    """What each score decided: flagged or not, and the score against its threshold, where that is known.

    Args:
        row: of `screen_metrics.join_tables`; `covid_threshold` and `unhealthy_threshold` where they are known.
    """
    lines = []
    for name, head in (("COVID-19", "covid"), ("unhealthy", "unhealthy")):
        value, flag, threshold = row.get(f"p_{head}"), row.get(f"{head}_flag"), row.get(f"{head}_threshold")
        if value is None or is_null(value):
            continue
        decided = "no flag" if flag is None or is_null(flag) else "FLAGGED" if flag else "not flagged"
        lines.append(f"{name}: {decided}, {against(float(value), threshold)}")
    return tuple(lines) or ("no score",)


def against(value: float, threshold: float | None) -> str:
    """A score, and how many times its threshold it is; a score alone says nothing."""
    shown = score(value, 2) if value >= 0.1 else f"{value:.1g}"
    if threshold is None or is_null(threshold) or threshold <= 0:
        return f"score {shown}"
    times = value / threshold
    digits = 2 if 0.9 < times < 1.1 else 1 if times < 9.95 else 0
    told = score(times, digits) if times < 1 else f"{times:.{digits}f}"  # 0.996 is not yet 1
    return f"score {shown}, {told}x threshold"


def view(row: Row) -> str:
    """The view in words."""
    stated = row.get("view")
    return "view not known" if stated is None or is_null(stated) or stated == "unknown" else f"view: {stated}"


def label(row: Row) -> str:
    """What the image is labelled: COVID goes before what is seen, for a COVID patient's radiograph may show nothing."""
    if row["covid"] == 1:
        return "COVID, no finding" if row["unhealthy"] == 0 else "COVID"
    if row["unhealthy"] == 0:
        return "healthy"
    if row["covid"] == 0 and row["unhealthy"] == 1:
        return "other disease"
    if row["unhealthy"] == 1:
        return "disease, cause not known"
    return "not COVID, disease not known" if row["covid"] == 0 else "none"
