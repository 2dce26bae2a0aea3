"""Draws masks of several models beside the annotation (the paper's figures 5 to 7), and Grad-CAM (figure 12).

Each row is an image. Grad-CAM heat maps (Selvaraju et al., 2017) stand beside annotated and predicted disease.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from PIL import Image

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.masks.outline_words import OutlineGrid, sentences
from comit_ray.errors import NotFoundError, Status
from comit_ray.evaluation.image_rows import ImageRows
from comit_ray.evaluation.pictures import radiographs, random_sheet
from comit_ray.evaluation.pictures.contact_sheet import Blank, Mask, Pixels, Tile, sheet
from comit_ray.evaluation.pictures.picture import Picture, drawn_of, nothing, written
from comit_ray.evaluation.pictures.radiographs import DISPLAY_PX, Row, Shown
from comit_ray.storage import storage
from comit_ray.tables.parquet import read_rows
from comit_ray.tables.vocabulary import counted

HEADS = ("radiograph", "annotated disease", "Grad-CAM", "predicted disease")


@dataclass(frozen=True)
class GradcamRow:
    """One image with its heat map. Masks and maps may have another size than the radiograph; they cover the same field.

    Args:
        pixels_HW: the radiograph, uint8.
        true_HW: annotated disease, or the reason why there is none.
        heat_HW: the heat map, uint8, 255 at its highest value; or the reason why there is none.
        predicted_HW: predicted disease, or the reason why there is none.
        caption: lines below the radiograph.
        heat_caption: lines below the heat map, which name its score.
    """

    pixels_HW: Pixels
    true_HW: Mask | str
    heat_HW: Pixels | str
    predicted_HW: Mask | str
    caption: tuple[str, ...] = ()
    heat_caption: tuple[str, ...] = ()


def draw_gradcam(rows: Sequence[GradcamRow], title: str, note: str = "") -> Image.Image:
    """Draws four columns: the radiograph alone, with annotated disease, with the heat map, with predicted disease.

    Args:
        rows: the images, from top to bottom.
        title: title of the picture.
        note: a sentence below the title.
    """
    tiles = [tile for row in rows for tile in _gradcam_tiles(row)]
    return sheet(tiles, len(HEADS), DISPLAY_PX, title, heads=HEADS, note=note)


def _gradcam_tiles(row: GradcamRow) -> list[Tile | Blank]:
    """The tiles of one image. The annotation also lies over the heat map and the prediction, for comparison."""
    true, heat, predicted = row.true_HW, row.heat_HW, row.predicted_HW
    known = None if isinstance(true, str) else true
    return [
        Tile(row.pixels_HW, caption=row.caption),
        Blank(true) if isinstance(true, str) else Tile(row.pixels_HW, true_disease_HW=true),
        Blank(heat, row.heat_caption)
        if isinstance(heat, str)
        else Tile(row.pixels_HW, heat_HW=heat, true_disease_HW=known, caption=row.heat_caption),
        Blank(predicted)
        if isinstance(predicted, str)
        else Tile(row.pixels_HW, disease_HW=predicted, true_disease_HW=known),
    ]


@dataclass(frozen=True)
class MaskRow:
    """One image with the masks of several models.

    Args:
        pixels_HW: the radiograph, uint8.
        true_HW: the annotated mask; None if it cannot be read.
        masks: model -> its mask, or the reason why there is none; another size than the radiograph covers the same
            field.
        caption: lines below the first column.
    """

    pixels_HW: Pixels
    true_HW: Mask | None
    masks: Mapping[str, Mask | str]
    caption: tuple[str, ...] = ()


def draw_masks_beside(
    rows: Sequence[MaskRow], models: Sequence[str], task: Literal["lung", "disease"], title: str, note: str = ""
) -> Image.Image:
    """Draws each radiograph with its annotation, then again with every model's mask over the annotation.

    Args:
        rows: the images, from top to bottom.
        models: the columns, keys of every row's masks.
        task: whether the masks show lungs or disease.
        title: title of the picture.
        note: a sentence below the title.
    """
    tiles = [tile for row in rows for tile in _mask_tiles(row, models, task)]
    return sheet(tiles, 1 + len(models), DISPLAY_PX, title, heads=("annotation", *models), note=note)


def _mask_tiles(row: MaskRow, models: Sequence[str], task: Literal["lung", "disease"]) -> list[Tile | Blank]:
    tiles: list[Tile | Blank] = [_tile(row, None, task, row.caption)]
    for model in models:
        mask = row.masks[model]
        tiles.append(Blank(mask) if isinstance(mask, str) else _tile(row, mask, task))
    return tiles


def _tile(row: MaskRow, mask_HW: Mask | None, task: Literal["lung", "disease"], caption: tuple[str, ...] = ()) -> Tile:
    if task == "lung":
        return Tile(row.pixels_HW, lung_HW=mask_HW, true_lung_HW=row.true_HW, caption=caption)
    return Tile(row.pixels_HW, disease_HW=mask_HW, true_disease_HW=row.true_HW, caption=caption)


COUNT = 6
"""Most images of a picture, unless the caller asks for another number."""
CANNOT_BE_READ = "none of the chosen radiographs can be read any more"
UNREAD = " Left out because the radiograph can no longer be read: {count}."
GRADCAM = "gradcam"
"""Directory of the heat maps in a screen's results."""
Task = Literal["lung", "disease"]
WORDS: dict[Task, str] = {"lung": "lungs", "disease": "disease"}


