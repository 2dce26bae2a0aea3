"""Assigns images to readers by hash, from a YAML of readers, so that every server assigns alike.

An image goes to the reader whose hash with it is highest (rendezvous hashing: a reader who joins moves no image between
the others). A share is read by a second one too, and where the two differ one adjudicator decides, who sees both. Who
has given a verdict keeps the image in that role, whoever joins later: nothing is read twice but what is meant to be.
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
"""Reader -> the verdict on one image that counts."""


class Person(Config):
    """One reader."""

    name: str
    """A pseudonym will do; it stands in the tables."""
    role: Literal["reader", "adjudicator"] = "reader"
    """An adjudicator reads what two readers judged differently, and nothing else."""

    @field_validator("name")
    @classmethod
    def _fit_for_a_file(cls, name: str) -> str:
        try:
            return check_reader(name)
        except ConfigError as error:
            raise ValueError(str(error)) from None


class Readers(Config):
    """The file of `--readers`."""

    readers: tuple[Person, ...]
    """Everybody who may be invited."""

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        names = [one.name for one in self.readers]
        if len(set(names)) != len(names):
            raise ValueError(f"readers: every name once, got {', '.join(names)}")
        if not any(one.role == "reader" for one in self.readers):
            raise ValueError("readers: at least one must have the role reader")
        return self

    def names(self, role: str) -> tuple[str, ...]:
        """Of those with this role."""
        return tuple(one.name for one in self.readers if one.role == role)


def read_file(uri: str) -> Readers:
    """The readers of a YAML.

    Raises:
        ConfigError: it is no such file.
        StorageError: it cannot be read.
    """
    try:
        values = yaml.safe_load(storage.read_bytes(uri))
    except yaml.YAMLError as error:
        raise ConfigError(f"{uri}: expected YAML, got {' '.join(str(error).split())}") from None
    return Readers.parse(values, origin=uri)


class Deal:
    """Which reader has which image, in which role.

    Args:
        readers: of `--readers`; None: whoever is invited reads everything.
        double: share of the images that get a second reader.
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
        """The reader's role for an image; None: it is not theirs.

        Args:
            reader: name.
            key: what is dealt as one: the patient, else the study, else the image.
            image_id: of the image.
            current: reader -> verdict of this image that counts, with its `role`, as far as there is one.
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
        """Who has the image in this role: who has read it so, else who is dealt it."""
        return max(names, key=lambda name: (name in current and current[name].get("role") == role, number(key, name)))

    def shown_to_adjudicator(self, reader: str, current: Rows) -> dict[str, Mapping[str, Any]]:
        """The two verdicts that an adjudicator decides between."""
        assert reader in self._adjudicators, f"{reader} is no adjudicator: others' verdicts are not theirs to see"
        return {name: row for name, row in current.items() if name in self._readers}

    @staticmethod
    def _differ(two: list[str], current: Rows) -> bool:
        return all(name in current for name in two) and differ(current[two[0]], current[two[1]])


def differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two verdicts need a third: another judgement, or another category where both gave one."""
    if one["verdict"] != other["verdict"]:
        return True
    categories = (one["category"], other["category"])
    return None not in categories and categories[0] != categories[1]


def number(*parts: str) -> float:
    """A number in 0..1 that depends on these texts alone."""
    return int(hashlib.sha256("\0".join(parts).encode()).hexdigest()[:13], 16) / 16**13
