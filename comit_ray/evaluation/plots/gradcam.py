"""Grad-CAM heat maps (Selvaraju et al., 2017) beside annotated and predicted disease (figure 12 of the paper)."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from comit_ray.evaluation.pictures.contact_sheet import sheet
from comit_ray.evaluation.pictures.radiographs import DISPLAY_PX
from comit_ray.evaluation.tile import Blank, Mask, Pixels, Tile

HEADS = ("radiograph", "annotated disease", "Grad-CAM", "predicted disease")


@dataclass(frozen=True)
class GradcamRow:
    """One image.

    Args:
        pixels_HW: uint8, the radiograph.
        true_HW: annotated disease, or why there is none.
        heat_HW: uint8, 255 the map's highest value, or why there is none; another size covers the same field.
        predicted_HW: predicted disease, likewise.
        caption: lines below the radiograph.
        heat_caption: which score the map is of.
    """

    pixels_HW: Pixels
    true_HW: Mask | str
    heat_HW: Pixels | str
    predicted_HW: Mask | str
    caption: tuple[str, ...] = ()
    heat_caption: tuple[str, ...] = ()


def draw(rows: Sequence[GradcamRow], title: str) -> Image.Image:
    """Four columns: the radiograph alone, with annotated disease, with the heat map, with predicted disease.

    Args:
        rows: the images, from top to bottom.
        title: above them.
    """
    tiles = [tile for row in rows for tile in _tiles(row)]
    return sheet(tiles, len(HEADS), DISPLAY_PX, title, heads=HEADS)


def _tiles(row: GradcamRow) -> list[Tile | Blank]:
    """The annotation lies over the heat and the prediction too, so that a reader need not compare by eye."""
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
