"""The sections of a column mapping: values, labels, days, findings and masks."""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Any, Generic, Literal, Self, TypeVar

from pydantic import Field, model_validator

from comit_ray.config.config_base import Config, PositiveInt
from comit_ray.data.sources.manifest_row import parse_sex
from comit_ray.data.sources.readers import is_unknown
from comit_ray.data.sources.table.table_cells import (
    TO_CELL_MAP,
    Cells,
    Column,
    LabelValue,
    Record,
    Template,
    template_columns,
)
from comit_ray.errors import ManifestError

T = TypeVar("T")


class Valued(Config, Generic[T]):
    """A value that is the same for every row (YAML: the value itself), or that a column's cell stands for."""

    constant: T | None = None
    column: Column | None = None
    values: Annotated[dict[str, T], TO_CELL_MAP] = Field(default={})
    """Cell -> value."""
    otherwise: T | Literal["refuse"] = "refuse"
    """Meaning of other cells; refuse: they are an error. It does not apply to blank cells and cells for an unknown
    value (NaN, N/A, null, -): these mean the same as the cell '', or null."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return value if isinstance(value, dict | Valued) else {"constant": value}

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = self._ways()
        if sum(ways.values()) != 1:
            raise ValueError(f"expected one of: a plain value; {'; '.join(list(ways)[1:])}")
        return self

    def _ways(self) -> dict[str, bool]:
        """Returns each way to give the value, and whether the mapping uses it."""
        by_column = self.column is not None or "values" in self.model_fields_set
        if by_column and (self.column is None or not self.values):
            raise ValueError("expected `column` and `values` together")
        return {"constant": "constant" in self.model_fields_set, "column and values": by_column}

    def columns(self) -> Iterator[str]:
        """Yields the columns that the value is read from."""
        if self.column is not None:
            yield self.column

    def of(self, record: Record) -> T | None:
        """Returns the row's value.

        Raises:
            ManifestError: if the cell is not in the map.
        """
        if self.column is None:
            return self.constant
        cell = record[self.column]
        if cell and is_unknown(cell) and cell.casefold() not in self.values:
            return self.values.get("")
        value = self.values.get(cell.casefold(), self.otherwise if cell else "refuse")
        if value == "refuse":
            raise _unknown(self.column, self.values, cell)
        return value


class AnyOf(Config):
    """A condition: any of some columns has one of some cells."""

    any_of: Annotated[tuple[Column, ...], Field(min_length=1)]
    equals: Cells

    def holds(self, record: Record) -> bool:
        """Returns whether the condition holds in this row."""
        return any(record[column].casefold() in self.equals for column in self.any_of)


class Label(Valued[LabelValue]):
    """A label: a constant, what a column's cell stands for, or conditions on several columns; unknown if none holds."""

    one_if: AnyOf | None = None
    zero_if: AnyOf | None = None

    def _ways(self) -> dict[str, bool]:
        return super()._ways() | {"one_if and zero_if": bool(self.one_if or self.zero_if)}

    def columns(self) -> Iterator[str]:
        """Yields the columns that the label is read from."""
        yield from super().columns()
        for condition in (self.one_if, self.zero_if):
            yield from condition.any_of if condition else ()

    def of(self, record: Record) -> LabelValue:
        """Returns 1, 0 or None (unknown).

        Raises:
            ManifestError: if the cell is not in the map, or the conditions for 1 and for 0 both hold.
        """
        if not (self.one_if or self.zero_if):
            return super().of(record)
        one = self.one_if is not None and self.one_if.holds(record)
        zero = self.zero_if is not None and self.zero_if.holds(record)
        if one and zero:
            raise ManifestError("the conditions one_if and zero_if both hold")
        return 1 if one else 0 if zero else None


class Sex(Config):
    """M or F, by the usual spellings or by a map of cells."""

    column: Column
    values: Annotated[dict[str, Literal["M", "F"] | None], TO_CELL_MAP] = Field(default={})
    """Cell -> M, F or null. Without the map: M, F, male and female in any case, and null for anything else."""

    def of(self, record: Record) -> str | None:
        """Returns the row's sex.

        Raises:
            ManifestError: if there is a map that lacks this cell.
        """
        cell = record[self.column]
        if not self.values:
            return parse_sex(cell)
        if cell.casefold() in self.values:
            return self.values[cell.casefold()]
        if cell and is_unknown(cell):
            return self.values.get("")
        raise _unknown(self.column, self.values, cell)


