"""Truncated, bare and deflated files."""

import zlib
from contextlib import suppress

import numpy as np
import pytest
from pydicom import uid

from comit_ray.data.images.dicom_radiograph import read_header
from comit_ray.data.images.load import decode
from comit_ray.errors import DecodeError, Reason
from comit_ray.tables.vocabulary import View
from tests.data.dicom_files import BUNDLED, LIMITS, dataset, dicom, ramp, reason, row, saved

COMPRESSED = [uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless]


@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian, *COMPRESSED], ids=lambda s: s.keyword
)
def test_no_beginning_of_a_file_gives_pixels(syntax: uid.UID) -> None:
    """Half a file is never half a radiograph: cut anywhere, it gives the whole picture or none."""
    made = dataset(np.random.default_rng(0).integers(0, 4096, (48, 64)))
    if syntax in COMPRESSED:
        made.compress(syntax)
    made.file_meta.TransferSyntaxUID = syntax
    data = saved(made)
    whole = decode(data, LIMITS).pixels_HW
    for end in range(1, len(data) - 20, max(1, len(data) // 150)):
        found = reason(data[:end])
        if end > 1200:
            assert found is Reason.TRUNCATED, end
        else:
            assert found in (Reason.TRUNCATED, Reason.NO_PIXELS, Reason.NOT_AN_IMAGE, Reason.CORRUPT), end
    for end in range(len(data) - 20, len(data)):  # only padding or the end of the sequence may be absent
        with suppress(DecodeError):
            assert np.array_equal(decode(data[:end], LIMITS).pixels_HW, whole)


def test_a_bare_data_set_is_accepted() -> None:
    data = dicom()
    begin = data.index(b"\x08\x00\x16\x00UI")
    assert np.array_equal(row(data[begin:]), row(data))
    implicit = dataset(ramp())
    implicit.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    data = saved(implicit)
    assert np.array_equal(row(data[data.index(b"\x08\x00\x16\x00\x1a") :]), row(data))


def test_read_header_needs_no_pixels_but_their_place() -> None:
    data = dicom()
    assert read_header(data[: data.index(b"\xe0\x7f\x10\x00") + 20], LIMITS).view is View.PA
    with pytest.raises(DecodeError) as caught:
        read_header(data[: data.index(b"\xe0\x7f\x10\x00")], LIMITS)
    assert caught.value.reason is Reason.TRUNCATED
    with pytest.raises(DecodeError) as caught:
        read_header(b"nothing of the kind", LIMITS)
    assert caught.value.reason is Reason.NOT_AN_IMAGE


def test_an_index_is_excluded() -> None:
    assert reason((BUNDLED / "dicomdirtests" / "DICOMDIR").read_bytes()) is Reason.WRONG_MODALITY


def test_a_deflated_file_inflates_no_further_than_its_pixels() -> None:
    made = dataset(ramp())
    plain = saved(made)
    begin = plain.index(b"\x08\x00\x16\x00UI")
    made.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    meta = saved(made)
    meta = meta[: 144 + int.from_bytes(meta[140:144], "little")]
    packer = zlib.compressobj(wbits=-15)
    packed = (
        packer.compress(plain[begin:]) + packer.compress(b"\xfc\xff\xfc\xffOB\0\0" + b"\0" * 2**20) + packer.flush()
    )
    assert np.array_equal(row(meta + packed), row(plain))
