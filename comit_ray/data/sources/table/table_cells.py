"""Types for cells in a column mapping: templates, lists and maps."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from comit_ray.data.sources.manifest_row import plain_number
from comit_ray.data.sources.readers import is_unknown
from comit_ray.errors import STATUS_OF, Reason, Status

Record = Mapping[str, str]
"""Column, as the mapping writes it -> the row's cell, without surrounding blanks."""


@cache
def _pieces(template: str) -> tuple[tuple[str, str, bool], ...]:
    """Returns the template's columns as (text before it, column, whether only its stem), then the text at the end."""
    found: list[tuple[str, str, bool]] = []
    end = 0
    for match in re.finditer(r"\{([^{}|]+)(\|stem)?\}", template):
        found.append((template[end : match.start()], match[1].strip(), match[2] is not None))
        end = match.end()
    return (*found, (template[end:], "", False))


def template_columns(template: str) -> Iterator[str]:
    """Returns the columns that a template names."""
    return (column for _, column, _ in _pieces(template) if column)


def fill(template: str, record: Record, *, identifier: bool = False) -> str | None:
    """Fills the template with the row's cells; returns None if one of them is blank.

    In an `identifier` a cell that marks an unknown value (NaN) counts as blank, and `2.0` becomes `2`.
    """
    text = ""
    for before, column, only_stem in _pieces(template):
        text += before
        if column:
            cell = record[column]
            if identifier:
                cell = "" if is_unknown(cell) else plain_number(cell)
            if not cell:
                return None
            text += (cell.rpartition(".")[0] or cell) if only_stem else cell
    return text


def _check_template(text: str) -> str:
    if any("{" in before or "}" in before for before, _, _ in _pieces(text)):
        raise ValueError(f"expected text with {{column}} or {{column|stem}}, got {text!r}")
    return text


def _to_cell(value: object) -> str:
    """Returns a cell's text in lower case, as YAML may write it: 1 is the text `1`."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"expected a cell's text, got {value!r}: put quotes around words such as yes, no and null")
    return str(value).strip().casefold()


def _to_cells(value: object) -> tuple[str, ...]:
    return tuple(_to_cell(item) for item in (value if isinstance(value, list | tuple) else [value]))


def _to_cell_map(value: object) -> object:
    if not isinstance(value, dict):
        return value
    keys = [_to_cell(key) for key in value]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise ValueError(f"expected each cell once, got more than once (case does not count): {', '.join(twice)}")
    return dict(zip(keys, value.values(), strict=True))


def _check_pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"expected a regular expression, got {text!r}: {error}") from None
    return text


def _check_exclusion(reason: Reason | None) -> Reason | None:
    if reason is not None and STATUS_OF[reason] is not Status.EXCLUDED:
        known = ", ".join(reason for reason, status in STATUS_OF.items() if status is Status.EXCLUDED)
        raise ValueError(f"expected a reason that excludes an image ({known}), got {reason}")
    return reason


Template = Annotated[str, Field(min_length=1), AfterValidator(_check_template)]
"""Text with `{column}`, or `{column|stem}` for a cell without its last dot and what follows."""
Column = Annotated[str, Field(min_length=1)]
"""Name of a column."""
Pattern = Annotated[str, AfterValidator(_check_pattern)]
"""A regular expression."""
Cells = Annotated[tuple[str, ...], BeforeValidator(_to_cells)]
"""Texts of one or several cells."""
TO_CELL_MAP = BeforeValidator(_to_cell_map)
"""Validator for maps from a cell's text to its meaning."""
LabelValue = Literal[0, 1] | None
"""1, 0, or null for unknown."""
Exclusion = Annotated[Reason | None, AfterValidator(_check_exclusion)]
"""A reason that excludes an image, or null."""
