"""Parses a command line into a configuration: `--config FILE`, dotted options, lists and mappings as in YAML.

This module does not check values: the configuration's class does. `origins` says where a wrong value came from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from comit_ray.config import config_words, config_yaml
from comit_ray.errors import ConfigError

CONFIG = "config"
HELP = ("-h", "--help")
PRINT = "--print_config"
_LONG_DASHES = ("\u2014", "\u2013", "\u2212")  # text processors put them in place of two short ones


@dataclass
class Given:
    """What a command line asks for.

    Attributes:
        values: the given options, nested as in the configuration.
        origins: dotted option -> the file that gave it last; absent for an option of the command line.
        help: whether the help text is wanted.
        show: whether the resolved options are to be printed.
    """

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    help: bool = False
    show: bool = False


def read(config: type[BaseModel], argv: Sequence[str]) -> Given:
    """Read the values of `argv`. If an option is given twice, the later one counts.

    Raises:
        ConfigError: an option is unknown or has no value, or a file holds no options.
    """
    given = Given()
    words = list(argv)
    while words:
        word = words.pop(0)
        if word in HELP:
            return Given(help=True)
        if word == PRINT:
            given.show = True
            continue
        name, equals, value = word.partition("=")
        if not name.startswith("--") or name == "--":
            raise ConfigError(_no_option(word, config))
        key = name.removeprefix("--")
        found = None if key == CONFIG else _locate(config, key)
        if not equals:
            if not words or words[0].startswith("--"):
                what = "a YAML file" if found is None else config_words.describe_field(found)
                raise ConfigError(f"{name} needs a value: {what}")
            value = words.pop(0)
        if found is None:
            _add_file(given, config, value)
        else:
            _add(given, config, key, found, value)
    return given


def keys(config: type[BaseModel], prefix: str = "") -> dict[str, FieldInfo]:
    """Return every single option by its dotted name; groups of options are not included."""
    found: dict[str, FieldInfo] = {}
    for name, one in config.model_fields.items():
        inner = model_of(one)
        found |= keys(inner, f"{prefix}{name}.") if inner else {f"{prefix}{name}": one}
    return found


def model_of(one: FieldInfo) -> type[BaseModel] | None:
    """Return the class of a group of options; None for a single option."""
    inner = one.annotation
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def unknown(key: str, config: type[BaseModel], dashes: str = "--", origin: str = "") -> str:
    """Say that there is no such option, with the nearest one and those of the same group."""
    known = list(keys(config))
    group = key.rpartition(".")[0]
    siblings = sorted(one for one in known if one.rpartition(".")[0] == group) or sorted(known)
    near = config_words.did_you_mean(key, known, dashes)
    where = f"{origin}: " if origin else ""
    return f"{where}unknown option {dashes}{key}{near}; valid ones: {', '.join(dashes + one for one in siblings)}"


def _no_option(word: str, config: type[BaseModel]) -> str:
    bare = word.lstrip("-" + "".join(_LONG_DASHES)).partition("=")[0]
    if word.startswith(_LONG_DASHES):
        return f"{word} begins with one long dash, which text processors insert: options begin with two short ones"
    near = config_words.did_you_mean(bare, list(keys(config)), "--")
    return f"{word} is not an option: options begin with two dashes{near}; put quotes around a value with spaces"


def _locate(config: type[BaseModel], key: str) -> FieldInfo:
    """Find the option of a dotted name: a single one, a whole group, or a mapping whose key is the rest of the name."""
    parts = key.split(".")
    model: type[BaseModel] | None = config
    for number, part in enumerate(parts):
        assert model is not None, "a group was found before its option"
        one = model.model_fields.get(part)
        if one is None:
            break
        model = model_of(one)
        if number == len(parts) - 1:
            return one
        if model is None:
            if config_words.takes(one.annotation, dict):
                return one
            break
    raise ConfigError(unknown(key, config))


def _add(given: Given, config: type[BaseModel], key: str, one: FieldInfo, text: str) -> None:
    path = _path(config, key)
    into = given.values
    for part in path[:-1]:
        into = into.setdefault(part, {})
    name, inner = path[-1], key.split(".")[len(path) :]
    _forget(given, key)
    if inner:  # adds one entry to a mapping
        value = _value(text, config_words.values_of(one.annotation) or Any)
        before = into.get(name, one.get_default(call_default_factory=True) or {})
        into[name] = {**(before if isinstance(before, Mapping) else {}), ".".join(inner): value}
        return
    value = _value(text, one.annotation)
    model = model_of(one)
    if model is not None and isinstance(value, Mapping):
        into[name] = _laid_over(into.get(name, {}), value, model)
    else:
        into[name] = value


def _path(config: type[BaseModel], key: str) -> list[str]:
    """Return the parts of a dotted name that name fields."""
    path: list[str] = []
    model: type[BaseModel] | None = config
    for part in key.split("."):
        if model is None or part not in model.model_fields:
            break
        path.append(part)
        model = model_of(model.model_fields[part])
    return path


def _forget(given: Given, key: str) -> None:
    """Forget that a file gave this option or a part of it, because a later value replaces it."""
    for known in [one for one in given.origins if one == key or one.startswith(f"{key}.")]:
        del given.origins[known]


def _value(text: str, annotation: Any) -> Any:
    """Turn a word of the command line into a value. The configuration's class turns text into numbers."""
    takes = config_words.takes
    if text in ("null", "~") and takes(annotation, None):
        return None
    if takes(annotation, Any):
        return config_yaml.parse(text, text)
    holds = takes(annotation, tuple, list, set, dict) or _is_model(annotation)
    if holds and text.lstrip()[:1] in ("[", "{"):
        return config_yaml.parse(text, text)
    if takes(annotation, tuple, list, set) and len([*_some(annotation)]) == 1:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _some(annotation: Any) -> list[Any]:
    """Return the alternatives other than null."""
    return [member for member in config_words.members(annotation) if member is not type(None)]


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _add_file(given: Given, config: type[BaseModel], name: str) -> None:
    path = config_yaml.find(name)
    values: dict[str, Any] = {}
    for key, value in config_yaml.read(path).items():  # both `train.epochs: 3` and `train: {epochs: 3}`
        for part in reversed(str(key).split(".")):
            value = {part: value}
        values = _laid_over(values, value, config)
    for key in _flat(values, config):
        if _path(config, key) != key.split("."):
            raise ConfigError(unknown(key, config, "", name))
        _forget(given, key)
        given.origins[key] = name
    given.values = _laid_over(given.values, values, config)


def _flat(values: Mapping[str, Any], config: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the dotted names of the options in a file. Keys inside an option that is a mapping are not options."""
    found: list[str] = []
    for key, value in values.items():
        one = config.model_fields.get(str(key))
        inner = model_of(one) if one else None
        if inner is not None and isinstance(value, Mapping):
            found += _flat(value, inner, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key}")
    return found


def _laid_over(below: Any, above: Mapping[str, Any], config: type[BaseModel]) -> dict[str, Any]:
    """Merge two sets of options; a value of `above` replaces that of `below`."""
    merged = dict(below) if isinstance(below, Mapping) else {}
    for key, value in above.items():
        one = config.model_fields.get(key)
        inner = model_of(one) if one else None
        merged[key] = _laid_over(merged.get(key, {}), value, inner) if inner and isinstance(value, Mapping) else value
    return merged
