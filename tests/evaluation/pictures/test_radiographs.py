"""Radiographs as they are shown: masks of any frame lie where they belong, and what cannot be read says so."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images.frame import frame_map, mask_to_frame
from comit_ray.data.masks.masks import to_png
from comit_ray.errors import Reason
from comit_ray.evaluation.pictures.radiographs import DISPLAY_PX, Shown, Unreadable, load, on_radiograph, predicted
from tests.support import manifest_row

HEIGHT, WIDTH = 300, 200
LESION = np.zeros((HEIGHT, WIDTH), np.uint8)
LESION[60:150, 40:100] = 1


@pytest.fixture
def radiograph(tmp_path):
    """A path to a picture of noise, twice as bright where the lesion is."""
    noise = np.random.default_rng(0).integers(20, 90, (HEIGHT, WIDTH))
    Image.fromarray((noise * (1 + LESION)).astype(np.uint8)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def row(path, fit: str = "stretch", size: int = 64, **changes) -> dict:
    """A row of `scores.join_tables` whose model drew the lesion itself."""
    frame = FrameConfig(size=size, fit=fit)
    place = frame_map(HEIGHT, WIDTH, frame)
    drawn = to_png(mask_to_frame(LESION, frame) == 1)
    columns = {
        "sidecar": None, "member_offset": None, "checksum": None, "lung_mask": None, "disease_mask": None,
        "lung_png": None, "disease_png": drawn, "fit": fit, "frame_height": size, "frame_width": size,
        "original_top": place.top, "original_left": place.left,
        "rows_per_pixel": place.rows_per_pixel, "columns_per_pixel": place.columns_per_pixel,
    }  # fmt: skip
    return manifest_row("a/1", uri=str(path)) | columns | changes


def shown(row_: dict, lungs="pixels") -> Shown:
    (only,) = load(pd.DataFrame([row_]), DecodeLimits(), lungs)
    assert isinstance(only, Shown)
    return only


def extent(mask_HW) -> np.ndarray:
    """First and last row and column of a mask, as fractions of its sides."""
    rows, columns = np.nonzero(mask_HW)
    height, width = mask_HW.shape
    return np.array(
        [rows.min() / height, (rows.max() + 1) / height, columns.min() / width, (columns.max() + 1) / width]
    )


def test_a_radiograph_keeps_its_aspect_ratio_and_has_no_borders(radiograph):
    pixels_HW = shown(row(radiograph)).pixels_HW
    assert pixels_HW.shape == (DISPLAY_PX, round(DISPLAY_PX * WIDTH / HEIGHT))
    assert pixels_HW[:, [0, -1]].min() > 0, "no black border of the frame is left"


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("size", [64, 224])
def test_a_mask_of_any_frame_lies_where_it_was_drawn(radiograph, fit, size):
    one = shown(row(radiograph, fit, size))
    mask = predicted(one, one.row, "disease")
    np.testing.assert_allclose(extent(mask), extent(LESION), atol=1.5 / size * HEIGHT / WIDTH)
    assert predicted(one, one.row, "lung") is None


def test_a_map_is_cut_like_a_mask(radiograph):
    one = shown(row(radiograph, "letterbox"))
    heat = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
    cut = on_radiograph(heat, one, one.row)
    place = frame_map(HEIGHT, WIDTH, FrameConfig(size=64, fit="letterbox"))
    assert cut.shape == (64, round(64 * WIDTH / HEIGHT))
    assert np.array_equal(cut, heat[:, int(place.left) : int(place.left) + cut.shape[1]])


def test_the_annotation_lies_on_the_radiograph(radiograph, tmp_path):
    Image.fromarray(LESION * 255).save(tmp_path / "mask.png")
    one = shown(row(radiograph, disease_mask=str(tmp_path / "mask.png")))
    assert one.true["disease"].shape == one.pixels_HW.shape
    np.testing.assert_allclose(extent(one.true["disease"]), extent(LESION), atol=0.01)
    bright = one.pixels_HW[one.true["disease"]].mean()
    assert bright > 1.7 * one.pixels_HW[~one.true["disease"]].mean()
    assert one.true["lung"] is None
    assert one.problems == {}


def test_lungs_may_be_shown_as_the_papers_boxes(radiograph, tmp_path):
    lungs = np.zeros((HEIGHT, WIDTH), np.uint8)
    for left in (20, 120):
        rows, columns = np.ogrid[:HEIGHT, :WIDTH]
        lungs[((rows - 150) / 100) ** 2 + ((columns - left - 30) / 30) ** 2 <= 1] = 255
    Image.fromarray(lungs).save(tmp_path / "lungs.png")
    drawn = shown(row(radiograph, lung_mask=str(tmp_path / "lungs.png"))).true["lung"]
    boxes = shown(row(radiograph, lung_mask=str(tmp_path / "lungs.png")), "boxes").true["lung"]
    assert boxes.sum() > 1.2 * drawn.sum()
    np.testing.assert_allclose(extent(boxes), extent(drawn), atol=0.02)


def test_what_cannot_be_read_says_why(radiograph, tmp_path):
    rows = [
        row(radiograph, disease_mask=str(tmp_path / "absent.png")),
        row(tmp_path / "absent.png"),
        row(radiograph),
    ]
    first, second, third = load(pd.DataFrame(rows), DecodeLimits())
    assert first.true["disease"] is None
    assert "absent.png" in first.problems["disease"]
    assert isinstance(second, Unreadable)
    assert second.reason == Reason.MISSING
    assert isinstance(third, Shown)
