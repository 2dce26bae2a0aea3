"""Reads YAML files of options: shipped ones (`config_files/`) by name, others by path, with clear errors."""

import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from comit_ray.config import config_words
from comit_ray.errors import ConfigError

SHIPPED = Path(str(files("comit_ray"))) / "config_files"
STUDIES = SHIPPED / "studies"
_OLD_PLACE = ("jobs", "configs")
"""Where the shipped files lay before they were part of the package: a path of somebody's script still finds them."""


def names(directory: Path = SHIPPED) -> list[str]:
    """The names of the shipped files of a directory, without their suffix."""
    return sorted(path.stem for path in directory.glob("*.yaml"))


def names_for(options: Iterable[str]) -> list[str]:
    """The names of the shipped files whose options are all of these: those that a job can take."""
    known = set(options)
    return [name for name in names() if _keys((SHIPPED / f"{name}.yaml").read_text()) <= known]


def _keys(text: str) -> set[str]:
    """Keys at the top of a shipped file, without the cost of reading YAML."""
    return set(re.findall(r"^(\w+):", text, re.MULTILINE))


def find(name: str, shipped: Path = SHIPPED, beside: Path | None = None) -> Path:
    """The file of a name: the shipped one for `comit_net`, one's own for a path or a name with a suffix.

    Args:
        name: as given on the command line or in a study.
        shipped: where shipped files of this kind lie.
        beside: directory that a relative path starts from; None: the working directory.

    Raises:
        ConfigError: no such file; it lists the shipped names, and the nearest one.
    """
    own = (beside or Path()) / Path(name).expanduser()
    if "/" not in name and not own.suffix and (shipped / f"{name}.yaml").is_file():
        return shipped / f"{name}.yaml"
    if own.is_file():
        return own
    if own.is_dir():
        raise ConfigError(f"{name} is a directory: expected a YAML file of options")
    moved = _moved(own)
    if moved is not None:
        return moved
    known = names(shipped)
    raise ConfigError(
        f"there is no file {name}{config_words.did_you_mean(own.stem, known)}: expected the path of a YAML file, or "
        f"one of the shipped: {', '.join(known)}"
    )


def _moved(own: Path) -> Path | None:
    """The shipped file that a path of the old place meant; None where it meant none."""
    place = own.parent.parts
    for directory, parts in ((SHIPPED, _OLD_PLACE), (STUDIES, (*_OLD_PLACE, STUDIES.name))):
        if place[-len(parts) :] == parts and (directory / own.name).is_file():
            return directory / own.name
    return None


def read(path: Path) -> dict[str, Any]:
    """The options of a file.

    Raises:
        ConfigError: it cannot be read, is no YAML, or holds no options; it names the file and the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    values = parse(text, str(path))
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: expected options (key: value), got {config_words.shown(values)}")
    return dict(values)


def parse(text: str, origin: str) -> Any:
    """What a YAML text says.

    Raises:
        ConfigError: it is no YAML, or has a key twice; it names `origin` and the line.
    """
    try:
        return yaml.load(text, _Options)  # noqa: S506 a SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(_wrong(error, text, origin)) from None


def _wrong(error: yaml.YAMLError, text: str, origin: str) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = str(getattr(error, "problem", None) or " ".join(str(error).split()))
    where = f"{origin}, line {mark.line + 1}" if mark is not None and "\n" in text.rstrip("\n") else origin
    lines = text.split("\n")
    if mark is not None and mark.line < len(lines) and "\t" in lines[mark.line][: mark.column + 1]:
        return f"{where}: there is a tab; YAML is indented with spaces: write spaces in its place"
    if isinstance(error, _KeyTwiceError):
        return f"{where}: {problem}"
    return f"{where} is not YAML: {problem}"


class _KeyTwiceError(yaml.constructor.ConstructorError):
    """The later of two values of one key would replace the other without a word."""


class _Options(yaml.SafeLoader):
    """YAML whose mappings have no key twice, and in which 1e-3 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise _KeyTwiceError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
            seen.append(key)
        return dict(super().construct_mapping(node, deep))


# YAML 1.1 wants a point and a sign in it (1.0e-3); people write 5e-5.
_Options.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
