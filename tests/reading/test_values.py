import json
import struct

import numpy as np
import pytest
from PIL import Image

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.load import Place, decode_with_values
from comit_ray.errors import DecodeError, Reason
from comit_ray.reading.values import Images, Opened, describe, to_jpeg, to_values
from comit_ray.storage.file_reader import FileRef
from tests.data.dicom_files import dicom, ramp
from tests.reading.screens import as_dicom, png

LIMITS = DecodeLimits()


def opened(data: bytes) -> Opened:
    return Opened(*decode_with_values(data, LIMITS))


def unpacked(data: bytes, bits: int = 16):
    length = struct.unpack("<I", data[:4])[0]
    header = json.loads(data[4 : 4 + length])
    assert (4 + length) % 8 == 0, "what follows must be aligned for a typed array"
    count = 2**bits
    table = np.frombuffer(data, np.uint8, count, 4 + length)
    at = 4 + length + count + (8 * count if header["modality_table"] else 0)
    values = np.frombuffer(data, f"<u{bits // 8}", offset=at).reshape(header["height"], header["width"])
    return header, table, values


@pytest.mark.parametrize(
    "header",
    [{}, {"PhotometricInterpretation": "MONOCHROME1"}, {"RescaleSlope": 2, "RescaleIntercept": -50},
     {"PixelPaddingValue": 0}, {"WindowCenter": 1000, "WindowWidth": 300, "VOILUTFunction": "SIGMOID"}],
)  # fmt: skip
def test_the_table_makes_the_screened_pixels_of_the_values(header):
    one = opened(dicom(ramp(), **header))
    _, table, values = unpacked(to_values(one))
    np.testing.assert_array_equal(table[values], one.radiograph.pixels_HW)


def test_signed_values_travel_as_their_bits():
    one = opened(dicom(ramp(low=-1000, high=1000), signed=True, bits=16))
    header, table, values = unpacked(to_values(one))
    assert header["signed"]
    assert values.view("<i2").min() == -1000
    np.testing.assert_array_equal(table[values], one.radiograph.pixels_HW)


def test_a_picture_of_8_bits_is_what_is_shown():
    pixels = ramp(high=255).astype(np.uint8)
    header, table, values = unpacked(to_values(opened(png(pixels))), 8)
    np.testing.assert_array_equal(table[values], pixels)
    assert (header["bits"], header["bits_stored"], header["windows"], header["orientation"]) == (8, 8, [], None)


def test_presets_follow_what_is_shown_not_what_is_stored():
    """The darker half of a MONOCHROME1 image are its high values."""
    plain, _, _ = describe(opened(as_dicom(ramp(high=255).astype(np.uint8))).image)
    turned, _, _ = describe(opened(as_dicom(ramp(high=255).astype(np.uint8), white_is_low=True)).image)
    by_name = [{one["name"]: one["center"] for one in header["presets"]} for header in (plain, turned)]
    assert by_name[0]["dark"] < by_name[0]["bright"]
    assert by_name[1]["dark"] > by_name[1]["bright"]
    assert (plain["bits_stored"], turned["padding"]) == (12, [4095, 4095])
    assert (turned["slope"], turned["intercept"], turned["inverted"]) == (1.5, -100, True)


def test_a_window_that_the_standard_does_not_allow_is_not_offered():
    found, _, _ = describe(opened(dicom(ramp(), WindowCenter=[100, 200], WindowWidth=[50, 0])).image)
    assert [one["center"] for one in found["windows"]] == [100]


def test_the_jpeg_is_no_larger_than_a_screen(tmp_path):
    large = opened(dicom(ramp(height=2000, width=1000)))
    (tmp_path / "x.jpg").write_bytes(to_jpeg(large.radiograph))
    with Image.open(tmp_path / "x.jpg") as image:
        assert image.size == (768, 1536)


def test_an_image_is_decoded_once_and_a_broken_one_says_why(tmp_path):
    (tmp_path / "a.dcm").write_bytes(dicom())
    (tmp_path / "b.dcm").write_bytes(dicom()[:-100])
    images = Images(LIMITS)
    place = Place(FileRef(str(tmp_path / "a.dcm")))
    assert images.open("a", place) is images.open("a", place)
    for _ in range(2):
        with pytest.raises(DecodeError) as caught:
            images.open("b", Place(FileRef(str(tmp_path / "b.dcm"))))
        assert caught.value.reason is Reason.TRUNCATED
