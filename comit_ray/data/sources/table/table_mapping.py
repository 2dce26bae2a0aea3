"""The YAML format that maps the columns of a table to the manifest.

    tables:                                  # one or several lists; each name must fit exactly one file
      - name: 'train[.]csv'                  # regular expression on the file's name, below any folders; .gz too
        split: train                         # the source's own split of its rows, where it has one
    format: csv                              # csv, tsv, or covidx: `patientid filename label [source]`, no header
    encoding: utf-8-sig
    rows_per_image: one                      # many: rows of one image are joined, wherever they stand in the tables
    image:
      at: ['images/{file}.dcm']              # the first that exists; relative to the table's folder
      anywhere: '{file}.dcm'                 # else the one file of this name, in whatever folder
    patient: '{hospital}-{patient}'          # templates: text with {columns}; {column|stem} leaves a suffix out
    study: '{study}'
    site: 'Hospital A'
    view: {column: position, values: {PA: PA, AP: AP, LL: lateral, '': unknown}}
    excluded:
      - {column: modality, values: {CR: null, DX: null, CT: wrong_modality}}
    sex: {column: sex}                       # M, F, male, female; or with values
    age: {column: age}                       # years, or DICOM's 058Y
    acquired_on: {column: date, format: '%Y-%m-%d'}
    illness_day: {column: offset}
    findings: {column: finding, separator: '|', none: No Finding}
    labels:
      unhealthy: {column: finding, values: {No Finding: 0}, otherwise: 1}
      covid: 0                               # a plain value is a constant; null: unknown
      other: {one_if: {any_of: [Edema, Mass], equals: 1}, zero_if: {any_of: [Normal], equals: 1}}
    lung_mask: {files: ['masks/{file}.png']}
    disease_mask:
      boxes: {left: x, top: y, width: width, height: height, frame: [1024, 1024]}

A cell that a map does not know is an error, unless `otherwise` gives its meaning; a blank cell is one unless the map
has it. Case does not matter in cells, values and names of columns. Every named column must be present, except those
under `optional_columns`, which are then blank. A lateral view is excluded without further options.

Rows that are joined must agree in everything except findings, shapes and labels. Findings and shapes are united; a
finding that means none (`none`) stays only if no row has another. Labels must agree too (`disagreement: refuse`), or
the 1 of one row is enough and 0 needs all rows (`any_positive`: several readers of one image).
"""

from collections.abc import Hashable, Iterator
from importlib.resources import files as package_files
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, Field, model_validator

from comit_ray.config.config_base import Config
from comit_ray.data.sources.source_files import IMAGES
from comit_ray.data.sources.table.table_cells import Column, Exclusion, Pattern, Template, template_columns
from comit_ray.data.sources.table.table_parts import Day, Findings, Label, Mask, Number, Sex, Valued
from comit_ray.errors import ConfigError, StorageError
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import Split, View

COVIDX_COLUMNS = ("patientid", "filename", "label", "source")
"""Columns of the format `covidx`, which has no header; a line may lack the source, which is then blank."""

_SHIPPED = package_files("comit_ray.data.sources.table") / "mappings"


class MappedTable(Config):
    """One list of the source."""

    name: Pattern
    """Regular expression that fits the file's name below any folders; `.gz` may follow."""
    split: Split | None = None
    """Split that the source itself assigns to the rows."""
    optional: bool = False
    """Whether the list may be absent; at least one list must be present."""
    image: tuple[Template, ...] = ()
    """Places of this list's images, tried before the mapping's `image.at`."""


class Image(Config):
    """The place of an image."""

    at: tuple[Template, ...] = ()
    """Names relative to the table's folder; the first that exists counts."""
    anywhere: Template | None = None
    """Name of a file in any folder, for images that lie at none of these places."""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if not (self.at or self.anywhere):
            raise ValueError("expected `at` or `anywhere`")
        return self


class Labels(Config):
    """The labels of `comit_ray.tables.manifest_schema.MANIFEST`; unknown if the mapping sets nothing."""

    unhealthy: Label = Label(constant=None)
    covid: Label = Label(constant=None)
    other: Label = Label(constant=None)