def _unknown(column: str, values: dict[str, Any], cell: str) -> ManifestError:
    came = repr(cell[:40]) if cell else "a blank cell, which needs an entry '' of its own"
    return ManifestError(f"column {column!r}: expected one of {', '.join(map(repr, values))}, got {came}")


class Number(Config):
    """A column of numbers."""

    column: Column


class Day(Config):
    """A column of days."""

    column: Column
    format: str
    """Format as in `strptime`, such as `%Y-%m-%d`."""

    @model_validator(mode="after")
    def _readable(self) -> Self:
        first = datetime(2001, 2, 3)
        try:
            same = datetime.strptime(first.strftime(self.format), self.format) == first
        except ValueError:
            same = False
        if not same:
            raise ValueError(f"expected a format of year, month and day such as '%Y-%m-%d', got {self.format!r}")
        return self

    def of(self, record: Record) -> date | None:
        """Returns the row's day; None for a blank cell.

        Raises:
            ManifestError: if the cell has another format; the message does not show the cell.
        """
        cell = record[self.column]
        try:
            return None if is_unknown(cell) else datetime.strptime(cell, self.format).date()
        except ValueError:
            raise ManifestError(f"column {self.column!r}: expected a day as {self.format!r}") from None


class Findings(Config):
    """The source's own labels: a column's text, or the names of the columns that have a certain cell."""

    column: Column | None = None
    separator: Annotated[str, Field(min_length=1)] | None = None
    """Text between several findings in one cell."""
    columns: tuple[Column, ...] = ()
    equals: Cells = ()
    """Cells that make the name of their column a finding."""
    none: str | None = None
    """The finding that means no finding; it is dropped if an image has another."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.column is None) == (not self.columns) or bool(self.columns) != bool(self.equals):
            raise ValueError("expected `column` (and `separator`), or `columns` and `equals`")
        return self

    def of(self, record: Record) -> tuple[str, ...]:
        """Returns the row's findings, in the table's order."""
        if self.column is None:
            return tuple(column for column in self.columns if record[column].casefold() in self.equals)
        cell = record[self.column]
        parts = cell.split(self.separator) if self.separator else [cell]
        none = None if self.none is None else self.none.casefold()
        found = (part.strip() for part in parts)
        return tuple(part for part in found if part and (part.casefold() == none or not is_unknown(part)))


class FrameColumns(Config):
    """Columns that give height and width in pixels of the frame in which shapes were drawn."""

    height: Column
    width: Column


Frame = Literal["image"] | FrameColumns | tuple[PositiveInt, PositiveInt]
"""[height, width]; or the columns that hold them; or `image`: the pixels of the radiograph itself."""


class Boxes(Config):
    """Columns of a box: left, top, and either width, height or right, bottom; all are blank if there is no box."""

    left: Column
    top: Column
    width: Column | None = None
    height: Column | None = None
    right: Column | None = None
    bottom: Column | None = None
    frame: Frame

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [name for name in ("width", "height", "right", "bottom") if getattr(self, name) is not None]
        if given not in (["width", "height"], ["right", "bottom"]):
            raise ValueError(f"expected width and height, or right and bottom, got {' and '.join(given) or 'neither'}")
        return self

    def columns(self) -> tuple[str, str, str, str]:
        """Returns the columns left, top, and width, height or right, bottom."""
        return self.left, self.top, self.width or self.right or "", self.height or self.bottom or ""


class SiimRuns(Config):
    """A column with relative run lengths in SIIM-ACR's form; `-1` if there is no mask."""

    column: Column
    frame: Frame

    def columns(self) -> tuple[str]:
        """Returns the one column."""
        return (self.column,)


class Mask(Config):
    """The origin of a mask: image files, boxes or run lengths."""

    files: tuple[Template, ...] = ()
    """Names of mask images relative to the table's folder; the first that exists counts."""
    boxes: Boxes | None = None
    siim: SiimRuns | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(map(bool, (self.files, self.boxes, self.siim))) != 1:
            raise ValueError("expected one of `files`, `boxes` and `siim`")
        return self

    def columns(self) -> Iterator[str]:
        """Yields the columns that the mask is read from."""
        for template in self.files:
            yield from template_columns(template)
        shapes = self.boxes or self.siim
        if shapes:
            yield from shapes.columns()
            if isinstance(shapes.frame, FrameColumns):
                yield from (shapes.frame.height, shapes.frame.width)
