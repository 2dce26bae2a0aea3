"""One radiograph with what is painted on it: what is drawn where, in which colour."""

import numpy as np

from comit_ray.evaluation.pictures.contact_sheet import (
    DISEASE,
    HEAT_FILL,
    LUNG,
    TRUE_DISEASE,
    TRUE_LUNG,
    Tile,
    heat_colours,
    paint,
)
from tests.evaluation.support import GREY, SQUARE, where


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


def test_heat_colours_what_is_hot_and_leaves_the_rest_grey() -> None:
    heat = np.zeros((200, 160), np.uint8)
    heat[100:, :] = 255
    picture = np.asarray(paint(Tile(GREY, heat_HW=heat), 200)).astype(int)
    assert (picture[20, 20] == 100).all()
    hottest = heat_colours(np.ones(1, np.float32))[0]
    np.testing.assert_allclose(picture[180, 80], (1 - HEAT_FILL) * 100 + HEAT_FILL * hottest, atol=1)


def test_heat_of_another_size_covers_the_same_field() -> None:
    heat = np.zeros((50, 40), np.uint8)
    heat[25:, :] = 255
    coloured = np.ptp(np.asarray(paint(Tile(GREY, heat_HW=heat), 200)).astype(int), axis=2) > 0
    rows = np.flatnonzero(coloured.any(axis=1))
    assert abs(rows.min() - 100) <= 3
    assert rows.max() == 199


def test_brighter_is_hotter() -> None:
    light = heat_colours(np.linspace(0, 1, 9, dtype=np.float32)).sum(axis=1)
    assert (np.diff(light) > 0).all()
