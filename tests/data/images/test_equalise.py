import numpy as np
import pytest
from PIL import Image, ImageOps

from comit_ray.config.image_config import FrameConfig
from comit_ray.data.images.equalise import equalise_histogram, equalise_tiles
from comit_ray.data.images.frame import to_frame


@pytest.fixture(scope="module")
def radiographs(cxr) -> list[np.ndarray]:
    files = sorted((cxr / "covid_chestxray" / "images").glob("*.jp*g"))[:4]
    return [np.asarray(Image.open(file).convert("L").resize((224, 224))) for file in files]


@pytest.mark.parametrize("equalise", [equalise_histogram, equalise_tiles])
def test_a_darker_copy_gives_nearly_the_same(radiographs, equalise) -> None:
    for pixels_HW in radiographs:
        found = equalise(pixels_HW)
        assert found.dtype == np.uint8
        darker = np.rint(pixels_HW * 0.5).astype(np.uint8)
        before = np.abs(darker.astype(int) - pixels_HW).mean()
        after = np.abs(equalise(darker).astype(int) - found).mean()
        assert after < before / 3


def test_the_whole_frame_is_equalised_as_pillow_does(radiographs) -> None:
    for pixels_HW in radiographs:
        theirs = np.asarray(ImageOps.equalize(Image.fromarray(pixels_HW)))
        # Pillow counts in whole steps of pixels, so a few grey values apart.
        ours = equalise_histogram(pixels_HW)
        assert np.abs(ours.astype(int) - theirs).max() <= 16
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999


def test_tiles_have_no_edges() -> None:
    ramp = np.tile(np.linspace(0, 255, 224).astype(np.uint8), (224, 1))
    found = equalise_tiles(ramp).astype(int)
    assert np.abs(found - found[0]).max() <= 1
    assert np.abs(np.diff(found[0])).max() <= 8
    assert found[0, -1] > found[0, 0]


@pytest.mark.parametrize("equalise", [equalise_histogram, equalise_tiles])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (64, 33)])
def test_any_shape_and_one_value(equalise, shape) -> None:
    assert equalise(np.full(shape, 9, np.uint8)).shape == shape
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert equalise(noise).shape == shape


def test_a_frame_is_equalised_inside_its_borders_alone(radiographs) -> None:
    wide = radiographs[0][:112]
    framed = to_frame(wide, FrameConfig(size=64, fit="letterbox", equalise="histogram"))
    plain = to_frame(wide, FrameConfig(size=64, fit="letterbox"))
    assert (framed[:16] == 0).all()
    assert (framed[16:48] == equalise_histogram(plain[16:48])).all()
    assert (framed[16:48] != plain[16:48]).any()
