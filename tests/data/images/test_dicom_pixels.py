"""Every transfer syntax gives the same pixels, and what cannot be decoded says so."""

import io
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.pixels.decoders.base import get_decoder

from comit_ray.data.images.load import decode
from comit_ray.errors import Reason
from tests.data.dicom_files import BUNDLED, LIMITS, dataset, dicom, ramp, reason, refusal, saved

COMPRESSED = [uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless]


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize(
    "syntax", [*COMPRESSED, uid.ImplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian], ids=lambda s: s.keyword
)
def test_transfer_syntaxes_give_the_same_pixels(syntax: uid.UID, bits: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 2**bits, (48, 64))
    expected = decode(dicom(pixels, bits=bits), LIMITS)
    made = dataset(pixels, bits=bits)
    if syntax in COMPRESSED:
        made.compress(syntax)
    else:
        made.file_meta.TransferSyntaxUID = syntax
    found = decode(saved(made), LIMITS)
    assert found.applied == expected.applied
    assert np.array_equal(found.pixels_HW, expected.pixels_HW)


def chest(name: str, **header: Any) -> bytes:
    """A file bundled with pydicom, its header made that of a chest radiograph."""
    with (BUNDLED / name).open("rb") as file:
        made = pydicom.dcmread(file)
    for keyword in ("SeriesDescription", "StudyDescription", "ProtocolName", "WindowCenter", "WindowWidth"):
        if keyword in made:
            del made[keyword]
    for keyword, value in ({"Modality": "CR", "BodyPartExamined": "CHEST"} | header).items():
        setattr(made, keyword, value)
    buffer = io.BytesIO()
    made.save_as(buffer)
    return buffer.getvalue()


def test_bundled_files_of_one_picture_agree() -> None:
    expected = decode(chest("MR_small.dcm"), LIMITS).pixels_HW
    for name in ("RLE", "bigendian", "expb", "implicit", "jp2klossless", "jpeg_ls_lossless", "padded"):
        assert np.array_equal(decode(chest(f"MR_small_{name}.dcm"), LIMITS).pixels_HW, expected), name
    assert reason((BUNDLED / "MR_truncated.dcm").read_bytes()) is Reason.WRONG_MODALITY
    assert reason(chest("MR_truncated.dcm")) is Reason.TRUNCATED


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SC_rgb_jpeg_gdcm.dcm", Reason.NOT_GRAYSCALE),  # lossless JPEG: decoded, and found to be coloured
        ("SC_rgb_rle.dcm", Reason.NOT_GRAYSCALE),
        ("SC_ybr_full_422_uncompressed.dcm", Reason.NOT_GRAYSCALE),
        ("examples_palette.dcm", Reason.NOT_GRAYSCALE),
        ("SC_rgb_rle_16bit_2frame.dcm", Reason.MULTI_FRAME),
        ("examples_ybr_color.dcm", Reason.MULTI_FRAME),
        ("rtdose_1frame.dcm", Reason.TOO_SMALL),
        ("liver_1frame.dcm", Reason.BAD_GEOMETRY),  # 1 bit
        ("JPEGLSNearLossless_08.dcm", Reason.TOO_SMALL),
        ("UN_sequence.dcm", Reason.NO_PIXELS),
    ],
)
def test_bundled_files_that_are_no_radiographs(name: str, expected: Reason) -> None:
    assert reason(chest(name)) is expected


def test_twelve_bit_extended_jpeg_needs_the_extra() -> None:
    if "pylibjpeg" in get_decoder(uid.JPEGExtended12Bit).available_plugins:
        assert decode(chest("JPGExtended.dcm"), LIMITS).height == 1024
    else:
        assert reason(chest("JPGExtended.dcm")) is Reason.UNSUPPORTED_TRANSFER_SYNTAX


