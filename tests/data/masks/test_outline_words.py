import pytest

from comit_ray.data.images.frame import FrameMap
from comit_ray.data.masks.outline_words import OutlineGrid, sentences


def test_a_coarse_outline_on_a_large_radiograph_says_how_coarse() -> None:
    row = {"frame_height": 96, "frame_width": 96, "rows_per_pixel": 96 / 3000, "columns_per_pixel": 96 / 2400}
    assert sentences([OutlineGrid.of_row(row)]) == (
        "The network drew its outlines on an image of 96 x 96 pixels; one step of an outline is 31 pixels of the "
        "radiograph. An outline is not a lesion's border; it may be misplaced."
    )


def test_several_radiographs_have_a_range_and_every_size_is_named_once() -> None:
    grids = [OutlineGrid(96, 96, 31.2), OutlineGrid(96, 96, 3.3), OutlineGrid(224, 224, 10.0)]
    told = sentences(grids)
    assert "96 x 96 or 224 x 224 pixels" in told
    assert "one step of an outline is 3 to 31 pixels of" in told


@pytest.mark.parametrize(("step", "told"), [(0.4, "is 1 pixel of"), (1.2, "is 1 pixel of"), (2.0, "is 2 pixels of")])
def test_a_step_is_never_less_than_a_pixel(step: float, told: str) -> None:
    assert told in sentences([OutlineGrid.of_mask((96, 96), FrameMap("stretch", 0, 0, 1 / step, 1 / step))])


def test_without_outlines_nothing_is_said() -> None:
    assert sentences([]) == ""
