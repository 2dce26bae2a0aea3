"""The sheet of overlays: what is drawn where, in which colour, and that odd input fits."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from comit_ray.data.phantom import Kind, draw
from comit_ray.evaluation.figures import (
    DISEASE,
    LUNG,
    MARGIN,
    TRUE_DISEASE,
    TRUE_LUNG,
    Colour,
    Tile,
    overlay_sheet,
    paint,
)

GREY = np.full((200, 160), 100, np.uint8)
SQUARE = np.zeros((200, 160), bool)
SQUARE[50:150, 40:120] = True


def where(picture: Image.Image, colour: Colour) -> NDArray[np.bool_]:
    return np.asarray((np.asarray(picture) == colour).all(axis=2))


def opened(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def test_predicted_lungs_are_a_thin_closed_line() -> None:
    line = where(paint(Tile(GREY, lung_HW=SQUARE), 200), LUNG)
    rows, columns = np.nonzero(line)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (50, 149, 40, 119)
    assert line.sum() == 2 * 100 + 2 * 80 - 4
    assert not line[60:140, 50:110].any()


def test_predicted_disease_is_a_translucent_fill() -> None:
    picture = np.asarray(paint(Tile(GREY, disease_HW=SQUARE), 200)).astype(int)
    np.testing.assert_allclose(picture[100, 80], 0.6 * 100 + 0.4 * np.array(DISEASE), atol=1)
    assert (picture[20, 20] == 100).all()


def test_truth_is_dashed() -> None:
    picture = paint(Tile(GREY, true_lung_HW=SQUARE, true_disease_HW=SQUARE[::-1, ::-1]), 200)
    assert not where(picture, TRUE_LUNG).any()  # the same line: drawn over by the disease's
    dashes = where(paint(Tile(GREY, true_lung_HW=SQUARE), 200), TRUE_LUNG)
    for row in (dashes[50], dashes[149]):
        share = row[40:120].mean()
        assert 0.3 < share < 0.7
        assert 4 <= np.count_nonzero(np.diff(row[40:120].astype(int))) <= 40
    assert where(picture, TRUE_DISEASE).any()


def test_masks_of_another_size_cover_the_same_field() -> None:
    small = np.zeros((50, 40), bool)
    small[12:38, 10:30] = True
    line = where(paint(Tile(GREY, lung_HW=small), 200), LUNG)
    rows, columns = np.nonzero(line)
    assert abs(rows.min() - 48) <= 1
    assert abs(rows.max() - 151) <= 1
    assert abs(columns.min() - 40) <= 1
    assert abs(columns.max() - 119) <= 1


def test_the_aspect_ratio_is_kept() -> None:
    assert paint(Tile(GREY), 100).size == (80, 100)
    assert paint(Tile(GREY.T), 100).size == (100, 80)


def test_a_lung_that_touches_the_border_has_no_line_along_it() -> None:
    line = where(paint(Tile(GREY, lung_HW=np.ones_like(SQUARE)), 200), LUNG)
    assert not line.any()


def test_the_sheet_has_a_place_for_every_tile() -> None:
    phantoms = [draw(seed, Kind.COVID, size=(160, 160)) for seed in range(5)]
    tiles = [Tile(p.pixels_HW, p.lung_HW, p.disease_HW, caption=("COVID 0.93", "label: COVID")) for p in phantoms]
    sheet = opened(overlay_sheet(tiles, columns=3, tile_px=128, title="a run"))
    assert sheet.width == MARGIN + 3 * (128 + MARGIN)
    assert sheet.height > 2 * 128
    picture = np.asarray(sheet)
    for column in range(3):
        left = MARGIN + column * (128 + MARGIN)
        blue = where(sheet, LUNG)[100:, left : left + 128].any(axis=1)
        lowest = int(np.flatnonzero(blue)[-1]) + 100
        assert (lowest > sheet.height // 2) == (column < 2), "the second row holds two tiles"
    assert picture[: 2 * MARGIN].max() > 200, "the title is written at the top"


def test_the_legend_shows_only_what_is_drawn() -> None:
    bare = opened(overlay_sheet([Tile(GREY)], columns=1, tile_px=200, title="run"))
    lungs = opened(overlay_sheet([Tile(GREY, lung_HW=np.zeros_like(SQUARE))], columns=1, tile_px=200, title="run"))
    assert not where(bare, LUNG).any()
    assert where(lungs, LUNG).any()
    assert not where(lungs, TRUE_LUNG).any()


@pytest.mark.parametrize("title", ["run", "a very long name of a run " * 20, "x" * 500])
def test_long_titles_and_captions_stay_on_the_sheet(title: str) -> None:
    tile = Tile(GREY, SQUARE, SQUARE, SQUARE, SQUARE, caption=("caption " * 30,))
    sheet = opened(overlay_sheet([tile], columns=4, tile_px=128, title=title))
    assert sheet.width == 128 + 2 * MARGIN
    margin = np.asarray(sheet)[:, -MARGIN // 2 :]
    assert margin.max() < 60, "nothing is written over the edge"


def test_no_tiles_give_a_sheet_that_says_so() -> None:
    sheet = opened(overlay_sheet([], columns=4, tile_px=320, title="a run"))
    assert np.asarray(sheet).max() > 200


def test_equal_tiles_give_equal_bytes() -> None:
    tile = Tile(GREY, SQUARE, SQUARE)
    assert overlay_sheet([tile], 1, 128, "run") == overlay_sheet([tile], 1, 128, "run")
