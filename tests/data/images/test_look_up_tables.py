"""Look-up tables as real files have them: every form gives the same entries, and what cannot be told is refused."""

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from comit_ray.data.images.load import decode
from comit_ray.data.images.look_up_tables import read_look_up_table
from comit_ray.errors import DecodeError, Reason
from tests.data.dicom_files import LIMITS, dataset, dicom, ramp, refusal, row, saved


def sequence(descriptor: list[int], data: Any, vr: str = "US", descriptor_vr: str = "US") -> Sequence:
    item = Dataset()
    item.add_new("LUTDescriptor", descriptor_vr, descriptor)
    item.add_new("LUTData", vr, data)
    return Sequence([item])


def words(values: list[int]) -> bytes:
    return np.array(values, "<u2").tobytes()


def gamma(count: int, bits: int) -> list[int]:
    return [round((at / (count - 1)) ** 2 * (2**bits - 1)) for at in range(count)]


@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize(
    ("bits", "vr", "packed"),
    [(8, "US", False), (8, "OW", False), (8, "OW", True), (12, "US", False), (12, "OW", False), (16, "OW", False)],
)
def test_every_form_of_the_entries_is_read(keyword: str, bits: int, vr: str, packed: bool) -> None:
    entries = gamma(1024, bits)
    data: Any = bytes(entries) if packed else words(entries) if vr == "OW" else entries
    header: dict[str, Any] = {keyword: sequence([1024, 1000, bits], data, vr)}
    made = dataset(ramp(), **header)
    found = read_look_up_table(made, keyword)
    assert found is not None
    assert found.entries.tolist() == entries
    inside = np.clip(ramp()[0] - 1000, 0, 1023)
    expected = np.array(entries)[inside] / (2**bits - 1) * 255
    shown = row(saved(made))
    if keyword == "VOILUTSequence":
        assert np.abs(shown - expected).max() <= 1
    else:
        assert (np.diff(shown.astype(int)) >= 0).all()
        assert (shown[0], shown[-1]) == (0, 255)


def test_indices_do_not_wrap() -> None:
    """A table of few 8-bit entries, and values far above it: all of them show its last entry."""
    shown = row(dicom(VOILUTSequence=sequence([16, 0, 8], list(range(0, 256, 17)))))
    assert (shown[ramp()[0] >= 15] == 255).all()
    scaled = dicom(
        ramp(high=65535),
        bits=16,
        RescaleSlope="4",
        RescaleIntercept="0",
        VOILUTSequence=sequence([4096, 0, 12], list(range(4096))),
    )
    assert (row(scaled)[ramp(high=65535)[0] * 4 >= 4095] == 255).all()


@pytest.mark.parametrize(("first", "vr"), [(-1024, "SS"), (65536 - 1024, "US")])
def test_a_first_value_below_zero_in_either_type(first: int, vr: str) -> None:
    lut = sequence([4096, first, 12], list(range(4096)), descriptor_vr=vr) if vr == "US" else None
    if lut is None:
        item = Dataset()
        item.add_new("LUTDescriptor", "SS", [4096, first, 12])
        item.add_new("LUTData", "US", list(range(4096)))
        lut = Sequence([item])
    shown = row(dicom(RescaleSlope="1", RescaleIntercept="-1024", VOILUTSequence=lut))
    assert np.abs(shown.astype(float) - np.linspace(0, 255, 64)).max() <= 1


def test_no_entries_stated_are_65536() -> None:
    lut = sequence([0, 0, 16], words(list(range(65536))), "OW")
    shown = row(dicom(ramp(high=65535), bits=16, VOILUTSequence=lut))
    assert np.abs(shown.astype(float) - np.linspace(0, 255, 64)).max() <= 1


@pytest.mark.parametrize(
    ("lut", "named"),
    [
        (sequence([4096, 0, 12], list(range(4000))), "4096 entries in LUTData, as LUTDescriptor says, got 4000"),
        (sequence([4096, 0, 12], words(list(range(2048))), "OW"), "4096 entries in LUTData"),
        (sequence([4, 0, 8], [0, 1, 2, 300]), "entries of 8 bits in LUTData"),
        (sequence([4, 0, 40], [0, 1, 2, 3]), "1 to 16 bits an entry in LUTDescriptor, got 40"),
        (sequence([4, 0], [0, 1, 2, 3]), "a LUTDescriptor of 3 numbers, got 2"),
        (Sequence([Dataset()]), "a LUTDescriptor, got none"),
    ],
    ids=["short", "short OW", "too large", "bits", "descriptor", "nothing"],
)
@pytest.mark.parametrize("keyword", ["ModalityLUTSequence", "VOILUTSequence"])
def test_what_does_not_fit_is_refused_by_name(keyword: str, lut: Sequence, named: str) -> None:
    header: dict[str, Any] = {keyword: lut}
    error = refusal(dicom(**header))
    assert error.reason is Reason.CORRUPT
    assert keyword in error.detail
    assert named in error.detail


def test_an_empty_sequence_is_no_table() -> None:
    made = dicom(VOILUTSequence=Sequence([]), WindowCenter="1000", WindowWidth="500")
    assert decode(made, LIMITS).applied == ("window",)
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4, 0, 8])
    without_data = dataset(ramp(), VOILUTSequence=Sequence([item]))
    with pytest.raises(DecodeError, match="LUTData"):
        read_look_up_table(without_data, "VOILUTSequence")
