"""The grayscale pipeline on arrays and elements, without a file around them."""

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from comit_ray.data.images.dicom_display import PIXEL_KEYWORDS, display
from comit_ray.data.images.dicom_file import open_dicom
from tests.data.dicom_files import dicom, ramp


def elements(**values: Any) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", ">u2"])
def test_the_first_window_then_the_inversion(dtype: str) -> None:
    stored = ramp(low=0, high=120).astype(dtype)
    window = elements(WindowCenter=["60", "1"], WindowWidth=["41", "2"])
    shown, applied = display(stored, window, "MONOCHROME2")
    inverted, also = display(stored, window, "MONOCHROME1")
    assert (applied, also) == (("window",), ("window", "monochrome1_inverted"))
    assert shown.dtype == np.uint8
    assert np.array_equal(inverted, 255 - shown)
    assert (shown[0] == 0).sum() == (stored[0] < 40).sum()
    assert (shown[0] == 255).sum() == (stored[0] > 79).sum()


def test_padding_stays_black_under_an_inversion() -> None:
    stored = ramp(low=100, high=200).astype(np.uint16)
    stored[:, :3] = 4095
    shown, applied = display(stored, elements(PixelPaddingValue=4095), "MONOCHROME1")
    assert applied == ("percentiles", "monochrome1_inverted", "padding")
    assert (shown[:, :3] == 0).all()
    assert shown[0, 3] == 255
    assert shown[0, -1] == 0


def test_elements_without_meaning_here_change_nothing() -> None:
    stored = ramp().astype(np.uint16)
    plain, applied = display(stored, elements(), "MONOCHROME2")
    assert applied == ("percentiles",)
    odd = elements(RescaleSlope="1", RescaleIntercept="0", WindowCenter="5", PatientName="Secret", Rows=3)
    assert np.array_equal(display(stored, odd, "MONOCHROME2")[0], plain)


def test_the_keywords_are_all_that_is_looked_at() -> None:
    """A file opened for these keywords alone looks as one with its whole header."""
    data = dicom(WindowCenter="900", WindowWidth="400", PixelPaddingValue=0, RescaleSlope="2", RescaleIntercept="-5")
    stored = ramp().astype(np.uint16)
    shown, applied = display(stored, open_dicom(data, PIXEL_KEYWORDS).elements, "MONOCHROME1")
    assert applied == ("rescale", "window", "monochrome1_inverted", "padding")
    opened = open_dicom(data, (*PIXEL_KEYWORDS, "PatientID", "Rows", "BitsStored"))
    assert np.array_equal(display(stored, opened.elements, "MONOCHROME1")[0], shown)