class Mapping(Config):
    """A whole mapping; the top of this module shows one."""

    tables: Annotated[tuple[MappedTable, ...], Field(min_length=1)]
    format: Literal["csv", "tsv", "covidx"] = "csv"
    encoding: str = "utf-8-sig"
    rows_per_image: Literal["one", "many"] = "one"
    """one: a repeated image is an error, and memory does not grow with the table; many: rows are joined in memory."""
    disagreement: Literal["refuse", "any_positive"] = "refuse"
    """Result for joined rows with different labels: an error, or 1 if any row says 1 and 0 if all say 0."""
    image: Image
    images: Pattern = IMAGES
    """Regular expression for whole names of images; images that no table names become rows without labels."""
    optional_columns: tuple[Column, ...] = ()
    """Columns that may be absent."""
    patient: Template | None = None
    study: Template | None = None
    site: Template | None = None
    view: Valued[View] = Valued[View](constant=View.UNKNOWN)
    excluded: tuple[Valued[Exclusion], ...] = ()
    """Reasons to exclude the image; the first row value that is a reason counts."""
    sex: Sex | None = None
    age: Number | None = None
    acquired_on: Day | None = None
    illness_day: Number | None = None
    findings: Findings | None = None
    labels: Labels = Labels()
    lung_mask: Mask | None = None
    disease_mask: Mask | None = None

    def columns(self) -> list[str]:
        """Returns every named column once, in the order of the mapping."""
        return list(dict.fromkeys(self._columns()))

    def _columns(self) -> Iterator[str]:
        templates = [template for table in self.tables for template in table.image]
        templates += self.image.at
        templates += (text for text in (self.image.anywhere, self.patient, self.study, self.site) if text is not None)
        for template in templates:
            yield from template_columns(template)
        labels = (self.labels.unhealthy, self.labels.covid, self.labels.other)
        valued: tuple[Valued[Any], ...] = (self.view, *self.excluded, *labels)
        for value in valued:
            yield from value.columns()
        singles: tuple[Sex | Number | Day | None, ...] = (self.sex, self.age, self.acquired_on, self.illness_day)
        yield from (single.column for single in singles if single is not None)
        if self.findings is not None:
            yield from (self.findings.column,) if self.findings.column is not None else self.findings.columns
        for mask in (self.lung_mask, self.disease_mask):
            if mask is not None:
                yield from mask.columns()

    @model_validator(mode="after")
    def _known_columns(self) -> Self:
        named = self.columns()
        if unused := [name for name in self.optional_columns if name not in named]:
            raise ValueError(f"optional_columns that nothing is read from: {', '.join(unused)}")
        unknown = [name for name in named if name not in COVIDX_COLUMNS]
        if self.format == "covidx" and unknown:
            raise ValueError(f"the format covidx has columns {', '.join(COVIDX_COLUMNS)}, got {', '.join(unknown)}")
        return self

    @classmethod
    def keys_at(cls, location: tuple[int | str, ...]) -> list[str]:
        """Returns the known keys at a place, as the base class does, also inside optional parts and lists."""
        models: list[type[BaseModel]] = [cls]
        for key in location:
            fields = [model.model_fields[str(key)].annotation for model in models if str(key) in model.model_fields]
            models = [model for annotation in fields for model in _models_in(annotation)] or models
        return list(models[0].model_fields) if len(models) == 1 else []


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def shipped() -> list[str]:
    """Returns the names of the mappings that come with the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _SHIPPED.iterdir() if entry.name.endswith(".yaml"))


def load(mapping: str | None) -> Mapping:
    """Returns the mapping of a package's name, or of the YAML at a URI.

    Raises:
        ConfigError: if there is none, or it is not a mapping; for an unknown name the message lists the known names.
    """
    known = ", ".join(shipped())
    if mapping is None:
        raise ConfigError(f"the source table needs --table.mapping: the URI of a YAML, or one of {known}")
    if mapping in shipped():
        return parse((_SHIPPED / f"{mapping}.yaml").read_bytes(), origin=mapping)
    if "/" not in mapping and not mapping.lower().endswith((".yaml", ".yml")):
        raise ConfigError(f"unknown mapping {mapping!r}; known: {known}; or the URI of a YAML")
    try:
        text = storage.read_bytes(mapping)
    except StorageError as error:
        raise ConfigError(f"cannot read the mapping {mapping}: {error}; known by name: {known}") from error
    return parse(text, origin=mapping)


def parse(text: bytes, *, origin: str) -> Mapping:
    """Parses the mapping in a YAML file.

    Raises:
        ConfigError: if it is not YAML, or not a mapping; the message names `origin` and what is wrong.
    """
    try:
        values = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{origin}: expected YAML, got: {' '.join(str(error).split())}") from error
    return Mapping.parse(values, origin=origin)


class _UniqueKeys(yaml.SafeLoader):
    """A YAML loader for which a repeated key is an error instead of replacing the first value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for number, key in enumerate(keys) if key in keys[:number]]
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice[0]!r} twice", node.start_mark)
        return super().construct_mapping(node, deep)
