import pytest

from comit_ray.data.sources.manifest_row import parse_age, parse_sex, scoped


@pytest.mark.parametrize(
    ("text", "expected"),
    [("58", 58), ("65.0", 65), ("058Y", 58), ("018M", 1.5), ("006W", 6 * 7 / 365.25), ("011D", 11 / 365.25)],
)
def test_ages_in_every_unit(text: str, expected: float) -> None:
    assert parse_age(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "414", "155Y", "-1", "Y", "50+", "nan"])
def test_ages_that_nobody_can_have_are_unknown(text: str) -> None:
    assert parse_age(text) is None


def test_sex() -> None:
    assert [parse_sex(text) for text in (" m ", "Female", "O", "")] == ["M", "F", None, None]


def test_scoped_identifiers_never_collide_and_blank_ones_stay_unknown() -> None:
    assert scoped("nih", " 12 ") == "nih/12"
    assert scoped("nih", "  ") is None
