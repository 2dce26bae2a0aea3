"""The sheet: what lies where, and that odd input fits."""

import numpy as np
import pytest

from comit_ray.data.phantom.phantom_drawing import PhantomKind, draw
from comit_ray.evaluation.pictures.contact_sheet import (
    GROUND,
    INK,
    LUNG,
    MARGIN,
    TRUE_LUNG,
    Blank,
    Tile,
    sheet,
)
from tests.evaluation.support import GREY, SQUARE, where


def test_the_sheet_has_a_place_for_every_tile() -> None:
    phantoms = [draw(seed, PhantomKind.COVID, size=(160, 160)) for seed in range(5)]
    tiles = [Tile(p.pixels_HW, p.lung_HW, p.disease_HW, caption=("COVID 0.93", "label: COVID")) for p in phantoms]
    drawn = sheet(tiles, columns=3, tile_px=128, title="a run")
    assert drawn.width == MARGIN + 3 * (128 + MARGIN)
    assert drawn.height > 2 * 128
    picture = np.asarray(drawn)
    for column in range(3):
        left = MARGIN + column * (128 + MARGIN)
        blue = where(drawn, LUNG)[100:, left : left + 128].any(axis=1)
        lowest = int(np.flatnonzero(blue)[-1]) + 100
        assert (lowest > drawn.height // 2) == (column < 2), "the second row holds two tiles"
    assert picture[: 2 * MARGIN].max() > 200, "the title is written at the top"


def test_the_legend_shows_only_what_is_drawn() -> None:
    bare = sheet([Tile(GREY)], columns=1, tile_px=200, title="run")
    lungs = sheet([Tile(GREY, lung_HW=np.zeros_like(SQUARE))], columns=1, tile_px=200, title="run")
    assert not where(bare, LUNG).any()
    assert where(lungs, LUNG).any()
    assert not where(lungs, TRUE_LUNG).any()


@pytest.mark.parametrize("title", ["run", "a very long name of a run " * 20, "x" * 500])
def test_long_titles_and_captions_stay_on_the_sheet(title: str) -> None:
    tile = Tile(GREY, SQUARE, SQUARE, SQUARE, SQUARE, caption=("caption " * 30,))
    drawn = sheet([tile], columns=4, tile_px=128, title=title)
    assert drawn.width == 128 + 2 * MARGIN
    margin = np.asarray(drawn)[:, -MARGIN // 2 :]
    assert margin.max() < 60, "nothing is written over the edge"


def test_no_tiles_give_a_sheet_that_says_so() -> None:
    drawn = sheet([], columns=4, tile_px=320, title="a run")
    assert np.asarray(drawn).max() > 200


def test_equal_tiles_give_equal_bytes() -> None:
    tile = Tile(GREY, SQUARE, SQUARE)
    assert sheet([tile], 1, 128, "run").tobytes() == sheet([tile], 1, 128, "run").tobytes()


def test_a_row_is_as_high_as_its_highest_radiograph() -> None:
    wide, high = Tile(np.full((100, 200), 90, np.uint8)), Tile(np.full((200, 100), 90, np.uint8))
    one_row = sheet([wide, wide], 2, 128, "run")
    assert sheet([wide, high], 2, 128, "run").height == one_row.height + 64
    assert sheet([wide, wide, high, wide], 2, 128, "run").height == one_row.height + 128 + 2 * MARGIN


def test_a_place_without_a_radiograph_says_why() -> None:
    picture = np.asarray(sheet([Tile(GREY), Blank("this model draws no lungs")], 2, 200, "run"))
    right = picture[:, 200 + 2 * MARGIN :]
    ground = (right == GROUND).all(axis=2)
    rows, columns = np.nonzero(ground)
    assert (columns.min(), columns.max()) == (0, 199)
    assert rows.max() - rows.min() == 199
    inside = right[rows.min() : rows.max() + 1, :200]
    assert (inside > 150).any(), "words are written on it"
    assert not (np.asarray(sheet([Tile(GREY)], 1, 200, "run")) == GROUND).all(axis=2).any()


def test_headings_stand_above_their_columns() -> None:
    tiles = [Tile(np.zeros((200, 200), np.uint8))] * 2
    plain = sheet(tiles, 2, 200, "run")
    headed = sheet(tiles, 2, 200, "run", heads=("annotation", "model"))
    line = headed.height - plain.height
    assert line > 10
    top = headed.height - 200 - 2 * MARGIN
    band = np.asarray(headed)[top - line - 3 : top].max(axis=(0, 2)) > 150
    for left in (MARGIN, 200 + 2 * MARGIN):
        written = np.flatnonzero(band[left : left + 200])
        assert written.size
        assert abs((written.min() + written.max()) / 2 - 100) < 4, "in the middle of its column"


def test_what_outlines_are_stands_on_the_sheet_itself() -> None:
    plain = sheet([Tile(GREY)], 1, 320, "run")
    noted = sheet([Tile(GREY)], 1, 320, "run", note="An outline is not a lesion's border.")
    assert noted.height > plain.height, "a picture may be copied without its caption"


def test_the_legend_of_a_heat_map_runs_from_dark_to_bright() -> None:
    heat = np.zeros((200, 160), np.uint8)
    with_heat, without = sheet([Tile(GREY, heat_HW=heat)], 1, 200, "run"), sheet([Tile(GREY)], 1, 200, "run")
    assert with_heat.height > without.height
    added = np.asarray(with_heat)[: with_heat.height - 220]
    assert (added[..., 0].astype(int) - added[..., 2] > 100).any(), "the reds of the heat map"
    assert not (np.asarray(without)[..., 0] != np.asarray(without)[..., 2]).any()
    assert INK[0] > 200
