"""What decoding processes send back comes out as it went in; what they do not know is pickled."""

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from comit_ray.config.image_config import FrameConfig
from comit_ray.data.images import decoder_answers
from comit_ray.data.images.decode import Frame
from comit_ray.data.images.frame import frame_map
from comit_ray.data.images.radiograph import Radiograph
from comit_ray.tables.vocabulary import View

PIXELS_HW = np.random.default_rng(0).integers(0, 256, (48, 64)).astype(np.uint8)
RADIOGRAPH = Radiograph(PIXELS_HW, 48, 64, View.PA, "ViewPosition", ("rescale", "window"))
FRAME = Frame(PIXELS_HW[:32, :32], 48, 64, View.UNKNOWN, "none", frame_map(48, 64, FrameConfig(size=32)))


def there_and_back(made: Any) -> Any:
    """As it travels: the buffers are other memory at the other end."""
    data, buffers = decoder_answers.to_bytes(made)
    return decoder_answers.from_bytes(data, [np.frombuffer(bytes(one), np.uint8).copy() for one in buffers])


def same(one: Any, other: Any) -> bool:
    """Whether two answers are equal, arrays and their types too."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, Frame | Radiograph):
        return type(one) is type(other) and all(
            same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)
        )
    return type(one) is type(other) and bool(one == other)


@pytest.mark.parametrize("made", [RADIOGRAPH, FRAME, 3, (1.5, 2.5), None, "text", ()], ids=lambda made: type(made))
def test_what_was_made_comes_back(made: Any) -> None:
    assert same(made, there_and_back(made))


def test_pixels_can_be_written_to_and_are_not_copied_on_the_way() -> None:
    data, [buffer] = decoder_answers.to_bytes(RADIOGRAPH)
    assert np.shares_memory(np.frombuffer(buffer, np.uint8), PIXELS_HW)
    assert len(data) < 200
    there_and_back(RADIOGRAPH).pixels_HW[0] = 0


@pytest.mark.parametrize("made", [{1: "a"}, [1, 2], b"bytes", np.zeros((0, 3)), np.array(["text"])])
def test_anything_else_is_pickled(made: Any) -> None:
    data, buffers = decoder_answers.to_bytes(made)
    assert not buffers
    found = decoder_answers.from_bytes(data, [])
    assert np.array_equal(made, found) if isinstance(made, np.ndarray) else made == found


def test_an_array_in_another_order_keeps_its_values() -> None:
    made: Iterable[Any] = (np.asfortranarray(PIXELS_HW.astype(np.int16)), PIXELS_HW[::2, ::-1])
    for one, other in zip(made, there_and_back(tuple(made)), strict=True):
        assert same(one, other)
