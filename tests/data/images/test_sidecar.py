"""PNGs of stored values with their DICOM JSON: the same pixels as the DICOM file they were made of, bit for bit."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from comit_ray.data.images.load import decode
from comit_ray.data.images.sidecar import MAX_BYTES, read_sidecar
from comit_ray.errors import DecodeError, Reason
from tests.data.dicom_files import LIMITS, dataset, dicom, ramp, saved

MONO1 = {"00280004": {"vr": "CS", "Value": ["MONOCHROME1"]}, "00280101": {"vr": "US", "Value": [12]}}
MONO2 = {"00280004": {"vr": "CS", "Value": ["MONOCHROME2"]}, "00280101": {"vr": "US", "Value": [12]}}
PLAIN, INVERTED = ("percentiles",), ("percentiles", "monochrome1_inverted")


def png(values: NDArray[np.generic]) -> bytes:
    """A PNG of 8 or 16 bits, grey or RGB."""
    buffer = BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def sidecar_of(made: Dataset) -> bytes:
    """The DICOM JSON model of a header, as pydicom writes it."""
    header = Dataset({element.tag: element for element in made if element.keyword != "PixelData"})
    return json.dumps(header.to_json_dict()).encode()


def tags(*extra: dict[str, Any]) -> bytes:
    """MONOCHROME2 of 12 bits and other elements, as JSON."""
    merged: dict[str, Any] = dict(MONO2)
    for one in extra:
        merged |= one
    return json.dumps(merged).encode()


def reason(data: bytes, sidecar: bytes) -> Reason:
    """Why the image is refused; nothing of the sidecar may be quoted."""
    with pytest.raises(DecodeError) as caught:
        decode(data, LIMITS, sidecar)
    assert "Secret" not in caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize(
    ("name", "applied"),
    [
        ("RG1_J2KI.dcm", ("window", "monochrome1_inverted")),
        ("Fake_MONOHR1.dcm", ("percentiles", "monochrome1_inverted")),
        ("1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm", ("percentiles",)),
    ],
)
def test_real_radiographs_look_the_same_as_png_and_sidecar(cxr: Path, name: str, applied: tuple[str, ...]) -> None:
    path = cxr / "dicom" / name
    made = pydicom.dcmread(path)
    values = made.pixel_array
    as_dicom = decode(path.read_bytes(), LIMITS)
    stored = png(values)
    as_png = decode(stored, LIMITS, sidecar_of(made))
    assert as_png.applied == as_dicom.applied == applied
    assert np.array_equal(as_png.pixels_HW, as_dicom.pixels_HW)
    without = decode(stored, LIMITS).pixels_HW.astype(np.int64)
    correlation = np.corrcoef(without.ravel(), as_png.pixels_HW.ravel())[0, 1]
    assert (correlation < -0.9) if "monochrome1_inverted" in applied else (correlation > 0.9)


def lut(first: int, entries: list[int], bits: int = 12) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.LUTData = np.array(entries, "<u2").tobytes()
    item["LUTData"].VR = "OW"
    return Sequence([item])


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("options", "step"),
    [
        ({}, "percentiles"),
        ({"WindowCenter": "1000", "WindowWidth": "500"}, "window"),
        ({"WindowCenter": ["3000", "1000"], "WindowWidth": ["800", "50"]}, "window"),
        ({"WindowCenter": "1000.5", "WindowWidth": "333.25", "VOILUTFunction": "LINEAR_EXACT"}, "window"),
        ({"WindowCenter": "2000", "WindowWidth": "900", "VOILUTFunction": "SIGMOID"}, "window"),
        ({"WindowCenter": "1000", "WindowWidth": "0"}, "percentiles"),
        ({"RescaleSlope": "2.81525", "RescaleIntercept": "-240", "WindowCenter": "1", "WindowWidth": "7e3"}, "window"),
        ({"VOILUTSequence": lut(100, [i * i // 4095 for i in range(3900)])}, "voi_lut"),
        ({"ModalityLUTSequence": lut(0, [4095 - i for i in range(4096)], 16)}, "percentiles"),
        ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 200}, "percentiles"),
    ],
)
def test_every_step_of_the_pipeline(photometric: str, options: dict[str, Any], step: str) -> None:
    values = ramp()
    made = dataset(values, PhotometricInterpretation=photometric, **options)
    as_dicom = decode(saved(made), LIMITS)
    as_png = decode(png(values.astype(np.uint16)), LIMITS, sidecar_of(made))
    assert step in as_png.applied
    assert ("monochrome1_inverted" in as_png.applied) == (photometric == "MONOCHROME1")
    assert as_png.applied == as_dicom.applied
    assert np.array_equal(as_png.pixels_HW, as_dicom.pixels_HW)


@pytest.mark.parametrize("spread", [True, False])
@pytest.mark.parametrize("bits", [12, 16])
def test_signed_values_are_in_the_png_as_bit_patterns(bits: int, spread: bool) -> None:
    values = ramp(low=-1000, high=1000)
    made = dataset(values, bits=bits, signed=True, WindowCenter="-100", WindowWidth="600", PixelPaddingValue=-1000)
    pattern = values.astype(np.int16).view(np.uint16)
    as_png = decode(png(pattern if spread else pattern & np.uint16(2**bits - 1)), LIMITS, sidecar_of(made))
    assert np.array_equal(as_png.pixels_HW, decode(saved(made), LIMITS).pixels_HW)


def test_eight_bits_are_stored_values_too() -> None:
    values = ramp(high=255)
    made = dataset(values, bits=8, PhotometricInterpretation="MONOCHROME1", WindowCenter="128", WindowWidth="100")
    as_dicom = decode(saved(made), LIMITS)
    for stored in (values.astype(np.uint8), values.astype(np.uint16)):
        assert np.array_equal(decode(png(stored), LIMITS, sidecar_of(made)).pixels_HW, as_dicom.pixels_HW)
    assert as_dicom.applied == ("window", "monochrome1_inverted")


def test_values_that_the_sidecar_cannot_mean_are_refused() -> None:
    """A PNG stretched to 16 bits, or cut to 8, under the tags of the original: its window would show nothing."""
    full = png(ramp(high=65535).astype(np.uint16))
    cut = png(ramp(high=255).astype(np.uint8))
    assert reason(full, tags()) is Reason.BAD_SIDECAR
    assert reason(cut, tags()) is Reason.BAD_SIDECAR
    signed = {"00280103": {"vr": "US", "Value": [1]}}
    shifted = png((ramp(low=-1000, high=1000) + 32768).astype(np.uint16))  # an offset instead of a sign
    assert reason(shifted, tags(signed)) is Reason.BAD_SIDECAR
    assert decode(full, LIMITS, tags({"00280101": {"vr": "US", "Value": [16]}})).applied == PLAIN


def test_colour_and_jpeg_are_display_values() -> None:
    grey = np.tile(np.linspace(0, 255, 64).round().astype(np.uint8), (48, 1))
    rgb = np.repeat(grey[:, :, None], 3, axis=2)
    buffer = BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=95)
    window = {"00281050": {"vr": "DS", "Value": [10]}, "00281051": {"vr": "DS", "Value": [2]}}
    colour = {"00280004": {"vr": "CS", "Value": ["RGB"]}}
    for sidecar in (tags(window), tags(window, colour)):
        shown = decode(png(rgb), LIMITS, sidecar)
        assert shown.applied == ("colour_to_grey",)
        assert np.array_equal(shown.pixels_HW, grey)
        assert decode(buffer.getvalue(), LIMITS, sidecar).applied == ()
    for data in (png(rgb), buffer.getvalue()):
        assert reason(data, tags(MONO1)) is Reason.BAD_SIDECAR
        assert reason(data, b"{}") is Reason.BAD_SIDECAR
    assert reason(png(grey), tags(colour)) is Reason.BAD_SIDECAR


def test_a_dicom_file_is_described_by_its_own_header() -> None:
    data = dicom()
    shown = decode(data, LIMITS, json.dumps(MONO1).encode())
    assert np.array_equal(shown.pixels_HW, decode(data, LIMITS).pixels_HW)
    assert decode(data, LIMITS, b"no JSON").applied == PLAIN


VALUES = png(ramp().astype(np.uint16))


@pytest.mark.parametrize(
    "sidecar",
    [
        b"",
        b"no JSON",
        b"[]",
        b"{",
        b'{"00280004": {"vr": "CS", "Value": ["MONOCHROME2"]}',
        b"{}",
        b'{"00280004": {"vr": "CS"}}',
        b'{"00280004": {"vr": "CS", "Value": []}}',
        b'{"00280004": {"vr": "CS", "Value": [null]}}',
        b'{"00280004": {"vr": "CS", "Value": "MONOCHROME2"}}',
        b'{"00280004": {"vr": "CS", "Value": [["MONOCHROME2"]]}}',
        b'{"00280004": "MONOCHROME2"}',
        b'{"00280004": {"vr": "CS", "Value": ["PALETTE COLOR"]}}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b" " * (MAX_BYTES + 1),
        "{}".encode("utf-16"),
    ],
)
def test_broken_sidecars_are_refused(sidecar: bytes) -> None:
    assert reason(VALUES, sidecar) is Reason.BAD_SIDECAR


@pytest.mark.parametrize(
    "element",
    [
        {"00280101": {"vr": "US", "Value": [0]}},
        {"00280101": {"vr": "US", "Value": [17]}},
        {"00280101": {"vr": "US", "Value": [12, 12]}},
        {"00280101": {"vr": "US", "Value": [True]}},
        {"00280101": {"vr": "US", "Value": [11.5]}},
        {"00280101": {"vr": "US", "Value": ["Secret"]}},
        {"00281050": {"vr": "DS", "Value": [1e999]}, "00281051": {"vr": "DS", "Value": [1]}},
        {"00281050": {"vr": "DS", "Value": [float("nan")]}, "00281051": {"vr": "DS", "Value": [1]}},
        {"00281050": {"vr": "DS", "Value": [{}]}},
        {"00281050": {"vr": "DS", "Value": [10] * 65}},
        {
            "00281050": {"vr": "DS", "Value": [10]},
            "00281051": {"vr": "DS", "Value": [10]},
            "00281056": {"vr": "CS", "Value": ["Secret"]},
        },
        {"00283010": {"vr": "SQ", "Value": ["Secret"]}},
        {"00283010": {"vr": "SQ", "Value": [{"00283002": {"vr": "US", "Value": [4, 0, 12]}}]}},
        {
            "00283010": {
                "vr": "SQ",
                "Value": [{"00283002": {"Value": [3, 0, 12]}, "00283006": {"Value": [1, 2]}}],
            }
        },
        {
            "00283010": {
                "vr": "SQ",
                "Value": [{"00283002": {"Value": [2, 0, 12]}, "00283006": {"Value": [1, 70_000]}}],
            }
        },
        {
            "00283010": {
                "vr": "SQ",
                "Value": [{"00283002": {"Value": [2, 0, 8]}, "00283006": {"Value": [1, 300]}}],
            }
        },
        {
            "00283010": {
                "vr": "SQ",
                "Value": [{"00283002": {"Value": [1, 0, 12]}, "00283006": {"vr": "OW", "InlineBinary": "!!"}}],
            }
        },
    ],
)
def test_malformed_elements_are_refused(element: dict[str, Any]) -> None:
    assert reason(VALUES, tags(element)) is Reason.BAD_SIDECAR


def test_absent_values_count_as_absent_elements() -> None:
    blank = {tag: {"vr": "DS", "Value": value} for tag, value in (("00281050", [""]), ("00281051", [None, ""]))}
    shown = decode(VALUES, LIMITS, tags(blank, {"00281052": {"vr": "DS"}, "00281053": {"vr": "DS"}}))
    assert shown.applied == PLAIN


def test_numbers_may_be_strings_and_tags_lower_case() -> None:
    window = {"00281050": {"vr": "DS", "Value": ["1000"]}, "00281051": {"vr": "DS", "Value": [" 500.0 "]}}
    expected = decode(dicom(WindowCenter="1000", WindowWidth="500"), LIMITS)
    assert np.array_equal(decode(VALUES, LIMITS, tags(window)).pixels_HW, expected.pixels_HW)
    lower = json.dumps({"0008103e": {"vr": "LO", "Value": ["T\u00f2rax AP"]}}, ensure_ascii=False)
    assert read_sidecar(lower.encode()).SeriesDescription == "T\u00f2rax AP"
    assert read_sidecar(lower.encode("latin-1")).SeriesDescription == "T\ufffdrax AP"
    assert read_sidecar(b"\xef\xbb\xbf" + lower.encode()).SeriesDescription == "T\u00f2rax AP"


def test_a_sidecar_gives_no_identity() -> None:
    made = dataset(ramp(), PatientAge="080Y", PatientOrientation=["P", "F"])
    kept = read_sidecar(sidecar_of(made))
    assert "Secret" not in str(kept)
    assert "4711" not in str(kept)
    assert "1950" not in str(kept)
    assert (kept.PatientAge, list(kept.PatientOrientation)) == ("080Y", ["P", "F"])


def test_empty_and_blank_images_keep_their_own_reasons() -> None:
    assert reason(b"", tags()) is Reason.EMPTY
    assert reason(png(np.full((48, 64), 7, np.uint16)), tags()) is Reason.BLANK
    assert reason(VALUES[:-20], tags()) is Reason.TRUNCATED


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["MONOCHROME1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["vr", "Value", "00283002"]), inner),
    max_leaves=6,
)
TAGS = ["00280004", "00280101", "00280103", "00280120", "00281050", "00281051", "00281052", "00281053", "00283000"]


def outcome(sidecar: bytes) -> object:
    """The shape of the pixels, or why there are none."""
    try:
        return decode(VALUES, LIMITS, sidecar).pixels_HW.shape
    except DecodeError as error:
        return error.reason


@given(st.dictionaries(st.sampled_from([*TAGS, "00283010", "00281056", "0008103E"]), JSON_VALUES))
@settings(max_examples=200, deadline=None)
def test_hostile_sidecars_give_a_radiograph_or_a_reason(hostile: dict[str, Any]) -> None:
    assert outcome(json.dumps(MONO2 | hostile).encode()) in ((48, 64), Reason.BAD_SIDECAR, Reason.BLANK)


@given(st.binary(max_size=64))
def test_hostile_bytes(data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(VALUES, LIMITS, data)
    assert caught.value.reason is Reason.BAD_SIDECAR
