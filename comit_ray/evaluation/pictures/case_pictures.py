"""Pictures of single COVID-19 images: misclassified (the paper's figure 10), found, missed (figures 13, 14).

Captioned radiographs with masks, four a line (figures 10, 13 and 14 of the paper).
"""

from collections.abc import Callable, Sequence
from typing import Literal

import pandas as pd
from PIL import Image

from comit_ray.config.image_config import DecodeLimits
from comit_ray.errors import Status
from comit_ray.evaluation.pictures import radiographs, random_sheet
from comit_ray.evaluation.pictures.contact_sheet import Blank, Tile, sheet
from comit_ray.evaluation.pictures.picture import Picture, drawn_of, nothing, written
from comit_ray.evaluation.pictures.radiographs import DISPLAY_PX, Row, is_null

COLUMNS = 4


def draw_gallery(tiles: Sequence[Tile | Blank], title: str) -> Image.Image:
    """The tiles in reading order.

    Args:
        tiles: radiographs with masks and captions, and places of those that cannot be shown.
        title: above them.
    """
    return sheet(tiles, COLUMNS, DISPLAY_PX, title)


COUNT = 8
"""Images on a gallery: two lines."""
Lungs = Literal["pixels", "boxes"]


def misclassified(
    images: pd.DataFrame, output: str, limits: DecodeLimits, count: int = COUNT, seed: int = 0, lungs: Lungs = "pixels"
) -> Picture:
    """COVID-19 images that neither score flagged, by day of illness, `figure_10_misclassified`.

    Args:
        images: of `scores.join_tables`.
        output: URI of the report.
        limits: bounds on images.
        count: most to show.
        seed: of the draw where there are more.
        lungs: as `comit_ray.config.MasksConfig` has it.

    Raises:
        StorageError: it cannot be written.
    """
    name = "figure_10_misclassified"
    caption = "Images labelled COVID-19 that the model flags neither as COVID-19 nor as unhealthy."
    covid = _covid(images)
    judged = covid[covid["covid_flag"].notna() & covid["unhealthy_flag"].notna()]
    if judged.empty:
        return nothing(name, caption, "no scored image labelled COVID-19 has flags of both scores")
    rows = judged[~judged["covid_flag"].astype(bool) & ~judged["unhealthy_flag"].astype(bool)]
    if rows.empty:
        return nothing(name, caption, f"none: each of {len(judged):,} images labelled COVID-19 is flagged by a score")
    chosen = random_sheet.shuffled(rows, seed).head(count)
    days = _days(chosen)
    chosen = chosen.assign(day=days).sort_values(["day", "image_id"], na_position="last")
    caption += (
        f"{_at(judged)} Shown: {drawn_of(len(chosen), len(rows), 'such images')}; {len(judged):,} images labelled "
        "COVID-19 were scored. In order of the day of illness (since first symptoms or admission), which is known of "
        f"{int(days.notna().sum())} of those shown. Not flagged does not mean that there is nothing to see."
    )
    return _gallery(name, caption, chosen, output, limits, "COVID-19 images that no score flags", lungs, _lines)


def found(
    images: pd.DataFrame, output: str, limits: DecodeLimits, count: int = COUNT, seed: int = 0, lungs: Lungs = "pixels"
) -> Picture:
    """COVID-19 images that were flagged, with the predicted disease, `figure_13_found`.

    Arguments and errors are those of `misclassified`.
    """
    name = "figure_13_found"
    caption = "Images labelled COVID-19 that the model flags as COVID-19, with the disease that it paints."
    judged = _judged(images)
    chosen, shown, reason = _flagged(judged, "labelled COVID-19", count, seed)
    if reason is not None:
        return nothing(name, caption, reason)
    caption += shown
    if not chosen["disease_png"].notna().any():
        caption += " The model has no disease masks."
    return _gallery(name, caption, chosen, output, limits, "COVID-19 images that were flagged", lungs, _lines)


