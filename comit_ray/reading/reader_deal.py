"""Assigns images to readers by hash, from a YAML of readers, so that all servers assign alike.

An image goes to the reader whose hash with the image is highest (rendezvous hashing). If a reader joins, no image moves
between the other readers. A share of the images also gets a second reader. If the two differ, one adjudicator sees both
verdicts and decides. A reader who has judged an image keeps it in that role, whoever joins later. So nobody reads an
image in vain.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import yaml
from pydantic import field_validator, model_validator

from comit_ray.config.config_base import Config
from comit_ray.errors import ConfigError
from comit_ray.reading.store import check_reader
from comit_ray.storage import storage

Role = Literal["first", "second", "adjudicator"]
Rows = Mapping[str, Mapping[str, Any]]
"""Reader -> the reader's current verdict on one image."""


class Person(Config):
    """One reader of the file."""

    name: str
    """Name of the reader, as it stands in the tables. A pseudonym is enough."""
    role: Literal["reader", "adjudicator"] = "reader"
    """An adjudicator reads only images that two readers judged differently."""

    @field_validator("name")
    @classmethod
    def _fit_for_a_file(cls, name: str) -> str:
        try:
            return check_reader(name)
        except ConfigError as error:
            raise ValueError(str(error)) from None


class Readers(Config):
    """Content of the file of `--readers`."""

    readers: tuple[Person, ...]
    """Everybody who may be invited."""

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        names = [one.name for one in self.readers]
        if len(set(names)) != len(names):
            raise ValueError(f"readers: expected each name once, got {', '.join(names)}")
        if not any(one.role == "reader" for one in self.readers):
            raise ValueError("readers: at least one must have the role reader")
        return self

    def names(self, role: str) -> tuple[str, ...]:
        """Return the names of the readers with this role."""
        return tuple(one.name for one in self.readers if one.role == role)


def read_file(uri: str) -> Readers:
    """Read the readers from a YAML file.

    Raises:
        ConfigError: the file does not list readers in the expected form.
        StorageError: the file cannot be read.
    """
    try:
        values = yaml.safe_load(storage.read_bytes(uri))
    except yaml.YAMLError as error:
        raise ConfigError(f"{uri}: expected YAML, got {' '.join(str(error).split())}") from None
    return Readers.parse(values, origin=uri)


class Deal:
    """Decides which reader gets which image, in which role.

    Args:
        readers: content of `--readers`; None: everybody who is invited reads every image.
        double: share of the images that get a second reader, from 0 to 1.
    """

    def __init__(self, readers: Readers | None, double: float) -> None:
        self._readers = readers.names("reader") if readers else ()
        self._adjudicators = readers.names("adjudicator") if readers else ()
        self._everybody = readers is None
        self._double = double

    def knows(self, reader: str) -> bool:
        """Whether this reader takes part."""
        return self._everybody or reader in self._readers or reader in self._adjudicators

    def role(self, reader: str, key: str, image_id: str, current: Rows) -> Role | None:
        """Return the reader's role for an image, or None if the image is not assigned to this reader.

        Args:
            reader: name of the reader.
            key: what goes to one reader as a whole: the patient, or else the study, or else the image.
            image_id: id of the image.
            current: reader -> current verdict on this image, with its `role`; empty before the first verdict.
        """
        if self._everybody:
            return "first"
        first = self._holder("first", self._readers, key, current)
        if reader == first:
            return "first"
        others = [name for name in self._readers if name != first]
        if not others or number(image_id, "double") >= self._double:
            return None
        second = self._holder("second", others, key, current)
        if reader == second:
            return "second"
        if self._adjudicators and self._differ([first, second], current):
            return "adjudicator" if reader == self._holder("adjudicator", self._adjudicators, key, current) else None
        return None

    @staticmethod
    def _holder(role: Role, names: Sequence[str], key: str, current: Rows) -> str:
        """Return who has the image in this role: who judged it in this role, or else who it is assigned to."""
        return max(names, key=lambda name: (name in current and current[name].get("role") == role, number(key, name)))

    def shown_to_adjudicator(self, reader: str, current: Rows) -> dict[str, Mapping[str, Any]]:
        """Return the two verdicts between which an adjudicator decides."""
        assert reader in self._adjudicators, f"{reader} is not an adjudicator and must not see others' verdicts"
        return {name: row for name, row in current.items() if name in self._readers}

    @staticmethod
    def _differ(two: list[str], current: Rows) -> bool:
        return all(name in current for name in two) and differ(current[two[0]], current[two[1]])


def differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two verdicts need an adjudicator.

    They do if the judgements differ, or if both give a category and the categories differ.
    """
    if one["verdict"] != other["verdict"]:
        return True
    categories = (one["category"], other["category"])
    return None not in categories and categories[0] != categories[1]


def number(*parts: str) -> float:
    """Return a number in [0, 1) that depends only on these texts."""
    return int(hashlib.sha256("\0".join(parts).encode()).hexdigest()[:13], 16) / 16**13
