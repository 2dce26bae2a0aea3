"""Masks of several models beside the annotation, a row an image (figures 5 to 7 of the paper)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from comit_ray.evaluation.pictures.contact_sheet import sheet
from comit_ray.evaluation.pictures.radiographs import DISPLAY_PX
from comit_ray.evaluation.tile import Blank, Mask, Pixels, Tile


@dataclass(frozen=True)
class MaskRow:
    """One image.

    Args:
        pixels_HW: uint8, the radiograph.
        true_HW: the annotation; None if it cannot be read.
        masks: model -> its mask, which may have another size and covers the same field, or why there is none.
        caption: lines below the first column.
    """

    pixels_HW: Pixels
    true_HW: Mask | None
    masks: Mapping[str, Mask | str]
    caption: tuple[str, ...] = ()


def draw(rows: Sequence[MaskRow], models: Sequence[str], task: Literal["lung", "disease"], title: str) -> Image.Image:
    """The radiograph with its annotation, then with every model's mask over the annotation.

    Args:
        rows: the images, from top to bottom.
        models: the columns, keys of every row's masks.
        task: what the masks are of.
        title: above them.
    """
    tiles = [tile for row in rows for tile in _tiles(row, models, task)]
    return sheet(tiles, 1 + len(models), DISPLAY_PX, title, heads=("annotation", *models))


def _tiles(row: MaskRow, models: Sequence[str], task: Literal["lung", "disease"]) -> list[Tile | Blank]:
    tiles: list[Tile | Blank] = [_tile(row, None, task, row.caption)]
    for model in models:
        mask = row.masks[model]
        tiles.append(Blank(mask) if isinstance(mask, str) else _tile(row, mask, task))
    return tiles


def _tile(row: MaskRow, mask_HW: Mask | None, task: Literal["lung", "disease"], caption: tuple[str, ...] = ()) -> Tile:
    if task == "lung":
        return Tile(row.pixels_HW, lung_HW=mask_HW, true_lung_HW=row.true_HW, caption=caption)
    return Tile(row.pixels_HW, disease_HW=mask_HW, true_disease_HW=row.true_HW, caption=caption)
