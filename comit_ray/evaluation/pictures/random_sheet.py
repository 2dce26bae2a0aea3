"""Draws a sheet of randomly chosen radiographs with predicted and annotated masks."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import pandas as pd

from comit_ray.config.image_config import DecodeLimits
from comit_ray.errors import REASON_WORDS
from comit_ray.evaluation.image_rows import ImageRows, WholeRows
from comit_ray.evaluation.pictures import picture, radiographs
from comit_ray.evaluation.pictures.contact_sheet import Blank, Tile, sheet
from comit_ray.evaluation.pictures.picture import Picture
from comit_ray.evaluation.pictures.radiographs import DISPLAY_PX, Row, Shown, Unreadable, is_null
from comit_ray.evaluation.report.printing import score, three_digits

COLUMNS = 4


WHOLE = WholeRows()


def choose(images: pd.DataFrame, count: int, seed: int, rows: ImageRows = WHOLE) -> pd.DataFrame:
    """Draws `count` images at random, half of them labelled COVID-19 if there are enough.

    The choice uses labels alone and never scores, because a sheet of good examples would mislead.

    Args:
        images: result of `screen_metrics.join_tables`.
        count: number of images to draw.
        seed: seed of the draw.
        rows: the rows behind `images`.
    """
    covid = rows.first(images[images["covid"] == 1], (count + 1) // 2, seed)
    others = rows.first(images[images["covid"] != 1], count - len(covid), seed)
    return pd.concat([one for one in (covid, others) if len(one)]) if len(images) else images


def written(
    output: str,
    name: str,
    caption: str,
    images: pd.DataFrame,
    title: str,
    limits: DecodeLimits,
    lungs: Literal["pixels", "boxes"] = "pixels",
    lines: Callable[[Row], tuple[str, ...]] | None = None,
    numbers: Sequence[str] | None = None,
) -> Picture:
    """Draws radiographs, four in a row, and writes the sheet below `output`.

    A radiograph that cannot be read leaves an empty place with the reason. Below each stand its number and its view.
    Its path does not, because folders are often named after the diagnosis: `Picture.shown` has it.

    Args:
        output: URI of the report.
        name: name of the file, without a suffix.
        caption: caption of the picture; what its outlines are is added.
        images: result of `screen_metrics.join_tables`, only the images to draw.
        title: title of the sheet.
        limits: limits for decoding an image.
        lungs: whether annotated lungs are shown as drawn or as boxes.
        lines: the lines below an image after its number; None: the decisions of the model and the label.
        numbers: the number of each image; None: 1, 2, 3 and so on.

    Raises:
        StorageError: the picture cannot be written.
    """
    told, called = lines or said, list(numbers or map(str, range(1, len(images) + 1)))
    loaded = list(radiographs.load(images, limits, lungs))
    tiles = [
        tile(shown, (f"{number}, {view(shown.row)}", *told(shown.row)))
        for number, shown in zip(called, loaded, strict=True)
    ]
    note = radiographs.outlined(loaded)
    drawn = sheet(tiles, COLUMNS, DISPLAY_PX, title, note=note)
    ids = tuple(zip(called, map(str, images["image_id"]), strict=True))
    return picture.written(output, name, f"{caption} {note}".strip(), drawn, ids)


def tile(shown: Shown | Unreadable, lines: tuple[str, ...]) -> Tile | Blank:
    """The tile of one image: the radiograph, predicted masks, annotated masks, and lines of text below."""
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
    """The tile of a radiograph that was scored once, but can no longer be read."""
    return Blank(f"the radiograph can no longer be read: {REASON_WORDS[image.reason]}", lines)


def said(row: Row) -> tuple[str, ...]:
    """The lines below an image after its number: the decisions of the model and the label."""
    return *decisions(row), f"label: {label(row)}"


def decisions(row: Row) -> tuple[str, ...]:
    """The decision for each score: flagged or not, with the score and its threshold if that is known.

    Args:
        row: a row of `screen_metrics.join_tables`, with `covid_threshold` and `unhealthy_threshold` if they are known.
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
    """A score and its threshold, with three significant digits; a score alone says little.

    Args:
        value: the score, from 0 to 1.
        threshold: the threshold; None if it is not known.
    """
    at = None if threshold is None or is_null(threshold) or threshold <= 0 else threshold
    significant = 3 if at is None or value >= at / 2 else 2  # far below it two are enough
    digits = 3 if value >= 0.1 or value <= 0 else min(significant - 1 - math.floor(math.log10(value)), 9)
    shown = score(value, digits)
    if at is None:
        return f"score {shown}"
    return f"{shown} (threshold {three_digits(at)})"  # a longer line would be cut below a tile


def view(row: Row) -> str:
    """The view in words, such as `view: PA`."""
    stated = row.get("view")
    return "view not known" if stated is None or is_null(stated) or stated == "unknown" else f"view: {stated}"


def label(row: Row) -> str:
    """The label in words. COVID-19 comes before findings, because a COVID-19 patient's radiograph may show none."""
    if row["covid"] == 1:
        return "COVID-19, no finding" if row["unhealthy"] == 0 else "COVID-19"
    if row["unhealthy"] == 0:
        return "healthy"
    if row["covid"] == 0 and row["unhealthy"] == 1:
        return "other disease"
    if row["unhealthy"] == 1:
        return "disease, cause not known"
    return "not COVID-19, other disease not known" if row["covid"] == 0 else "no label"
