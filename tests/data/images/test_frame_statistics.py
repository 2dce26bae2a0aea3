import numpy as np
import pytest
from PIL import Image

from comit_ray.data.images.frame import STATISTICS, statistics


def test_by_hand() -> None:
    """Half black, a quarter white, a quarter 51 (a fifth of white); and an even frame."""
    mixed = np.array([[0, 0], [255, 51]], np.uint8)
    even = np.full((2, 2), 102, np.uint8)
    found = statistics(np.stack([mixed, even]))
    assert tuple(found) == STATISTICS
    assert found["pixel_mean"].tolist() == pytest.approx([0.3, 0.4])
    assert found["pixel_sd"].tolist() == pytest.approx([np.sqrt((0.09 + 0.09 + 0.49 + 0.01) / 4), 0])
    assert found["pixel_black"].tolist() == pytest.approx([0.5, 0])
    assert found["pixel_white"].tolist() == pytest.approx([0.25, 0])
    assert {values.dtype for values in found.values()} == {np.dtype(np.float32)}


def test_a_darker_real_radiograph_is_darker(cxr) -> None:
    file = min((cxr / "nih_chestxray14" / "images").glob("*.png"))
    with Image.open(file) as image:
        frame = np.asarray(image.convert("L").resize((224, 224)))
    found = statistics(np.stack([frame, frame // 2]))
    assert found["pixel_mean"][1] < found["pixel_mean"][0]
    assert found["pixel_sd"][1] < found["pixel_sd"][0]
    assert found["pixel_white"][1] == 0
