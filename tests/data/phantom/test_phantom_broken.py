"""Every troublemaker is refused by the decoder for the reason it was made for."""

import pytest

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.load import decode
from comit_ray.data.phantom.phantom_broken import BOMB_SIDE, TROUBLEMAKERS, Troublemaker
from comit_ray.data.phantom.phantom_files import Header
from comit_ray.errors import DecodeError, Reason

HEADER = Header("p0001", "p0001_s1", "p0001_x", "PA", "F", 50, "DX", "CHEST", "20200315")


@pytest.mark.parametrize("trouble", [t for t in TROUBLEMAKERS if t.make], ids=lambda t: t.name)
def test_decoding_gives_the_intended_reason(trouble: Troublemaker) -> None:
    assert trouble.make
    data = trouble.make(1, HEADER)
    assert data == trouble.make(1, HEADER)
    with pytest.raises(DecodeError) as caught:
        decode(data, DecodeLimits())
    assert caught.value.reason is trouble.reason, caught.value


def test_only_the_missing_file_has_no_bytes() -> None:
    assert [t.reason for t in TROUBLEMAKERS if t.make is None] == [Reason.MISSING]


def test_the_bomb_is_small_and_claims_much() -> None:
    bomb = next(t for t in TROUBLEMAKERS if t.name == "bomb")
    assert bomb.make
    assert len(bomb.make(0, HEADER)) < 1000
    assert DecodeLimits().max_pixels < BOMB_SIDE**2
