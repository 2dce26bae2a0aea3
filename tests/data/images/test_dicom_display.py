"""The grayscale pipeline on arrays and elements, without a file around them."""

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from comit_ray.data.images.dicom_display import PIXEL_KEYWORDS, display
from comit_ray.data.images.dicom_file import open_dicom
from comit_ray.data.images.load import decode
from comit_ray.errors import DecodeError, Reason
from tests.data.dicom_files import LIMITS, dataset, dicom, ramp, refusal, row, saved


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


def with_text(**header: str) -> bytes:
    """A chest whose decimal strings are these texts, which pydicom would not write."""
    placeholders: dict[str, Any] = {keyword: "1" * len(value) for keyword, value in header.items()}
    made = dataset(ramp(), **placeholders)
    data = saved(made)
    for keyword, value in header.items():
        element = bytes(int(made[keyword].tag).to_bytes(4)[index] for index in (1, 0, 3, 2))
        at = data.index(element + b"DS") + 8
        data = data[:at] + value.encode() + data[at + len(value) :]
    return data


@pytest.mark.parametrize(
    ("center", "width"),
    [("NaN ", "100 "), ("2048", "NaN "), ("20,4", "10,5"), ("inf ", "100 "), ("2048", "inf "), ("x&@z", "100 ")],
)
def test_a_window_that_is_no_number_is_no_window(center: str, width: str) -> None:
    assert decode(with_text(WindowCenter=center, WindowWidth=width), LIMITS).applied == ("percentiles",)


@pytest.mark.parametrize("first", ["0", "-5", "NaN", "1,5", ""])
def test_the_next_usable_window_is_taken(first: str) -> None:
    good = row(dicom(WindowCenter="2048", WindowWidth="1000"))
    made = with_text(WindowCenter="2000\\2048 ", WindowWidth=f"{first}\\1000".ljust(10))
    found = decode(made, LIMITS)
    assert found.applied == ("window",)
    assert np.array_equal(found.pixels_HW[0], good)


def test_a_window_beside_all_pixels_is_passed_over_and_named_where_there_is_no_other() -> None:
    good = row(dicom(WindowCenter="2048", WindowWidth="1000"))
    both = dicom(WindowCenter=["90000", "2048"], WindowWidth=["10", "1000"])
    assert np.array_equal(row(both), good)
    error = refusal(dicom(WindowCenter="90000", WindowWidth="10"))
    assert error.reason is Reason.BLANK
    assert error.detail == "WindowCenter 90000 with WindowWidth 10 shows all pixels as one value"


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ({"RescaleSlope": "NaN ", "RescaleIntercept": "0 "}, "expected a number in RescaleSlope, got 'NaN'"),
        ({"RescaleSlope": "1 ", "RescaleIntercept": "-1,5"}, "expected a number in RescaleIntercept, got '-1,5'"),
        ({"RescaleSlope": "Doe^", "RescaleIntercept": "0 "}, "in RescaleSlope, got a value of 4 characters"),
    ],
)
def test_a_rescale_that_is_no_number_fails_by_name(header: dict[str, str], named: str) -> None:
    error = refusal(with_text(**header))
    assert error.reason is Reason.CORRUPT
    assert named in error.detail


def test_an_unknown_function_and_a_padding_that_is_no_number_fail_by_name() -> None:
    error = refusal(dicom(WindowCenter="5", WindowWidth="50", VOILUTFunction="LOGARITHM"))
    assert (error.reason, "VOILUTFunction" in error.detail, "'LOGARITHM'" in error.detail) == (
        Reason.CORRUPT,
        True,
        True,
    )
    with pytest.raises(DecodeError, match="PixelPaddingValue"):
        display(ramp().astype(np.uint16), elements(PixelPaddingValue=float("nan")), "MONOCHROME2")
