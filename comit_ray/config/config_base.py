"""The base class of all options, which refuses unknown keys, and common ranges of values."""

import hashlib
import json
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comit_ray.config import config_words
from comit_ray.errors import ConfigError

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
AboveZero = Annotated[float, Field(gt=0, le=1)]
"""A specificity or sensitivity that a user asks for."""
Backend = Literal["torch", "torch-fused", "openvino", "auto"]
"""What computes the network (`comit_ray.inference`)."""
Precision = Literal["float32", "bfloat16", "int8"]
"""Arithmetic of the network."""

SENSITIVITIES = (0.90, 0.95)
"""Sensitivities at which a report gives a specificity; the reverse is `comit_ray.tables.vocabulary.SPECIFICITIES`."""


EVERY_SOURCE = "_every_source"
"""End of the name of an operating point that every source reaches by itself."""


def operating_point_name(specificity: float) -> str:
    """Return the name of an operating point: `specificity_0.90`, `specificity_0.995`. It has at least two decimals."""
    whole, _, decimals = f"{Decimal(str(specificity)):f}".partition(".")
    return f"specificity_{whole}.{decimals.ljust(2, '0')}"


class Advanced:
    """Marks an option, or a group of options, that most people never need. `--help` shows it after the others."""


ADVANCED = Advanced()
"""The mark, used in a field's annotation: `seed: Annotated[int, ADVANCED] = 0`."""


class Config(BaseModel):
    """Base of all options. Its objects are immutable, and an unknown key is an error."""

    # An option that is refused may hold a password.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)
    one_of: ClassVar[tuple[str, ...]] = ()
    """Names of options of which exactly one is needed, the most common one first; empty: there are none."""

    def digest(self) -> str:
        """Return 12 hex digits that name the configuration in tables and checkpoints. They change with any value."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def flat(self) -> dict[str, Any]:
        """Return every option by its dotted name, with a value that JSON can hold: `train.lr` -> 5e-05."""
        return _flat(self.model_dump(mode="json"))

    @classmethod
    def parse(cls, values: Any, *, origin: str) -> Self:
        """Turn values, for instance of a file, into this configuration.

        Args:
            values: a mapping of options.
            origin: name of the file or place for the error message.

        Raises:
            ConfigError: one line with `origin`, each wrong key and, for an unknown key, the valid ones.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            told = [
                f"{key or 'these options together'}: {text}"
                for key, text in config_words.problems(cls, error, cls.keys_at)
            ]
            raise ConfigError(f"{origin}: {'; '.join(told)}") from None

    @classmethod
    def keys_at(cls, location: tuple[int | str, ...]) -> list[str]:
        """Return the keys of the options that lie at `location`; empty if none do."""
        model: type[BaseModel] = cls
        for key in location:
            field = model.model_fields.get(str(key))
            inner = field.annotation if field else None
            if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
                return []
            model = inner
        return list(model.model_fields)


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
