from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from comit_ray.data.masks.mask_images import lung_boxes, lung_rectangles

RIGHT, LEFT = (20, 80, 10, 45), (25, 85, 55, 90)  # top, bottom, left, right: the patient's right is the image's left


def lungs(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Ellipses in the boxes, on 100 x 100 pixels."""
    y, x = np.mgrid[:100, :100] + 0.5
    mask = np.zeros((100, 100), np.uint8)
    for top, bottom, left, right in boxes:
        radii = (bottom - top) / 2, (right - left) / 2
        mask[((y - (top + bottom) / 2) / radii[0]) ** 2 + ((x - (left + right) / 2) / radii[1]) ** 2 <= 1] = 1
    return mask


def filled(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((100, 100), np.uint8)
    for top, bottom, left, right in boxes:
        mask[top:bottom, left:right] = 1
    return mask


def test_two_lungs_are_two_solid_rectangles() -> None:
    mask = lungs(RIGHT, LEFT)
    before = mask.copy()
    assert (lung_rectangles(mask) == filled(RIGHT, LEFT)).all()
    assert (mask == before).all()
    assert lung_rectangles(mask).dtype == np.uint8


@pytest.mark.parametrize("box", [RIGHT, LEFT])
def test_one_lung_is_one_rectangle(box: tuple[int, int, int, int]) -> None:
    assert (lung_rectangles(lungs(box)) == filled(box)).all()


def test_no_lung_stays_none() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[:10] = 255
    assert (lung_rectangles(mask) == mask).all()


@pytest.mark.parametrize("joint", [slice(48, 52), slice(38, 62), slice(26, 30)])
def test_lungs_joined_over_the_mediastinum_are_two(joint: slice) -> None:
    mask = lungs(RIGHT, LEFT)
    mask[joint, 25:75] = 1
    assert ndimage.label(mask)[1] == 1
    first, second = lung_boxes(mask)
    assert first[2] == 10
    assert second[3] == 90
    assert 45 <= first[3] <= second[2] <= 55
    assert first[3] - 45 == pytest.approx(55 - second[2], abs=2), "cut in the middle of the joint"


def test_pieces_of_a_lung_above_one_another_are_one_lung() -> None:
    mask = lungs(RIGHT, LEFT)
    mask[45:50] = 0
    assert ndimage.label(mask)[1] == 4
    assert (lung_rectangles(mask) == filled(RIGHT, LEFT)).all()
    alone = lungs(LEFT)
    alone[45:50] = 0
    assert (lung_rectangles(alone) == filled(LEFT)).all()


def test_a_piece_beside_a_lung_belongs_to_the_nearer_one() -> None:
    mask = lungs(RIGHT, (25, 85, 55, 80))
    mask[60:80, 84:92] = 1
    assert (lung_rectangles(mask) == filled(RIGHT, (25, 85, 55, 92))).all()


def test_specks_count_for_nothing() -> None:
    mask = lungs(RIGHT, LEFT)
    mask[2, 2] = mask[95:97, 98] = mask[50, 50] = 1
    assert (lung_rectangles(mask) == filled(RIGHT, LEFT)).all()


def test_a_small_lung_is_no_speck() -> None:
    small = (60, 75, 60, 70)
    assert (lung_rectangles(lungs(RIGHT, small)) == filled(RIGHT, small)).all()


def test_ignored_pixels_stay_so_outside_the_rectangles() -> None:
    mask = lungs(RIGHT, LEFT)
    mask[22:24, 12:14] = 255  # in a corner of the right lung's box
    mask[90:95, 40:60] = 255
    boxed = lung_rectangles(mask)
    assert boxed[22:24, 12:14].all()
    assert (boxed[22:24, 12:14] == 1).all()
    assert (boxed[90:95, 40:60] == 255).all()
    assert (boxed == 255).sum() == 100


@cache
def real_masks(cxr: Path) -> dict[str, np.ndarray]:
    """Stem -> lung mask at 224 x 224, ignore included."""
    masks = {}
    for path in sorted((cxr / "covid_chestxray" / "annotations" / "lung_masks").glob("*.png")):
        with Image.open(path) as image:
            grey = np.asarray(image.convert("L").resize((224, 224), Image.Resampling.NEAREST))
        masks[path.stem] = np.where(grey >= 192, 1, np.where(grey <= 63, 0, 255)).astype(np.uint8)
        masks[path.stem].setflags(write=False)
    return masks


def test_counts_of_the_real_lung_masks(cxr: Path) -> None:
    """One radiograph has one lung drawn; the 33 without are CT slices and lateral views."""
    boxes = {stem: lung_boxes(mask) for stem, mask in real_masks(cxr).items()}
    assert [sum(len(found) == count for found in boxes.values()) for count in (0, 1, 2)] == [33, 1, 162]
    assert len(boxes["acute-respiratory-distress-syndrome-ards-1"]) == 1
    for stem, found in boxes.items():
        if len(found) == 2:
            (top, bottom, left, right), other = found
            assert min(bottom, other[1]) > max(top, other[0]), f"{stem}: one above the other"
            assert left < other[2] < other[3], stem
            assert right < other[3], stem


def test_rectangles_hold_the_real_lungs(cxr: Path) -> None:
    for stem, mask in real_masks(cxr).items():
        boxed = lung_rectangles(mask)
        assert boxed[mask == 1].all(), stem
        assert (mask == 1).sum() >= 0.5 * (boxed == 1).sum(), f"{stem}: the rectangles are half empty"


@pytest.mark.parametrize("degrees", [-15, 15])
def test_real_lungs_of_a_turned_chest_are_two(cxr: Path, degrees: int) -> None:
    for stem, mask in real_masks(cxr).items():
        if len(truth := lung_boxes(mask)) == 2:
            turned = ndimage.rotate((mask == 1).astype(np.uint8), degrees, order=0, reshape=False)
            assert len(lung_boxes(turned)) == 2, stem
            for top, bottom, left, right in truth:
                alone = np.zeros_like(mask)
                alone[top:bottom, left:right] = mask[top:bottom, left:right] == 1
                labels, _ = ndimage.label(alone, np.ones((3, 3)))
                largest = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
                turned = ndimage.rotate(largest.astype(np.uint8), degrees, order=0, reshape=False)
                assert len(lung_boxes(turned)) == 1, f"{stem}: one lung taken for two"


def test_real_lungs_joined_are_parted_where_they_were(cxr: Path) -> None:
    for stem, mask in real_masks(cxr).items():
        if len(truth := lung_boxes(mask)) == 2:
            (top, bottom, left, right), other = truth
            middle = (max(top, other[0]) + min(bottom, other[1])) // 2
            joined = (mask == 1).astype(np.uint8)
            joined[middle - 10 : middle + 10, (left + right) // 2 : (other[2] + other[3]) // 2] = 1
            found = lung_boxes(joined)
            assert len(found) == 2, stem
            for box, true in zip(found, truth, strict=True):
                assert box == pytest.approx(true, abs=18), stem  # half of the widest mediastinum, in 224 columns
