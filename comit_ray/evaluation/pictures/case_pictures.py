"""Pictures of single COVID-19 images: misclassified (the paper's figure 10), found and missed (figures 13, 14).

Each picture shows captioned radiographs with their masks, four in a row.
"""

from collections.abc import Callable
from typing import Literal, TypedDict

import pandas as pd

from comit_ray.config.image_config import DecodeLimits
from comit_ray.errors import Status
from comit_ray.evaluation.image_rows import ImageRows
from comit_ray.evaluation.pictures import random_sheet
from comit_ray.evaluation.pictures.picture import Picture, drawn_of, nothing
from comit_ray.evaluation.pictures.radiographs import Row, is_null
from comit_ray.evaluation.pictures.random_sheet import WHOLE
from comit_ray.tables.vocabulary import counted

COUNT = 8
"""Most images of a gallery, unless the caller asks for another number: two rows."""
Lungs = Literal["pixels", "boxes"]


class Like(TypedDict):
    """Arguments that all galleries of a report share; see `misclassified`."""

    seed: int
    lungs: Lungs
    rows_of: ImageRows


def misclassified(
    images: pd.DataFrame,
    output: str,
    limits: DecodeLimits,
    count: int = COUNT,
    seed: int = 0,
    lungs: Lungs = "pixels",
    rows_of: ImageRows = WHOLE,
) -> Picture:
    """Draws COVID-19 images that neither score flagged, sorted by day of illness, `figure_10_misclassified`.

    Args:
        images: result of `screen_metrics.join_tables`.
        output: URI of the report.
        limits: limits for decoding an image.
        count: the most images to show.
        seed: seed of the draw if there are more images.
        lungs: whether annotated lungs are shown as drawn or as boxes, as in
            `comit_ray.config.image_config.MasksConfig`.
        rows_of: the rows behind `images`.

    Raises:
        StorageError: the picture cannot be written.
    """
    name = "figure_10_misclassified"
    caption = "Images labelled COVID-19 that the model flags neither as COVID-19 nor as unhealthy."
    covid = _covid(images)
    judged = covid[covid["covid_flag"].notna() & covid["unhealthy_flag"].notna()]
    if judged.empty:
        return nothing(name, caption, "no scored image labelled COVID-19 has flags of both scores")
    rows = judged[~judged["covid_flag"].astype(bool) & ~judged["unhealthy_flag"].astype(bool)]
    if rows.empty:
        told = counted(len(judged), "image")
        return nothing(name, caption, f"there is none; of {told} labelled COVID-19, each is flagged by a score")
    chosen = rows_of.first(rows, count, seed)
    days = _days(chosen)
    chosen = chosen.assign(day=days).sort_values(["day", "image_id"], na_position="last")
    caption += (
        f"{_at(judged)} Shown: {drawn_of(len(chosen), len(rows), 'such images')}. Images labelled COVID-19 that were "
        f"scored: {len(judged):,}. They are sorted by the day of illness (since first symptoms or admission), which is "
        f"known for {int(days.notna().sum())} of those shown. An image without a flag may still show disease."
    )
    return _gallery(name, caption, chosen, output, limits, "COVID-19 images that no score flags", lungs, _lines)


def found(
    images: pd.DataFrame,
    output: str,
    limits: DecodeLimits,
    count: int = COUNT,
    seed: int = 0,
    lungs: Lungs = "pixels",
    rows_of: ImageRows = WHOLE,
) -> Picture:
    """Draws COVID-19 images that were flagged, with the predicted disease, `figure_13_found`.

    Arguments and errors are those of `misclassified`.
    """
    name = "figure_13_found"
    caption = "Images labelled COVID-19 that the model flags as COVID-19, with the disease that it outlines."
    judged = _judged(images)
    chosen, shown, reason = _flagged(judged, "labelled COVID-19", count, seed, rows_of)
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
    rows_of: ImageRows = WHOLE,
) -> Picture:
    """Draws COVID-19 images without a flag, preferably those in which readers saw no abnormality.

    Args:
        images: result of `screen_metrics.join_tables`.
        readings: columns image_id and abnormal (True, False, or null for undecided), one row per image; None if there
            are no readings.
        output: URI of the report.
        limits: limits for decoding an image.
        count: the most images to show.
        seed: seed of the draw if there are more images.
        lungs: whether annotated lungs are shown as drawn or as boxes, as in
            `comit_ray.config.image_config.MasksConfig`.
        name: name of the file.
        rows_of: the rows behind `images`.

    Raises:
        StorageError: the picture cannot be written.
    """
    caption = "Images labelled COVID-19 that the model does not flag as COVID-19."
    judged = _judged(images)
    if judged.empty:
        return nothing(name, caption, "no scored image labelled COVID-19 has a COVID-19 flag")
    rows = judged[~judged["covid_flag"].astype(bool)]
    if rows.empty:
        return nothing(
            name,
            caption,
            f"there is none; the model flags {len(judged):,} of {counted(len(judged), 'image')} labelled COVID-19",
        )
    verdicts = {} if readings is None else dict(zip(readings["image_id"], readings["abnormal"], strict=True))
    read = rows.iloc[:0] if readings is None else rows[rows["image_id"].isin(verdicts)]
    agreed = read if read.empty else read[[_is(verdicts[image_id], False) for image_id in read["image_id"]]]
    pool = rows if agreed.empty else agreed
    what = "such images" if agreed.empty else "such images in which the readers saw no abnormality"
    chosen = rows_of.first(pool, count, seed)
    caption += (
        f"{_at(judged)} Shown: {drawn_of(len(chosen), len(pool), what)}. The model missed {len(rows):,} of "
        f"{len(judged):,} images labelled COVID-19. "
    )
    if readings is None:
        caption += "There are no readings to compare with."
    else:
        caption += f"Readers read {len(read):,} of the missed images and saw no abnormality in {len(agreed):,}."

    def lines(row: Row) -> tuple[str, ...]:
        return _lines(row) if readings is None else (*_lines(row), _verdict(row, verdicts))

    return _gallery(name, caption, chosen, output, limits, "COVID-19 images that were missed", lungs, lines)


