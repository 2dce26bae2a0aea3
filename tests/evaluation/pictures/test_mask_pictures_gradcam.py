import numpy as np

from comit_ray.evaluation.pictures.contact_sheet import DISEASE, GROUND, MARGIN, TRUE_DISEASE
from comit_ray.evaluation.pictures.mask_pictures import GradcamRow, draw_gradcam
from comit_ray.evaluation.pictures.radiographs import DISPLAY_PX
from tests.evaluation.support import where

GREY = np.full((DISPLAY_PX, DISPLAY_PX), 100, np.uint8)
TRUTH = np.zeros_like(GREY, bool)
TRUTH[200:280, 40:120] = True
HEAT = np.zeros((64, 64), np.uint8)  # another size than the radiograph
HEAT[:16, :16] = 255


def columns(picture):
    tops = picture.height - DISPLAY_PX - 2 * MARGIN
    for number in range(4):
        left = MARGIN + number * (DISPLAY_PX + MARGIN)
        yield picture.crop((left, tops, left + DISPLAY_PX, tops + DISPLAY_PX))


def test_radiograph_annotation_heat_and_prediction_stand_side_by_side():
    plain, annotated, heat, predicted = columns(draw_gradcam([GradcamRow(GREY, TRUTH, HEAT, ~TRUTH)], "t"))
    assert (np.asarray(plain) == 100).all()
    assert where(annotated, TRUE_DISEASE).any()
    assert (np.asarray(annotated)[:150] == 100).all()
    hot = np.ptp(np.asarray(heat).astype(int), axis=2) > 20
    assert hot[:70, :70].all()
    assert not hot[90:190].any(), "what is cold stays grey"
    assert where(heat, TRUE_DISEASE).any(), "the annotation lies over the heat"
    assert where(predicted, DISEASE).any()
    assert where(predicted, TRUE_DISEASE).any()


def test_what_is_absent_says_why():
    picture = draw_gradcam(
        [GradcamRow(GREY, "not annotated", "no map of the COVID-19 score", "this model draws no disease")], "t"
    )
    plain, *others = columns(picture)
    assert not where(plain, GROUND).any()
    for place in others:
        assert where(place, GROUND).mean() > 0.5
    for colour in (TRUE_DISEASE, DISEASE):
        assert not where(picture, colour).any(), "and the legend does not name it"


def test_a_row_an_image():
    row = GradcamRow(GREY, TRUTH, HEAT, TRUTH)
    assert draw_gradcam([row] * 3, "t").height - draw_gradcam([row], "t").height == 2 * (DISPLAY_PX + 2 * MARGIN)
