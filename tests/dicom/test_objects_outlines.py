"""Objects that draw outlines say how coarse the outlines are, and the words fit."""

from io import BytesIO

import pytest
from PIL import ImageFont
from pydicom import dcmread

from comit_ray.dicom import secondary_capture
from comit_ray.dicom.gsps import make_gsps
from comit_ray.dicom.source import read_header
from tests.dicom.support import NAMING, radiograph, result

DREW = "The network drew its outlines on an image of 64 x 64 pixels"
STEP = [
    "one step of an outline is 47 pixels of the radiograph. An outline is not a lesion's border",
    "it may be misplaced.",
]


def test_the_legend_of_a_secondary_capture_says_how_coarse_the_outlines_are() -> None:
    lines = [text for text, _ in secondary_capture._lines(result(3000, 2400))]
    at = lines.index(DREW)
    assert lines[at + 1 : at + 3] == STEP
    font = ImageFont.load_default(size=14)
    assert max(font.getlength(text) for text in lines[at : at + 3]) < secondary_capture.WIDTH - 10


def test_a_presentation_state_says_it_at_the_lower_edge() -> None:
    state = dcmread(BytesIO(make_gsps(read_header(radiograph()), result(), NAMING)))
    texts = [
        (text.UnformattedTextValue, text.BoundingBoxTopLeftHandCorner[1])
        for note in state.GraphicAnnotationSequence
        for text in note.get("TextObjectSequence", [])
    ]
    told = {text: top for text, top in texts if "lesion" in text}
    assert list(told.values()) == [pytest.approx(0.94)]
    assert "one step of an outline is 3 pixels of the radiograph" in next(iter(told))