def falsely_called(
    images: pd.DataFrame,
    output: str,
    limits: DecodeLimits,
    count: int = COUNT,
    seed: int = 0,
    lungs: Lungs = "pixels",
    rows_of: ImageRows = WHOLE,
) -> Picture:
    """Draws images labelled as not COVID-19 that the model flags as COVID-19, `falsely_called`.

    Arguments and errors are those of `misclassified`.
    """
    name = "falsely_called"
    caption = "Images labelled as not COVID-19 that the model flags as COVID-19."
    others = images[(images["status"] == Status.OK) & (images["covid"] == 0)]
    judged = others[others["covid_flag"].notna()]
    chosen, shown, reason = _flagged(judged, "labelled as not COVID-19", count, seed, rows_of)
    if reason is not None:
        return nothing(name, caption, reason)
    caption += f"{shown} Labels can be wrong too."
    return _gallery(name, caption, chosen, output, limits, "Images falsely called COVID-19", lungs, random_sheet.said)


def _flagged(
    judged: pd.DataFrame, label: str, count: int, seed: int, rows_of: ImageRows
) -> tuple[pd.DataFrame, str, str | None]:
    """Draws flagged images at random; gives them, the words of the caption, and a reason if there are none."""
    rows = judged[judged["covid_flag"].astype(bool)]
    chosen = rows_of.first(rows, count, seed)
    if judged.empty:
        return chosen, "", f"no scored image {label} has a COVID-19 flag"
    if rows.empty:
        return chosen, "", f"there is none; the model flags 0 of {counted(len(judged), 'image')} {label}"
    drawn = drawn_of(len(chosen), len(rows), "such images")
    return chosen, f"{_at(judged)} Shown: {drawn}. Images {label} that were scored: {len(judged):,}.", None


def _covid(images: pd.DataFrame) -> pd.DataFrame:
    return images[(images["status"] == Status.OK) & (images["covid"] == 1)]


def _judged(images: pd.DataFrame) -> pd.DataFrame:
    covid = _covid(images)
    return covid[covid["covid_flag"].notna()]


def _at(judged: pd.DataFrame) -> str:
    """The sentence that names the operating points of the flags."""
    names = sorted(judged["operating_point"].dropna().unique())
    return f" The flags are those of the operating point {', '.join(names)}." if names else ""


def _days(images: pd.DataFrame) -> pd.Series:
    """The day of illness of each image; NaN if it is not known."""
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
    return random_sheet.written(output, name, caption, chosen, title, limits, lungs, lines)


def _lines(row: Row) -> tuple[str, ...]:
    """The lines below an image: decisions and day of illness."""
    day = row.get("illness_day")
    when = "day of illness not known" if day is None or is_null(day) else f"day of illness {int(day)}"
    return *random_sheet.decisions(row), when


def _verdict(row: Row, verdicts: dict[str, object]) -> str:
    if row["image_id"] not in verdicts:
        return "readers: not read"
    abnormal = verdicts[row["image_id"]]
    if _is(abnormal, True):
        return "readers: abnormal"
    return "readers: no abnormality" if _is(abnormal, False) else "readers: undecided"


def _is(value: object, wanted: bool) -> bool:
    """Whether a nullable verdict is `wanted`; a null is neither True nor False."""
    return not is_null(value) and bool(value) is wanted