def masks_beside(
    models: Mapping[str, pd.DataFrame],
    task: Task,
    output: str,
    limits: DecodeLimits,
    count: int = COUNT,
    seed: int = 0,
    *,
    only: Literal["any", "not_covid"] = "any",
    lungs: Literal["pixels", "boxes"] = "pixels",
) -> Picture:
    """Draws every model's mask of the same annotated images, `figure_05_lung_masks` or `figure_06_disease_masks`.

    Args:
        models: name of the column -> result of `screen_metrics.join_tables`.
        task: which masks; for disease, images with COVID-19 and with another finding are shown.
        output: URI of the report.
        limits: limits for decoding an image.
        count: the most images to show, half of them COVID-19 if there are enough.
        seed: seed of the draw if there are more images.
        only: `not_covid` shows only images with another finding than COVID-19, as `figure_07_other_disease_masks`.
        lungs: whether annotated lungs are shown as drawn or as boxes, as in
            `comit_ray.config.image_config.MasksConfig`.

    Raises:
        ValueError: there is no model.
        StorageError: the picture cannot be written.
    """
    if not models:
        raise ValueError("expected a model whose masks are drawn beside the annotation, got none")
    name = {"lung": "figure_05_lung_masks", "disease": "figure_06_disease_masks"}[task]
    what = WORDS[task]
    caption = (
        f"Annotated {what} (dashed) in the first column. The other columns add the {what} that each model outlines."
    )
    images = pd.concat([table[table["status"] == Status.OK] for table in models.values()])
    annotated = images[images[f"{task}_mask"].notna()].drop_duplicates("image_id")
    other = (annotated["covid"] == 0) & (annotated["unhealthy"] == 1)
    kind = f"images with annotated {what}"
    if only == "not_covid":
        name, annotated = f"figure_07_other_{task}_masks", annotated[other]
        kind += " and another finding than COVID-19"
    elif task == "disease":
        annotated = annotated[(annotated["covid"] == 1) | other]
    if annotated.empty:
        return nothing(name, caption, f"there is no scored {kind.replace('images', 'image', 1)}")
    chosen = random_sheet.choose(annotated, count, seed)
    caption += (
        f" Shown: {drawn_of(len(chosen), len(annotated), kind)}; with COVID-19: {int((chosen['covid'] == 1).sum())}."
    )
    rows_of = {
        model: {row["image_id"]: row for row in table[table["image_id"].isin(chosen["image_id"])].to_dict("records")}
        for model, table in models.items()
    }
    rows: list[MaskRow] = []
    ids: list[tuple[str, str]] = []
    outlined: list[OutlineGrid] = []
    unread = 0
    for shown in radiographs.load(chosen, limits, lungs):
        if not isinstance(shown, Shown):
            unread += 1
            continue
        own = {model: by_id.get(shown.row["image_id"]) for model, by_id in rows_of.items()}
        masks = {model: _mask(shown, row, task) for model, row in own.items()}
        outlined += [OutlineGrid.of_row(row) for row in own.values() if row and isinstance(row[f"{task}_png"], bytes)]
        ids.append((str(len(ids) + 1), shown.row["image_id"]))
        lines = (_numbered(ids, shown), f"label: {random_sheet.label(shown.row)}", *_about_truth(shown, task))
        rows.append(MaskRow(shown.pixels_HW, shown.true[task], masks, lines))
    if not rows:
        return nothing(name, caption, CANNOT_BE_READ)
    if unread:
        caption += UNREAD.format(count=unread)
    title = f"Predicted {what} of {counted(len(models), 'model')} beside the annotation"
    note = sentences(outlined)
    drawn = draw_masks_beside(rows, list(models), task, title, note)
    return written(output, name, f"{caption} {note}".strip(), drawn, tuple(ids))


