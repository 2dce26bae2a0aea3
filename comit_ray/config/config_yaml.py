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
"""Former folder of the shipped files. Paths of older scripts that name it are still found."""


def names(directory: Path = SHIPPED) -> list[str]:
    """Return the names of the shipped files in a directory, without their suffix."""
    return sorted(path.stem for path in directory.glob("*.yaml"))


def names_for(options: Iterable[str]) -> list[str]:
    """Return the names of the shipped files that a job can take, because the job knows all their options."""
    known = set(options)
    return [name for name in names() if _keys((SHIPPED / f"{name}.yaml").read_text()) <= known]


def _keys(text: str) -> set[str]:
    """Return the top keys of a shipped file. A search is much faster here than parsing the YAML."""
    return set(re.findall(r"^(\w+):", text, re.MULTILINE))


def find(name: str, shipped: Path = SHIPPED, beside: Path | None = None) -> Path:
    """Find the file of a name: the shipped one for `comit_net`, a user's own for a path or a name with a suffix.

    Args:
        name: name as given on the command line or in a study.
        shipped: directory of the shipped files of this kind.
        beside: directory for relative paths; None: the working directory.

    Raises:
        ConfigError: there is no such file; the message lists the shipped names, and the nearest one.
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
        f"the name of a shipped one: {', '.join(known)}"
    )


def _moved(own: Path) -> Path | None:
    """Return the shipped file for a path of the old folder; None if the path does not name one."""
    place = own.parent.parts
    for directory, parts in ((SHIPPED, _OLD_PLACE), (STUDIES, (*_OLD_PLACE, STUDIES.name))):
        if place[-len(parts) :] == parts and (directory / own.name).is_file():
            return directory / own.name
    return None


def read(path: Path) -> dict[str, Any]:
    """Read the options of a file.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or holds no options. The message names the file and the line.
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
    """Parse a YAML text.

    Raises:
        ConfigError: the text is not YAML, or has a key twice. The message names `origin` and the line.
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
    """A key stands twice. Without this error, YAML would silently keep the later value."""


class _Options(yaml.SafeLoader):
    """YAML in which no mapping has a key twice, and in which 1e-3 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise _KeyTwiceError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
            seen.append(key)
        return dict(super().construct_mapping(node, deep))


# YAML 1.1 takes 1.0e-3 for a number but 5e-5, which people write, for text.
_Options.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
