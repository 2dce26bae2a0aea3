"""Heat maps as pictures, and the rows of the table."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from comit_ray.inference.model import load_model
from comit_ray.screening import prediction_rows
from comit_ray.tables.schema import GRADCAM
from tests.support import write_checkpoint


def pixels(png: bytes | None) -> np.ndarray:
    assert png is not None
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        return np.asarray(image)


def test_what_is_not_finite_is_no_picture():
    for value in (np.nan, np.inf):
        map_HW = np.ones((8, 8), np.float32)
        map_HW[2, 3] = value
        assert prediction_rows.heat_map_png(map_HW) is None


@pytest.mark.parametrize("highest", [1e-44, 1e-20, 1.0, 3e38])
def test_the_highest_value_is_white_however_large_it_is(highest):
    map_HW = np.zeros((4, 4), np.float32)
    map_HW[0, 0] = highest
    assert pixels(prediction_rows.heat_map_png(map_HW)).tolist() == [[255, 0, 0, 0]] + [[0] * 4] * 3


def test_the_table_has_a_row_for_each_sound_image_whatever_the_batch(tmp_path):
    frames_BHW = np.random.default_rng(0).integers(0, 256, (5, 64, 64), np.uint8)
    sound_B = np.array([True, False, True, True, False])
    image_ids = pa.chunked_array([["a/0", "a/2", "a/3"]])
    uri = write_checkpoint(tmp_path / "checkpoint", seed=1)
    with load_model(uri, batch_size=2, gradcam=True) as model:
        table = prediction_rows.gradcam_rows(model, frames_BHW, image_ids, sound_B)
        maps = model.heat_maps(frames_BHW)
    assert table.schema.equals(GRADCAM, check_metadata=True)
    assert table["image_id"].to_pylist() == ["a/0", "a/2", "a/3"]
    for score in ("covid", "unhealthy"):
        expected = [pixels(prediction_rows.heat_map_png(map_HW)) for map_HW in maps[score][sound_B]]
        for png, map_HW in zip(table[f"{score}_png"].to_pylist(), expected, strict=True):
            np.testing.assert_array_equal(pixels(png), map_HW)
