"""Every file format of the phantom archive decodes to the pixels that were drawn."""

import io

import numpy as np
import pydicom
import pytest

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.load import decode
from comit_ray.data.phantom.phantom_drawing import PhantomKind, draw
from comit_ray.data.phantom.phantom_files import FORMATS, Header, encode, suffix

HEADER = Header("p0001", "p0001_s1", "p0001_s1_1", "AP", "F", 63, "DX", "CHEST", "20200315")
PIXELS = draw(5, PhantomKind.COVID, size=(257, 301)).pixels_HW  # odd sides: rows and frames need padding


@pytest.mark.parametrize("form", sorted(set(FORMATS)))
def test_a_format_decodes_to_the_pixels_that_were_drawn(form: str) -> None:
    radiograph = decode(encode(PIXELS, form, HEADER), DecodeLimits())
    assert radiograph.pixels_HW.shape == PIXELS.shape
    if form == "png-16bit":  # without a window, the decoder stretches the contrast
        assert np.corrcoef(radiograph.pixels_HW.ravel(), PIXELS.ravel())[0, 1] > 0.995
        return
    difference = abs(radiograph.pixels_HW.astype(int) - PIXELS)
    assert difference.mean() < 2
    assert difference.max() <= (30 if "jpeg" in form.split("-") else 1)


@pytest.mark.parametrize("form", sorted(set(FORMATS)))
def test_equal_arguments_give_equal_bytes(form: str) -> None:
    assert encode(PIXELS, form, HEADER) == encode(PIXELS, form, HEADER)


def test_the_header_is_in_the_dicom_file() -> None:
    dataset = pydicom.dcmread(io.BytesIO(encode(PIXELS, "dicom-12bit-monochrome1", HEADER)))
    assert (dataset.PatientID, dataset.PatientSex, dataset.PatientAge) == ("p0001", "F", "063Y")
    assert (dataset.Modality, dataset.ViewPosition, dataset.BodyPartExamined) == ("DX", "AP", "CHEST")
    assert (dataset.PhotometricInterpretation, dataset.BitsStored, dataset.BitsAllocated) == ("MONOCHROME1", 12, 16)
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID


def test_the_transfer_syntaxes_differ() -> None:
    files = [encode(PIXELS, form, HEADER) for form in set(FORMATS) if suffix(form) == ".dcm"]
    syntaxes = {pydicom.dcmread(io.BytesIO(file)).file_meta.TransferSyntaxUID.name for file in files}
    assert len(syntaxes) == 7, syntaxes