def lossless_jpeg(data: bytes, folder: Path) -> bytes:
    """The same picture as lossless JPEG, as GDCM writes it: 16 bits in the stream where there are more than 8."""
    (folder / "plain.dcm").write_bytes(data)
    reader = gdcm.ImageReader()
    reader.SetFileName(str(folder / "plain.dcm"))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(folder / "packed.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert pydicom.dcmread(folder / "packed.dcm").file_meta.TransferSyntaxUID == uid.JPEGLosslessSV1
    return (folder / "packed.dcm").read_bytes()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_jpeg(bits: int, signed: bool, tmp_path: Path) -> None:
    low = -(2 ** (bits - 1)) if signed else 0
    pixels = np.random.default_rng(0).integers(low, low + 2**bits, (48, 64))
    data = dicom(pixels, bits=bits, signed=signed)
    assert np.array_equal(decode(lossless_jpeg(data, tmp_path), LIMITS).pixels_HW, decode(data, LIMITS).pixels_HW)


def stating(data: bytes, **header: Any) -> bytes:
    """The file with other elements, its pixels as they are."""
    made = pydicom.dcmread(io.BytesIO(data))
    for keyword, value in header.items():
        setattr(made, keyword, value)
    buffer = io.BytesIO()
    made.save_as(buffer)
    return buffer.getvalue()


def test_a_header_of_fewer_bits_than_the_stream_needs_is_refused(tmp_path: Path) -> None:
    """Cut to the stated bits the values would wrap: a saw tooth."""
    packed = lossless_jpeg(dicom(), tmp_path)
    error = refusal(stating(packed, BitsStored=10, HighBit=9))
    assert error.reason is Reason.BAD_GEOMETRY
    assert "BitsStored 10" in error.detail
    assert "4095" in error.detail
    small = lossless_jpeg(dicom(ramp(high=1000)), tmp_path)
    fits = decode(stating(small, BitsStored=10, HighBit=9), LIMITS)
    assert np.array_equal(fits.pixels_HW, decode(small, LIMITS).pixels_HW)


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.RLELossless])
def test_a_header_of_fewer_bits_than_uncompressed_pixels_need_is_refused(syntax: uid.UID) -> None:
    """As in a compressed stream; but an overlay that the header places into unused bits is cut, as it always was."""
    made = dataset(ramp())
    if syntax == uid.RLELossless:
        made.compress(syntax)
    made.file_meta.TransferSyntaxUID = syntax
    made.BitsStored, made.HighBit = 10, 9
    error = refusal(saved(made))
    assert error.reason is Reason.BAD_GEOMETRY
    assert "BitsStored 10" in error.detail
    assert "4095" in error.detail


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_an_overlay_in_unused_bits_is_no_part_of_the_pixels(syntax: uid.UID) -> None:
    values_HW = ramp()
    made = dataset(values_HW)
    plain = decode(saved(made), LIMITS).pixels_HW
    drawn_HW = (values_HW | (np.indices(values_HW.shape)[0] % 7 == 0) << 12).astype(np.uint16)
    made.file_meta.TransferSyntaxUID = syntax
    made.PixelData = drawn_HW.tobytes()
    assert "the header says BitsStored 12, its pixels go up to" in refusal(saved(made)).detail
    made.add_new(0x60020102, "US", 12)
    assert np.array_equal(decode(saved(made), LIMITS).pixels_HW, plain)


@pytest.mark.parametrize(
    "syntax", [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.HTJ2K]
)
def test_a_stream_of_another_coding_than_the_header_says_is_refused(syntax: uid.UID, tmp_path: Path) -> None:
    packed = pydicom.dcmread(io.BytesIO(lossless_jpeg(dicom(), tmp_path)))
    packed.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    packed.save_as(buffer)
    error = refusal(buffer.getvalue())
    assert error.reason is Reason.CORRUPT
    assert error.detail == f"the header says {syntax.name}, its compressed pixels are lossless JPEG"


def test_a_signed_stream_of_unsigned_pixels_is_refused() -> None:
    made = dataset(ramp(low=-2048, high=2047), signed=True)
    made.compress(uid.JPEG2000Lossless)
    made.PixelRepresentation = 0
    assert "PixelRepresentation 0" in refusal(saved(made)).detail


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda s: s.keyword)
def test_two_compressed_frames_that_nothing_states(syntax: uid.UID) -> None:
    made = dataset(ramp())
    made.compress(syntax)
    frame = next(pydicom.encaps.generate_frames(made.PixelData, number_of_frames=1))
    made.PixelData = pydicom.encaps.encapsulate([frame, frame])
    made["PixelData"].is_undefined_length = True
    assert reason(saved(made)) is Reason.MULTI_FRAME


def test_grey_rgb_is_accepted() -> None:
    pixels = np.repeat(ramp(high=255)[:, :, None], 3, axis=2)
    made = decode(dicom(pixels, bits=8), LIMITS)
    assert made.applied == ("colour_to_grey",)
    assert np.array_equal(made.pixels_HW, ramp(high=255).astype(np.uint8))


def test_compressed_pixels_must_be_what_the_header_says() -> None:
    made = dataset(ramp(64, 64))
    made.compress(uid.JPEG2000Lossless)
    made.Rows = 48
    assert reason(saved(made)) is Reason.BAD_GEOMETRY


def test_blank_and_unsupported() -> None:
    assert reason(dicom(np.full((48, 64), 7))) is Reason.BLANK
    made = dataset(ramp())
    made.file_meta.TransferSyntaxUID = uid.MPEG2MPML
    made.PixelData = pydicom.encaps.encapsulate([b"\0" * 16])
    made["PixelData"].is_undefined_length = True
    assert reason(saved(made)) is Reason.UNSUPPORTED_TRANSFER_SYNTAX