def missed(
    images: pd.DataFrame,
    readings: pd.DataFrame | None,
    output: str,
    limits: DecodeLimits,
    count: int = COUNT,
    seed: int = 0,
    lungs: Lungs = "pixels",
    name: str = "figure_14_missed",
) -> Picture:
    """COVID-19 images without a flag, where there are such those in which readers saw nothing.

    Args:
        images: of `scores.join_tables`.
        readings: image_id and abnormal (True, False, or null: undecided), one row per image; None: nobody read them.
        output: URI of the report.
        limits: bounds on images.
        count: most to show.
        seed: of the draw where there are more.
        lungs: as `comit_ray.config.MasksConfig` has it.
        name: of its file.

    Raises:
        StorageError: it cannot be written.
    """
    caption = "Images labelled COVID-19 that the model does not flag as COVID-19."
    judged = _judged(images)
    if judged.empty:
        return nothing(name, caption, "no scored image labelled COVID-19 has a COVID-19 flag")
    rows = judged[~judged["covid_flag"].astype(bool)]
    if rows.empty:
        return nothing(name, caption, f"none: the model flags all of {len(judged):,} images labelled COVID-19")
    verdicts = {} if readings is None else dict(zip(readings["image_id"], readings["abnormal"], strict=True))
    read = rows[rows["image_id"].isin(verdicts)]
    agreed = read[[_is(verdicts[image_id], False) for image_id in read["image_id"]]]
    pool = rows if agreed.empty else agreed
    what = "such images" if agreed.empty else "such images in which the readers saw no abnormality"
    chosen = random_sheet.shuffled(pool, seed).head(count)
    caption += (
        f"{_at(judged)} Shown: {drawn_of(len(chosen), len(pool), what)}; {len(rows):,} of {len(judged):,} images "
        "labelled COVID-19 were missed. "
    )
    if readings is None:
        caption += "There are no readings to compare with."
    else:
        caption += f"Readers read {len(read):,} of the missed and saw no abnormality in {len(agreed):,}."

    def lines(row: Row) -> tuple[str, ...]:
        mine = _lines(row)
        return mine if readings is None else (*mine[:-1], _verdict(row, verdicts), mine[-1])

    return _gallery(name, caption, chosen, output, limits, "COVID-19 images that were missed", lungs, lines)


def falsely_called(
    images: pd.DataFrame, output: str, limits: DecodeLimits, count: int = COUNT, seed: int = 0, lungs: Lungs = "pixels"
) -> Picture:
    """Images labelled as not COVID-19 that the model flags as COVID-19, `falsely_called`.

    Arguments and errors are those of `misclassified`.
    """
    name = "falsely_called"
    caption = "Images labelled as not COVID-19 that the model flags as COVID-19."
    others = images[(images["status"] == Status.OK) & (images["covid"] == 0)]
    judged = others[others["covid_flag"].notna()]
    chosen, shown, reason = _flagged(judged, "labelled as not COVID-19", count, seed)
    if reason is not None:
        return nothing(name, caption, reason)
    caption += f"{shown} A label may be wrong too."
    return _gallery(name, caption, chosen, output, limits, "Images falsely called COVID-19", lungs, _labels)


def _flagged(judged: pd.DataFrame, label: str, count: int, seed: int) -> tuple[pd.DataFrame, str, str | None]:
    """Images flagged as COVID-19, drawn at random; what the caption says of the draw; or why there are none."""
    rows = judged[judged["covid_flag"].astype(bool)]
    chosen = random_sheet.shuffled(rows, seed).head(count)
    if judged.empty:
        return chosen, "", f"no scored image {label} has a COVID-19 flag"
    if rows.empty:
        return chosen, "", f"none: of {len(judged):,} images {label} the model flags none"
    drawn = drawn_of(len(chosen), len(rows), "such images")
    return chosen, f"{_at(judged)} Shown: {drawn}; {len(judged):,} images {label} were scored.", None


def _covid(images: pd.DataFrame) -> pd.DataFrame:
    return images[(images["status"] == Status.OK) & (images["covid"] == 1)]


def _judged(images: pd.DataFrame) -> pd.DataFrame:
    covid = _covid(images)
    return covid[covid["covid_flag"].notna()]


def _at(judged: pd.DataFrame) -> str:
    """Which thresholds decided the flags."""
    names = sorted(judged["operating_point"].dropna().unique())
    return f" Flags are those of the operating point {', '.join(names)}." if names else ""


def _days(images: pd.DataFrame) -> pd.Series:
    """Day of illness of each image; NaN where it is not known, or the table has no such column."""
    if "illness_day" in images:
        return images["illness_day"].astype(float)
    return pd.Series(float("nan"), index=images.index)


def _gallery(
    name: str,
    caption: str,
    chosen: pd.DataFrame,
    output: str,
    limits: DecodeLimits,
    title: str,
    lungs: Lungs,
    lines: Callable[[Row], tuple[str, ...]],
) -> Picture:
    tiles = [random_sheet.tile(shown, lines(shown.row)) for shown in radiographs.load(chosen, limits, lungs)]
    return written(output, name, caption, draw_gallery(tiles, title))


def _lines(row: Row) -> tuple[str, ...]:
    """Decisions, day of illness, view, and which image it is."""
    day = row.get("illness_day")
    when = "day of illness not known" if day is None or is_null(day) else f"day of illness {int(day)}"
    return *random_sheet.decisions(row), f"{when}, {random_sheet.view(row)}", row["image_id"]


def _labels(row: Row) -> tuple[str, ...]:
    """Decisions, label, view, and which image it is."""
    return random_sheet.caption(row)


def _verdict(row: Row, verdicts: dict[str, object]) -> str:
    if row["image_id"] not in verdicts:
        return "readers: not read"
    abnormal = verdicts[row["image_id"]]
    if _is(abnormal, True):
        return "readers: abnormal"
    return "readers: no abnormality" if _is(abnormal, False) else "readers: undecided"


def _is(value: object, wanted: bool) -> bool:
    """Whether a nullable verdict is this one: None, NaN and NA are neither."""
    return not is_null(value) and bool(value) is wanted
