"""Captioned radiographs with masks, four a line (figures 10, 13 and 14 of the paper)."""

from collections.abc import Sequence

from PIL import Image

from comit_ray.evaluation.pictures.contact_sheet import sheet
from comit_ray.evaluation.pictures.radiographs import DISPLAY_PX
from comit_ray.evaluation.tile import Blank, Tile

COLUMNS = 4


def draw(tiles: Sequence[Tile | Blank], title: str) -> Image.Image:
    """The tiles in reading order.

    Args:
        tiles: radiographs with masks and captions, and places of those that cannot be shown.
        title: above them.
    """
    return sheet(tiles, COLUMNS, DISPLAY_PX, title)
