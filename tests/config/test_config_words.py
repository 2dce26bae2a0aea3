from datetime import date
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from comit_ray.config import config_words
from comit_ray.config.config_base import Config, Fraction, PositiveInt
from comit_ray.errors import ConfigError
from comit_ray.tables.vocabulary import View


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (str, "text"),
        (str | None, "text, or null"),
        (PositiveInt | None, "whole number above 0, or null"),
        (Fraction, "number from 0 to 1"),
        (Annotated[int, Field(ge=0)], "whole number at least 0"),
        (Annotated[int, Field(ge=0, lt=2**32)], "whole number at least 0 and below 4,294,967,296"),
        (bool, "yes or no"),
        (date | None, "day such as 2026-11-30, or null"),
        (Literal["png", "webp"], "one of png|webp"),
        (View, "one of PA|AP|frontal|lateral|unknown"),
        (tuple[Fraction, ...], "list of: number from 0 to 1"),
        (tuple[int, int], "list of 2: whole number"),
        (PositiveInt | tuple[PositiveInt, PositiveInt], "whole number above 0, or list of 2: whole number above 0"),
        (dict[str, Fraction], "mapping of names to: number from 0 to 1"),
        (float | Literal["scale"], "number, or scale"),
        (Any, "any value"),
    ],
)
def test_what_an_option_takes_is_said_in_words(annotation: Any, words: str) -> None:
    assert config_words.describe(annotation) == words


class Inner(Config):
    """A group."""

    share: Fraction = 0.5
    """A share."""


class Options(Config):
    """Options."""

    count: PositiveInt | None = None
    """A count."""
    mode: Literal["on", "off"] = "off"
    """A mode."""
    name: str = ""
    """A name."""
    shares: dict[str, Fraction] = {}  # noqa: RUF012 pydantic copies it
    """Shares."""
    sizes: tuple[PositiveInt, ...] = ()
    """Sizes."""
    inner: Inner = Inner()
    """A group."""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "count: expected a whole number above 0, or null, got 0"),
        ({"count": "x"}, "count: expected a whole number above 0, or null, got x"),
        ({"count": 1.5}, "count: expected a whole number above 0, or null, got 1.5"),
        ({"mode": True}, "mode: expected one of on|off, got yes: write it in quotes to mean text"),
        ({"name": 2024}, "name: expected text, got 2024: write it in quotes to mean text"),
        ({"shares": {"failed": 2}}, "shares.failed: expected a number from 0 to 1, got 2"),
        ({"sizes": [3, 0]}, "sizes: expected a list of: whole number above 0 (its item 2), got 0"),
        ({"inner": {"share": None}}, "inner.share: expected a number from 0 to 1, got null"),
        ({"inner": 3}, "inner: expected a mapping with share, got 3"),
        ({"inner": {"shere": 1}}, "inner.shere: no such option (did you mean share?); valid keys: share"),
        ([], "these options together: expected options (key: value), got []"),
    ],
)
def test_a_wrong_value_is_told_what_was_expected_and_what_came(values: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Options.parse(values, origin="here")
    assert str(error.value) == f"here: {message}"


def test_the_nearest_word_is_found_whatever_its_case() -> None:
    assert config_words.did_you_mean("DICOM", ["nih", "dicom"]) == " (did you mean dicom?)"
    assert config_words.did_you_mean("xyz", ["nih", "dicom"]) == ""
