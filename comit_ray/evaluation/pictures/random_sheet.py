"""A sheet of screened radiographs with predicted and true masks drawn on, from the tables."""

import hashlib
from typing import Literal

import pandas as pd

from comit_ray.config.data_config import DecodeLimits
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
    """Two lines: what the model says, what is known."""
    return said(row), f"label: {label(row)}"


def said(row: Row) -> str:
    """The model's scores."""
    scores = (("COVID", "p_covid"), ("unhealthy", "p_unhealthy"))
    known = [f"{name} {score(row[column], 2)}" for name, column in scores if not is_null(row[column])]
    return " ".join(known) or "no score"


def label(row: Row) -> str:
    """What the image is labelled: COVID goes before what is seen, for a COVID patient's radiograph may show nothing."""
    if row["covid"] == 1:
        return "COVID, no finding" if row["unhealthy"] == 0 else "COVID"
    if row["unhealthy"] == 0:
        return "healthy"
    return "other disease" if row["covid"] == 0 and row["unhealthy"] == 1 else "incomplete"
