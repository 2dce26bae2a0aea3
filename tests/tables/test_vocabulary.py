import pytest

from comit_ray.screening.review_reasons import MOST_URGENT_FIRST
from comit_ray.tables.vocabulary import BY_SEVERITY, RANDOM_ORDER, block_words


@pytest.mark.parametrize(
    ("placed_by", "covid", "told"),
    [
        ("above_operating_point", True, "flagged for COVID-19, highest score first"),
        ("above_operating_point", False, "flagged as unhealthy, highest score first"),
        ("random_negative", True, "random sample of images without another reason, in random order"),
        (RANDOM_ORDER, True, "scored images in random order, because flags are not trusted"),
        (BY_SEVERITY, True, "greatest extent of disease in the lungs first"),
    ],
)
def test_a_block_says_what_is_in_it_and_in_which_order(placed_by: str, covid: bool, told: str) -> None:
    assert block_words(placed_by, covid) == told


def test_every_reason_can_make_a_block() -> None:
    assert len({block_words(reason) for reason in MOST_URGENT_FIRST}) == len(MOST_URGENT_FIRST)
