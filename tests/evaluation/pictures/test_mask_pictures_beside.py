import numpy as np

from comit_ray.evaluation.pictures.contact_sheet import DISEASE, GROUND, LUNG, MARGIN, TRUE_DISEASE, TRUE_LUNG
from comit_ray.evaluation.pictures.mask_pictures import MaskRow, draw_masks_beside
from comit_ray.evaluation.pictures.radiographs import DISPLAY_PX
from tests.evaluation.support import where

GREY = np.full((DISPLAY_PX, DISPLAY_PX), 100, np.uint8)


def square(start: int, stop: int) -> np.ndarray:
    mask = np.zeros_like(GREY, bool)
    mask[start:stop, start:stop] = True
    return mask


TRUTH, NEAR, FAR = square(100, 200), square(110, 210), square(10, 60)


def column(picture, number: int):
    """One tile of the last row, without title and legend, whose colours are those of the masks too."""
    left, top = MARGIN + number * (DISPLAY_PX + MARGIN), picture.height - DISPLAY_PX - 2 * MARGIN
    return picture.crop((left, top, left + DISPLAY_PX, top + DISPLAY_PX))


def test_the_annotation_comes_first_and_every_model_has_its_own_column():
    picture = draw_masks_beside([MaskRow(GREY, TRUTH, {"near": NEAR, "far": FAR})], ["far", "near"], "lung", "lungs")
    assert picture.width == MARGIN + 3 * (DISPLAY_PX + MARGIN)
    first, far, near = (column(picture, number) for number in range(3))
    assert where(first, TRUE_LUNG).any()
    assert not where(first, LUNG).any()
    for tile, mask in ((far, FAR), (near, NEAR)):
        rows, columns = np.nonzero(where(tile, LUNG))
        assert columns.min() == np.flatnonzero(mask.any(axis=0))[0]
        assert columns.max() == np.flatnonzero(mask.any(axis=0))[-1]
        assert rows.max() - rows.min() == mask.any(axis=1).sum() - 1
        assert where(tile, TRUE_LUNG).any(), "the annotation lies over the prediction"


def test_disease_is_a_fill():
    picture = draw_masks_beside([MaskRow(GREY, TRUTH, {"a": FAR})], ["a"], "disease", "disease")
    tile = column(picture, 1)
    tinted = np.ptp(np.asarray(tile).astype(int), axis=2) > 20
    rows, columns = np.nonzero(tinted[:, :80])
    assert (columns.min(), columns.max()) == (10, 59)
    assert rows.size == 50 * 50
    assert where(tile, DISEASE).any()
    assert where(tile, TRUE_DISEASE).any()
    assert not where(tile, LUNG).any()


def test_a_model_without_a_mask_has_a_place_that_says_so():
    rows = [MaskRow(GREY, TRUTH, {"a": "not screened by this model", "b": NEAR})]
    picture = draw_masks_beside(rows, ["a", "b"], "lung", "lungs")
    assert where(column(picture, 1), GROUND).mean() > 0.5
    assert not where(column(picture, 2), GROUND).any()
    other = draw_masks_beside(
        [MaskRow(GREY, TRUTH, {"a": "this model draws no lungs", "b": NEAR})], ["a", "b"], "lung", "lungs"
    )
    assert not np.array_equal(np.asarray(column(picture, 1)), np.asarray(column(other, 1)))


def test_a_row_an_image():
    one = MaskRow(GREY, TRUTH, {"a": NEAR})
    low, high = (draw_masks_beside([one] * count, ["a"], "lung", "t").height for count in (1, 3))
    assert high - low == 2 * (DISPLAY_PX + 2 * MARGIN)


def test_an_annotation_that_cannot_be_read_leaves_the_radiograph():
    picture = draw_masks_beside([MaskRow(GREY, None, {"a": NEAR})], ["a"], "lung", "t")
    assert not where(picture, TRUE_LUNG).any()
    assert (np.asarray(column(picture, 0)) == 100).all()
