"""The base class of all options: unknown keys are errors; common ranges and default specificities stand here."""

import hashlib
import json
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comit_ray.config import config_words
from comit_ray.errors import ConfigError

Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
AboveZero = Annotated[float, Field(gt=0, le=1)]
"""A specificity or sensitivity that is asked for."""

SPECIFICITY = 0.90
"""The specificity that is meant where one alone is: of the default operating point, of curves, of comparisons."""
SPECIFICITIES = (SPECIFICITY, 0.99)
"""At which sensitivity is given and operating points are chosen unless a job is told otherwise; the paper's two."""
SENSITIVITIES = (0.90, 0.95)
"""At which specificity is given unless a job is told otherwise."""


EVERY_SOURCE = "_every_source"
"""Last words of the name of an operating point that was chosen for the worst source."""


def operating_point_name(specificity: float) -> str:
    """`specificity_0.90`, `specificity_0.995`: two decimals or more, never rounded."""
    whole, _, decimals = f"{Decimal(str(specificity)):f}".partition(".")
    return f"specificity_{whole}.{decimals.ljust(2, '0')}"


class Advanced:
    """Marks an option, or a group of them, that most people never need: `--help` shows it after the others."""


ADVANCED = Advanced()
"""In a field's annotation: `seed: Annotated[int, ADVANCED] = 0`."""


class Config(BaseModel):
    """Base of all options: immutable, and a key it does not know is an error."""

    # An option that is refused may hold a password.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)
    one_of: ClassVar[tuple[str, ...]] = ()
    """Options of which one is needed, the one most people give first; none: there are no such options."""

    def digest(self) -> str:
        """12 hex digits that change with any value: names the configuration in tables and checkpoints."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def flat(self) -> dict[str, Any]:
        """Every option under its dotted name, with a value that JSON can hold: `train.lr` -> 5e-05."""
        return _flat(self.model_dump(mode="json"))

    @classmethod
    def parse(cls, values: Any, *, origin: str) -> Self:
        """`values` (from a file, say) as this configuration.

        Raises:
            ConfigError: one line that names `origin`, each wrong key and, for an unknown key, the valid ones.
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
        """Keys of the model that lies at `location`; empty where no model does."""
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
