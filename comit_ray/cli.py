"""A job's command line: `--config FILE.yaml`, dotted overrides, `--help`, `--print_config`; errors as one line.

Exit status: 0 done, 1 the job failed or its accounts do not balance, 2 bad arguments or configuration.
"""

import difflib
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import jsonargparse
from pydantic import ValidationError

from comit_ray.config.config_base import Config
from comit_ray.errors import ComitError, ConfigError

C = TypeVar("C", bound=Config)


class _Parser(jsonargparse.ArgumentParser):
    """An argument parser whose errors are one line that a person can act on."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        known = [action.dest for action in self._actions if action.dest not in ("help", "config", "print_config")]
        text = _one_line(message, known)
        print(f"{self.prog}: error: {text}", file=sys.stderr)
        raise SystemExit(2)


def _one_line(message: str, known: list[str]) -> str:
    """The parser's message without pydantic's line breaks and links, and with the valid keys where one is unknown."""
    text = re.sub(r"\s*For further information visit \S+", "", message)
    text = re.sub(r"\d+ validation errors? for [\w-]+\s*", "", text)
    text = re.sub(r"\s*\[type=[^\]]*\]", "", text)
    text = re.sub(r'^Parser key "([^"]+)":', r"\1:", text)
    text = re.sub(r"\.?\s*G(?:ot|iven) value:", "; got", text)
    text = " ".join(text.split())
    # Of a value that may have several types: why each does not fit is enough.
    text = re.sub(r"Does not validate against any of the Union subtypes Subtypes: .*? Errors: - ", "", text)
    text = re.sub(r" (?:Given value type: <class '\w+'>)", "", text).replace("Expected a <class 'tuple'>", "or a list")
    unknown = re.search(r"unrecognized arguments: --([\w.]+)", text) or re.search(
        r"(?:Group|Key|Parser)[^']*'(?P<group>[\w.]+)' does not accept option '(?P<key>[\w.]+)'", text
    )
    if unknown:
        key = unknown[1] if unknown.lastindex == 1 else f"{unknown['group']}.{unknown['key']}"
        group = key.rpartition(".")[0]
        siblings = [name for name in known if name.rpartition(".")[0] == group] or known
        close = difflib.get_close_matches(key, known, n=1)
        guess = f" (did you mean {close[0]}?)" if close else ""
        return f"unknown option {key}{guess}; valid ones: {', '.join(sorted(siblings))}"
    return text


def build_parser(config: type[C], description: str, prog: str | None = None) -> jsonargparse.ArgumentParser:
    """The parser of one job, made from its configuration class."""
    parser = _Parser(prog=prog, description=description, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file of options; later options override earlier ones.")
    parser.add_class_arguments(config, None, fail_untyped=True)
    return parser


def parse(config: type[C], description: str, argv: Sequence[str] | None = None, prog: str | None = None) -> C:
    """The job's configuration from `argv` (default: `sys.argv`); exits with status 2 and one line if it is wrong."""
    parser = build_parser(config, description, prog)
    values = parser.parse_args(list(argv) if argv is not None else None)
    fields: dict[str, Any] = values.as_dict()
    fields.pop("config", None)
    try:
        return config.parse(fields, origin="wrong options")
    except (ConfigError, ValidationError) as error:
        parser.error(str(error))


def run(job: Callable[[C], int], config: type[C], description: str) -> NoReturn:
    """Parse, run `job` and exit with its status; a `ComitError` is one line, without a traceback."""
    options = parse(config, description)
    try:
        status = job(options)
    except ConfigError as error:
        print(f"{os.path.basename(sys.argv[0])}: error: {error}", file=sys.stderr)
        sys.exit(2)
    except ComitError as error:
        print(f"{os.path.basename(sys.argv[0])}: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
    sys.exit(status)
