import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_windowing

from comit_ray.data.images import dicom_display


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_window_is_pydicoms(function: str) -> None:
    values = np.arange(4096)
    header = Dataset()
    header.WindowCenter, header.WindowWidth, header.VOILUTFunction = 1500, 800, function
    header.BitsStored, header.PixelRepresentation, header.PhotometricInterpretation = 12, 0, "MONOCHROME2"
    expected = apply_windowing(values, header) / 4095
    assert dicom_display.apply_window(values.astype(float), 1500, 800, function) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("width", "function"), [(0, "LINEAR"), (0, "LINEAR_EXACT"), (10, "CUBIC"), (float("nan"), "LINEAR")]
)
def test_impossible_windows(width: float, function: str) -> None:
    with pytest.raises(ValueError, match=r"window|function"):
        dicom_display.apply_window(np.arange(4.0), 1, width, function)


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", "<i2", ">u2", ">i2"])
def test_look_up_gives_every_value_its_own(dtype: str) -> None:
    info = np.iinfo(dtype)
    stored = np.array([[info.min, -1 if info.min else 7, 2], [1, 100, info.max]], dtype)
    possible = dicom_display.possible_values(stored)
    table = (possible % 251).astype(np.uint8)
    assert np.array_equal(dicom_display.look_up(stored, table), (stored.astype(int) % 251).astype(np.uint8))
    counts = dicom_display.count_values(stored)
    assert dict(zip(possible[counts > 0].tolist(), counts[counts > 0].tolist(), strict=True)) == {
        int(value): 1 for value in stored.ravel()
    }


def test_spread_is_the_percentiles() -> None:
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 4096, (200, 300)).astype(np.uint16)
    low, high = np.percentile(stored, dicom_display.PERCENTILES, method="inverted_cdf")
    values = dicom_display.possible_values(stored).astype(float)
    shown = dicom_display.spread_values(values, dicom_display.count_values(stored))
    assert shown == pytest.approx(np.clip((values - low) / (high - low), 0, 1))


def test_spread_takes_the_full_range_where_percentiles_meet() -> None:
    stored = np.full((100, 100), 5, np.uint8)
    stored[0, 0] = 9
    shown = dicom_display.spread_values(np.arange(256.0), dicom_display.count_values(stored))
    assert (shown[5], shown[9]) == (0, 1)
    assert not dicom_display.spread_values(np.arange(256.0), np.zeros(256, np.int64)).any()
