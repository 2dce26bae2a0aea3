"""DICOM headers and the grayscale pipeline, on real files and on small ones with every pixel format."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from comit_ray.data.images.dicom_radiograph import read_header
from comit_ray.data.images.load import decode
from comit_ray.errors import Reason
from comit_ray.tables.vocabulary import View
from tests.data.dicom_files import LIMITS, dataset, dicom, ramp, reason, refusal, row, saved


def test_header_facts() -> None:
    header = read_header(
        dicom(
            PatientSex="F",
            PatientAge="018M",
            StudyInstanceUID="1.2.3",
            Manufacturer=" Agfa ",
            ManufacturerModelName="DX-M",
            StudyDate="20200301",
            AcquisitionDate="20200302",
        ),
        LIMITS,
    )
    assert (header.patient_id, header.study_uid, header.sex, header.age) == ("MRN-4711", "1.2.3", "F", 1.5)
    assert (header.device, header.acquired_on) == ("Agfa DX-M", date(2020, 3, 2))
    assert (header.view, header.view_source, header.exclusion) == (View.PA, "ViewPosition", None)


def test_malformed_facts_are_unknown_and_harmless() -> None:
    made = dataset(ramp(), PatientSex="O", PatientID=None, StudyDate="20200301", PatientAge="045Y")
    header = read_header(saved(made).replace(b"20200301", b"2020030X").replace(b"045Y", b"old?"), LIMITS)
    assert (header.patient_id, header.study_uid, header.sex, header.age) == (None, None, None, None)
    assert (header.device, header.acquired_on) == (None, None)
    assert read_header(dicom(PatientAge="130Y"), LIMITS).age is None


def test_real_files(cxr: Path) -> None:
    files = {path.name: path.read_bytes() for path in (cxr / "dicom").iterdir()}
    rg1 = decode(files["RG1_J2KI.dcm"], LIMITS)
    assert (rg1.height, rg1.width, rg1.view, rg1.view_source) == (1955, 1841, View.PA, "ViewPosition")
    assert rg1.applied == ("window", "monochrome1_inverted")
    plain = decode(files["1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm"], LIMITS)
    assert (plain.pixels_HW.shape, plain.applied) == ((1024, 1024), ("percentiles",))
    for shown in (rg1.pixels_HW, plain.pixels_HW):  # air beside the neck dark, spine bright
        height, width = shown.shape
        corner = shown[height // 20 : height // 10, : width // 20].mean()
        spine = shown[height * 6 // 10 : height * 7 // 10, width * 47 // 100 : width * 53 // 100].mean()
        assert corner + 80 < spine
    # The same pixels under a MONOCHROME1 header: inverted once, exactly.
    fake = decode(files["Fake_MONOHR1.dcm"], LIMITS)
    assert fake.applied == ("percentiles", "monochrome1_inverted")
    assert np.array_equal(fake.pixels_HW, 255 - plain.pixels_HW)
    for name in ("RG3_J2KI.dcm", "RG3_J2KR.dcm"):
        assert reason(files[name]) is Reason.NOT_A_CHEST


@pytest.mark.parametrize(
    ("bits", "signed"), [(8, False), (10, False), (12, False), (16, False), (8, True), (16, True), (12, True)]
)
def test_bit_depths_spread_over_black_to_white(bits: int, signed: bool) -> None:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    shown = row(dicom(ramp(low=low, high=high), bits=bits, signed=signed))
    assert (shown[0], shown[-1]) == (0, 255)
    assert np.abs(shown.astype(float) - np.linspace(0, 255, 64)).max() <= 2
    inverted = row(dicom(ramp(low=low, high=high), bits=bits, signed=signed, PhotometricInterpretation="MONOCHROME1"))
    assert np.array_equal(inverted, 255 - shown)


def test_window_comes_before_the_inversion() -> None:
    options: dict[str, Any] = {"WindowCenter": "1000", "WindowWidth": "500"}
    shown = row(dicom(**options))
    values = ramp()[0]
    assert not shown[values <= 750].any()
    assert (shown[values > 1250] == 255).all()
    inverted = row(dicom(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE", **options))
    assert np.array_equal(inverted, 255 - shown)


def test_the_first_of_several_windows() -> None:
    first = row(dicom(WindowCenter="1000", WindowWidth="500"))
    assert np.array_equal(row(dicom(WindowCenter=["1000", "3000"], WindowWidth=["500", "100"])), first)


def test_rescale_comes_before_the_window() -> None:
    made = dicom(RescaleSlope="2", RescaleIntercept="-1000", WindowCenter="1000", WindowWidth="500")
    assert decode(made, LIMITS).applied == ("rescale", "window")
    assert np.array_equal(row(made) > 127, ramp()[0] * 2 - 1000 >= 1000)
    falling = row(dicom(RescaleSlope="-1", RescaleIntercept="4095"))
    assert (falling[0], falling[-1]) == (255, 0)


def test_a_window_without_width_is_no_window() -> None:
    assert decode(dicom(WindowCenter="0", WindowWidth="0"), LIMITS).applied == ("percentiles",)


def lut(entries: list[int], first: int, bits: int) -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return Sequence([item])


@pytest.mark.parametrize("stated_bits", [12, 16])
def test_voi_lut_wins_over_the_window_whatever_bits_it_claims(stated_bits: int) -> None:
    sequence = lut([0] * 2048 + [4095] * 2048, 0, stated_bits)
    made = decode(dicom(VOILUTSequence=sequence, WindowCenter="1", WindowWidth="2"), LIMITS)
    assert made.applied == ("voi_lut",)
    assert np.array_equal(made.pixels_HW[0], np.where(ramp()[0] < 2048, 0, 255))


def test_modality_lut() -> None:
    sequence = lut(list(range(4095, -1, -1)), 0, 16)
    sequence[0].ModalityLUTType = "US"
    made = decode(dicom(ModalityLUTSequence=sequence), LIMITS)
    assert made.applied == ("modality_lut", "percentiles")
    assert (made.pixels_HW[0, 0], made.pixels_HW[0, -1]) == (255, 0)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_left_out_of_percentiles(photometric: str) -> None:
    pixels = ramp(low=1000, high=2000)
    pixels[:, :16] = 4000  # far above everything else
    made = decode(dicom(pixels, PixelPaddingValue=4000, PhotometricInterpretation=photometric), LIMITS)
    assert made.applied[-1] == "padding"
    assert not made.pixels_HW[:, :16].any()
    anatomy = made.pixels_HW[0, 16:]
    assert {int(anatomy.min()), int(anatomy.max())} == {0, 255}


def test_padding_range_and_signs() -> None:
    pixels = ramp(low=0, high=1000)
    pixels[:, :8], pixels[:, 8:16] = -2000, -1990
    made = dataset(pixels, bits=16, signed=True)
    made.add_new("PixelPaddingValue", "SS", -2000)
    made.add_new("PixelPaddingRangeLimit", "SS", -1990)
    shown = decode(saved(made), LIMITS).pixels_HW[0]
    assert not shown[:16].any()
    assert shown[20] > 20
    wrong_vr = dataset(pixels, bits=16, signed=True)
    wrong_vr.add_new("PixelPaddingValue", "US", 65536 - 2000)
    wrong_vr.add_new("PixelPaddingRangeLimit", "US", 65536 - 1990)
    assert np.array_equal(decode(saved(wrong_vr), LIMITS).pixels_HW[0], shown)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"Modality": "CT"}, Reason.WRONG_MODALITY),
        ({"Modality": "OT", "BodyPartExamined": None}, Reason.WRONG_MODALITY),
        ({"BodyPartExamined": "HAND"}, Reason.NOT_A_CHEST),
        ({"ViewPosition": "LL"}, Reason.LATERAL),
        ({"ViewPosition": "RAO"}, Reason.NOT_FRONTAL),
        ({"NumberOfFrames": 2}, Reason.MULTI_FRAME),
        ({"PresentationIntentType": "FOR PROCESSING"}, Reason.FOR_PROCESSING),
        ({"PresentationLUTShape": "INVERSE"}, Reason.BAD_GEOMETRY),
        ({"PresentationLUTShape": "IDENTITY", "PhotometricInterpretation": "MONOCHROME1"}, Reason.BAD_GEOMETRY),
        ({"Modality": "OT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, Reason.WRONG_MODALITY),
        ({"SeriesDescription": "Dose Report"}, Reason.WRONG_MODALITY),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, Reason.WRONG_MODALITY),
        ({"Rows": 0}, Reason.BAD_GEOMETRY),
        ({"Columns": None}, Reason.BAD_GEOMETRY),
        ({"BitsAllocated": 32}, Reason.BAD_GEOMETRY),
        ({"HighBit": 15}, Reason.BAD_GEOMETRY),
        ({"PhotometricInterpretation": None}, Reason.BAD_GEOMETRY),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Reason.NOT_GRAYSCALE),
        ({"Rows": 49}, Reason.TRUNCATED),
        ({"Rows": 60000, "Columns": 60000}, Reason.TOO_LARGE),
        ({"Rows": 20}, Reason.TOO_SMALL),
        ({"RescaleSlope": "0", "RescaleIntercept": "5"}, Reason.BLANK),
    ],
    ids=str,
)
def test_reasons(header: dict[str, Any], expected: Reason) -> None:
    data = dicom(**header)
    assert reason(data) is expected
    exclusion = read_header(data, LIMITS).exclusion
    assert (exclusion.reason if exclusion else None) == (expected if expected.value in EXCLUDING else None)


EXCLUDING = {"wrong_modality", "not_a_chest", "lateral", "not_frontal", "multi_frame", "for_processing"}


def test_only_a_linear_window_must_be_one_wide() -> None:
    narrow: dict[str, Any] = {
        "RescaleSlope": "0.001",
        "RescaleIntercept": "0",
        "WindowCenter": "2",
        "WindowWidth": "0.5",
    }
    assert decode(dicom(**narrow), LIMITS).applied == ("rescale", "percentiles")
    assert decode(dicom(**narrow, VOILUTFunction="LINEAR_EXACT"), LIMITS).applied == ("rescale", "window")


def frames_stated(value: str) -> bytes:
    """A chest with this NumberOfFrames, which pydicom would not write."""
    data = dicom(NumberOfFrames="1" * len(value))
    at = data.index(b"\x28\x00\x08\x00IS") + 8
    return data[:at] + value.encode() + data[at + len(value) :]


@pytest.mark.parametrize("value", ["2.0 ", "02", " 2", "3.", "2E0 "])
def test_several_frames_however_they_are_written(value: str) -> None:
    assert reason(frames_stated(value)) is Reason.MULTI_FRAME


@pytest.mark.parametrize("value", ["1.0 ", "01", "0 ", "  "])
def test_one_frame_however_it_is_written(value: str) -> None:
    assert decode(frames_stated(value), LIMITS).height == 48


@pytest.mark.parametrize("value", ["two ", "1.5 "])
def test_frames_that_are_no_whole_number_fail_by_name(value: str) -> None:
    error = refusal(frames_stated(value))
    assert error.reason is Reason.CORRUPT
    assert "NumberOfFrames" in error.detail
    assert value.strip() in error.detail


def test_frames_that_nothing_states() -> None:
    two = np.concatenate([ramp(), ramp()])
    made = dataset(two, Rows=48)
    assert reason(saved(made)) is Reason.MULTI_FRAME
    odd = dataset(ramp())
    odd.PixelData += bytes(100)  # padding is no frame
    assert decode(saved(odd), LIMITS).height == 48


def test_numbers_of_the_geometry_that_are_none_are_named() -> None:
    error = refusal(dicom(BitsStored=[12, 12]))
    assert (error.reason, "BitsStored" in error.detail) == (Reason.BAD_GEOMETRY, True)
