"""Prints `--help` in words: the purpose of a job, then its options, basic ones before advanced ones."""

import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from comit_ray.command import options
from comit_ray.config import config_words, config_yaml
from comit_ray.config.config_base import Advanced

INDENT = " " * 8


def of_job(prog: str, description: str, config: type[BaseModel]) -> str:
    """Return the whole help text of one job."""
    width = _width()
    basic, advanced = _groups(config)
    needed = [f"--{name} {_short(one)}" for name, one in basic if one.is_required()]
    either: tuple[str, ...] = getattr(config, "one_of", ())
    if either:
        needed.insert(0, " | ".join(f"--{name} {_short(config.model_fields[name])}" for name in either))
    lines = [f"usage: {prog} {' '.join([*needed, '[options]'])}", ""]
    for paragraph in description.strip().split("\n\n"):
        lines += [*textwrap.wrap(" ".join(paragraph.split()), width), ""]
    lines.append("Options:")
    lines += [line for name, one in basic for line in _option(name, one, width)]
    shipped = config_yaml.names_for(config.model_fields)
    lines += _entry(f"--{options.CONFIG}: file", _config_words(shipped), width)
    if advanced:
        lines += ["", "Advanced options:"]
        lines += [line for name, one in advanced for line in _option(name, one, width)]
    lines += _entry(options.PRINT, "Print all options with the values that they would have, and stop.", width)
    return "\n".join(lines) + "\n"


def of_all(prog: str, jobs: Iterable[tuple[str, str]]) -> str:
    """Return the help text of the command: every job with its line."""
    width, known = _width(), list(jobs)
    column = max(len(name) for name, _ in known) + 4
    lines = [f"usage: {prog} JOB [options]", "", "Screen archives of chest radiographs with COMiT-Net. The jobs:", ""]
    for name, text in known:
        lines += textwrap.wrap(text, width, initial_indent=f"  {name:<{column - 2}}", subsequent_indent=" " * column)
    lines += ["", f"`{prog} JOB --help` explains the options of a job."]
    return "\n".join(lines) + "\n"


def _width() -> int:
    return min(100, max(60, shutil.get_terminal_size((100, 24)).columns)) - 2


def _groups(config: type[BaseModel]) -> tuple[list[tuple[str, FieldInfo]], list[tuple[str, FieldInfo]]]:
    """Return basic and advanced options by their dotted names.

    Needed options come first, then single options, then groups of options, each in the order of the class.
    """
    basic: list[tuple[str, FieldInfo]] = []
    advanced: list[tuple[str, FieldInfo]] = []
    for name, one, is_advanced in _walk(config):
        (advanced if is_advanced else basic).append((name, one))
    basic.sort(key=lambda entry: (not entry[1].is_required(), "." in entry[0]))
    return basic, advanced


def _walk(config: type[BaseModel], prefix: str = "", within: bool = False) -> Iterator[tuple[str, FieldInfo, bool]]:
    for name, one in config.model_fields.items():
        is_advanced = within or any(isinstance(mark, Advanced) for mark in one.metadata)
        inner = options.model_of(one)
        if inner is not None:
            yield from _walk(inner, f"{prefix}{name}.", is_advanced)
        else:
            yield f"{prefix}{name}", one, is_advanced


def _short(one: FieldInfo) -> str:
    text = " ".join((one.description or "").split())
    return "URI" if re.search(r"\bURIs?\b", text.partition(".")[0]) else "TEXT"


def _option(name: str, one: FieldInfo, width: int) -> list[str]:
    default = "needed" if one.is_required() else f"default: {_default(one.get_default(call_default_factory=True))}"
    return _entry(f"--{name}: {config_words.describe_field(one)} ({default})", one.description or "", width)


def _default(value: Any) -> str:
    return config_words.shown(value) if value != () else "none"


def _entry(head: str, text: str, width: int) -> list[str]:
    lines = textwrap.wrap(head, width, initial_indent="  ", subsequent_indent=INDENT, break_long_words=False)
    wrapped = textwrap.wrap(" ".join(text.split()), width, initial_indent=INDENT, subsequent_indent=INDENT)
    return [*lines, *wrapped]


def _config_words(shipped: list[str]) -> str:
    names = f", or the name of a shipped one: {', '.join(shipped)}" if shipped else ""
    return f"YAML file of options{names}. May be given several times; later options override earlier ones."
