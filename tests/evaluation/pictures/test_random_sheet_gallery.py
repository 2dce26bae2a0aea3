import numpy as np
from PIL import Image

from comit_ray.evaluation.pictures.contact_sheet import DISEASE, MARGIN, Blank, Tile, sheet
from comit_ray.evaluation.pictures.radiographs import DISPLAY_PX
from comit_ray.evaluation.pictures.random_sheet import COLUMNS
from tests.evaluation.support import GREY, SQUARE, where


def gallery(tiles: list[Tile | Blank]) -> Image.Image:
    return sheet(tiles, COLUMNS, DISPLAY_PX, "t")


def test_four_a_line():
    tile = Tile(GREY, disease_HW=SQUARE, caption=("COVID 0.03", "day of illness 3"))
    four, five = gallery([tile] * 4), gallery([tile] * 5)
    assert four.width == five.width == MARGIN + COLUMNS * (DISPLAY_PX + MARGIN)
    assert five.height > four.height + DISPLAY_PX
    last = five.crop((0, four.height, five.width, five.height))
    assert where(last, DISEASE)[:, : DISPLAY_PX + MARGIN].any()
    assert not where(last, DISEASE)[:, DISPLAY_PX + MARGIN :].any()


def test_captions_are_written_below_their_radiograph():
    one, other = (gallery([Tile(GREY, caption=(text,))]) for text in ("day of illness 3", "day of illness 8"))
    differ = (np.asarray(one) != np.asarray(other)).any(axis=(1, 2))
    assert differ.any()
    assert np.flatnonzero(differ).min() > one.height - 60


def test_a_place_that_cannot_be_shown_is_kept():
    assert gallery([Tile(GREY), Blank("the radiograph cannot be read")]).width == MARGIN + 2 * (DISPLAY_PX + MARGIN)