def gradcam(
    images: pd.DataFrame,
    results_uri: str,
    output: str,
    limits: DecodeLimits,
    count: int = COUNT,
    seed: int = 0,
    rows_of: ImageRows = random_sheet.WHOLE,
) -> Picture:
    """Draws heat maps of the scores beside annotated and predicted disease, `figure_12_gradcam`.

    The map shows the COVID-19 score for an image labelled COVID-19, and the unhealthy score for another finding.

    Args:
        images: result of `screen_metrics.join_tables`.
        results_uri: URI of the screen, with the folder `gradcam/`.
        output: URI of the report.
        limits: limits for decoding an image.
        count: the most images to show, half of them COVID-19 if there are enough.
        seed: seed of the draw if there are more images.
        rows_of: the rows behind `images`.

    Raises:
        StorageError: the maps cannot be read, or the picture cannot be written.
    """
    name = "figure_12_gradcam"
    caption = (
        "Heat maps (Grad-CAM) of the places that raise a score most, beside annotated (dashed) and predicted disease. "
        "For images labelled COVID-19 the map shows the COVID-19 score, for other images the unhealthy score. Each map "
        "is scaled to its own highest value. A map that covers the lesion does not prove that the lesion caused the "
        "score."
    )
    known = images[images["status"] == Status.OK]
    known = known[(known["covid"] == 1) | ((known["covid"] == 0) & (known["unhealthy"] == 1))]
    if known.empty:
        return nothing(name, caption, "no scored image is labelled with COVID-19 or another finding")
    annotated = known[known["disease_mask"].notna()]
    pool = known if annotated.empty else annotated
    kind = "images labelled with a disease" if annotated.empty else "images with annotated disease"
    chosen = random_sheet.choose(pool, count, seed, rows_of)
    try:
        maps = read_rows(storage.join(storage.normalise(results_uri), GRADCAM), chosen["image_id"])
    except NotFoundError:
        return nothing(name, caption, f"{results_uri} has no Grad-CAM maps; screen with --gradcam true to get them")
    by_id = {row["image_id"]: row for row in maps.to_pylist()}
    rows: list[GradcamRow] = []
    ids: list[tuple[str, str]] = []
    unread = 0
    loaded = list(radiographs.load(chosen, limits))
    for shown in loaded:
        if isinstance(shown, Shown):
            ids.append((str(len(ids) + 1), shown.row["image_id"]))
            rows.append(_gradcam_row(shown, by_id.get(shown.row["image_id"]), _numbered(ids, shown)))
        else:
            unread += 1
    if not rows:
        return nothing(name, caption, CANNOT_BE_READ)
    caption += f" Shown: {drawn_of(len(chosen), len(pool), kind)}; with COVID-19: {int((chosen['covid'] == 1).sum())}."
    if unread:
        caption += UNREAD.format(count=unread)
    note = radiographs.outlined(loaded)
    drawn = draw_gradcam(rows, "Grad-CAM beside annotated and predicted disease", note)
    return written(output, name, f"{caption} {note}".strip(), drawn, tuple(ids))


def _numbered(ids: Sequence[tuple[str, str]], shown: Shown) -> str:
    """The first line below the newest image of `ids`: its number and its view."""
    return f"{ids[-1][0]}, {random_sheet.view(shown.row)}"


def _mask(shown: Shown, row: Row | None, task: Task) -> Mask | str:
    """The model's mask of an image, or the reason why there is none."""
    if row is None:
        return "not screened by this model"
    if row["status"] != Status.OK:
        return f"not scored by this model: {row['reason']}"
    mask = radiographs.predicted(shown, row, task)
    return f"this model outlines no {WORDS[task]}" if mask is None else mask


def _gradcam_row(shown: Shown, maps: Row | None, first: str) -> GradcamRow:
    score = "covid" if shown.row["covid"] == 1 else "unhealthy"
    words = {"covid": "COVID-19", "unhealthy": "unhealthy"}[score]
    true = shown.true["disease"]
    heat = _heat(shown, None if maps is None else maps[f"{score}_png"], words)
    nowhere = not isinstance(heat, str) and not heat.any()
    return GradcamRow(
        pixels_HW=shown.pixels_HW,
        true_HW=true
        if true is not None and true.any()
        else next(iter(_about_truth(shown, "disease")), "not annotated"),
        heat_HW=heat,
        predicted_HW=_mask(shown, shown.row, "disease"),
        caption=(first, f"label: {random_sheet.label(shown.row)}", *random_sheet.decisions(shown.row)),
        heat_caption=(f"map of the {words} score", *(["positive nowhere"] if nowhere else [])),
    )


def _heat(shown: Shown, png: bytes | None, words: str) -> Pixels | str:
    """The heat map on the field of the radiograph, or the reason why there is none."""
    if png is None:
        return f"there is no map of the {words} score"
    with Image.open(io.BytesIO(png)) as image:
        heat_HW = np.asarray(image.convert("L"))
    return radiographs.on_radiograph(heat_HW, shown, shown.row)


def _about_truth(shown: Shown, task: Task) -> tuple[str, ...]:
    """A line that explains why an annotation shows nothing; empty if it shows something."""
    true = shown.true[task]
    if task in shown.problems:
        return ("the annotation cannot be read",)
    return (f"the annotation marks no {WORDS[task]}",) if true is not None and not true.any() else ()
