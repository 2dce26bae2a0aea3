from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comit_ray.screening.mask_tables import ZONES, measure_regions, severity


def lungs() -> np.ndarray:
    """Two 6 x 2 lungs in a 10 x 10 frame."""
    lung = np.zeros((10, 10), bool)
    lung[2:8, 1:3] = lung[2:8, 7:9] = True
    return lung


def test_areas_are_fractions_of_the_frame_and_of_the_lung():
    disease = np.zeros((10, 10), bool)
    disease[2:8, 0:2] = True  # half of it in the right lung
    found = measure_regions(lungs(), disease)
    assert found.lung_area == pytest.approx(0.24)
    assert found.disease_area == pytest.approx(0.12)
    assert found.disease_in_lung == pytest.approx(6 / 24)


@pytest.mark.parametrize("zone", range(6))
def test_each_zone_is_the_patients(zone):
    """The patient's right lung is on the image's left."""
    disease = np.zeros((10, 10), bool)
    third, left = zone % 3, zone >= 3
    disease[2 + 2 * third : 4 + 2 * third, (7 if left else 1) : (9 if left else 3)] = True
    found = measure_regions(lungs(), disease).zone_disease
    assert found == [1.0 if place == zone else 0.0 for place in range(6)]
    assert ZONES[zone].startswith("left" if left else "right")


@given(st.integers(0, 2**32 - 1), st.integers(1, 17), st.integers(1, 17), st.floats(0.02, 0.98))
def test_zones_are_those_of_pixel_centres(seed: int, height: int, width: int, share: float) -> None:
    """Against the definition, pixel by pixel."""
    random = np.random.default_rng(seed)
    lung, disease = random.random((height, width)) < share, random.random((height, width)) < 0.5
    lung[random.integers(height), random.integers(width)] = True
    rows, columns = np.nonzero(lung)
    middle = (columns.min() + columns.max() + 1) / 2
    cuts = np.linspace(rows.min(), rows.max() + 1, 4)
    expected: list[float | None] = []
    for on_side in (columns + 0.5 < middle, columns + 0.5 >= middle):
        for low, high in pairwise(cuts):
            zone = on_side & (rows + 0.5 >= low) & (rows + 0.5 < high)
            expected.append(float(disease[rows, columns][zone].mean()) if zone.any() else None)
    assert measure_regions(lung, disease).zone_disease == expected


def test_no_lung_gives_null_not_zero():
    found = measure_regions(np.zeros((4, 4), bool), np.ones((4, 4), bool))
    assert (found.lung_area, found.disease_area) == (0.0, 1.0)
    assert found.disease_in_lung is None
    assert found.zone_disease is None


def test_absent_heads_give_nulls():
    assert measure_regions(None, None) == measure_regions(None, None).__class__(None, None, None, None)
    assert measure_regions(lungs(), None).disease_area is None


def test_severity_is_three_a_zone_and_counts_a_zone_without_lung_as_the_others() -> None:
    assert severity([0.0] * 6) == 0
    assert severity([1.0] * 6) == 18
    assert severity([1.0, 0.5, 0, 0, 0, 0]) == pytest.approx(4.5)
    assert severity([None, 0.5, 0.5, 0.5, 0.5, 0.5]) == pytest.approx(9)
