"""The command `comit-ray JOB ...`, also `python jobs/JOB.py ...`: reads options, runs the job, prints short errors.

Exit status: 0 done; 1 the job failed or its accounts do not balance; 2 wrong arguments or configuration; 130 Ctrl-C;
143 SIGTERM.
"""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from comit_ray.chunks import stopping
from comit_ray.command import help as help_text
from comit_ray.command import jobs, options
from comit_ray.config import config_words
from comit_ray.config.config_base import Config
from comit_ray.errors import ComitError, ConfigError

C = TypeVar("C", bound=Config)

COMMAND = "comit-ray"
STOPPED = 130
"""Exit status after Ctrl-C: 128 plus the number of the signal, as in shells."""


def parse(config: type[C], description: str, argv: Sequence[str] | None = None, prog: str | None = None) -> C:
    """Read the job's configuration from `argv` (default: `sys.argv`).

    If it is wrong, the process prints one line and exits with status 2.
    """
    prog = prog or os.path.basename(sys.argv[0])
    try:
        given = options.read(config, sys.argv[1:] if argv is None else argv)
        if given.help:
            print(help_text.of_job(prog, description, config), end="")
            raise SystemExit(0)
        if given.show:
            print(_resolved(config, given), end="")
            raise SystemExit(0)
        return _checked(config, given)
    except ConfigError as error:
        print(f"{prog}: error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def _checked(config: type[C], given: options.Given) -> C:
    try:
        return config.model_validate(given.values)
    except ValidationError as error:
        found = list(config_words.problems(config, error, config.keys_at))
        lacking = [f"--{key}" for key, text in found if text == config_words.NEEDED]
        wrong = [f"{_named(key, given)}{text}" for key, text in found if text != config_words.NEEDED]
        if lacking and not wrong:
            if config.one_of and not any(given.values.get(name) for name in config.one_of):
                lacking.insert(0, " or ".join(f"--{name}" for name in config.one_of))
            wrong = [
                f"{', '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} needed; --help explains every option"
            ]
        raise ConfigError("; ".join(wrong)) from None


def _named(key: str, given: options.Given) -> str:
    """Name an option as the user knows it: with dashes on the command line, or with the name of its file."""
    if not key:
        return ""
    files = {file for option, file in given.origins.items() if option == key or option.startswith(f"{key}.")}
    return f"{key} in {' and '.join(sorted(files))}: " if files else f"--{key}: "


def _resolved(config: type[Config], given: options.Given) -> str:
    """Return all options as YAML that `--config` takes. A needed option that was not given is null.

    Raises:
        ConfigError: a value is wrong.
    """
    try:
        values = config.model_validate(given.values).model_dump(mode="json")
    except ValidationError as error:
        if any(item["type"] != "missing" for item in error.errors()):
            _checked(config, given)
        values = _over(_defaults(config), given.values)
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def _defaults(config: type[BaseModel]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, one in config.model_fields.items():
        value = None if one.is_required() else one.get_default(call_default_factory=True)
        found[name] = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    nested = {key for key in above if isinstance(above[key], dict) and isinstance(below.get(key), dict)}
    return below | {key: _over(below[key], value) if key in nested else value for key, value in above.items()}


def run(
    job: Callable[[C], int],
    config: type[C],
    description: str,
    argv: Sequence[str] | None = None,
    prog: str | None = None,
    after_stop: str = jobs.AGAIN,
) -> NoReturn:
    """Parse the options, run `job` and exit with its status.

    A `ComitError` or a signal is printed as one line without a traceback.
    """
    prog = prog or os.path.basename(sys.argv[0])
    chosen = parse(config, description, argv, prog)
    with stopping.watched(f"Stopped. {after_stop}") as watch:
        try:
            status = job(chosen)
        except ConfigError as error:
            print(f"{prog}: error: {error}", file=sys.stderr)
            status = 2
        except ComitError as error:
            cause = _of_the_task(error)
            print(f"{prog}: {type(cause).__name__}: {cause}", file=sys.stderr)
            status = 1
        except KeyboardInterrupt as error:
            watch.tell()
            status = error.status if isinstance(error, stopping.Stopped) else STOPPED
    sys.exit(status)


def _of_the_task(error: ComitError) -> BaseException:
    """Return the error that a Ray task raised, without Ray's many lines around it; return other errors as they are."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, ComitError) else error


def run_job(function: Callable[[Any], int], argv: Sequence[str] | None = None, prog: str | None = None) -> NoReturn:
    """Run a job of `comit_ray.command.jobs`."""
    job = jobs.of(function)
    run(job.work, job.config, job.description, argv, prog, job.after_stop)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command `comit-ray`. Its first word is the job."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in options.HELP:
        print(help_text.of_all(COMMAND, ((name, job.line) for name, job in jobs.JOBS.items())), end="")
        sys.exit(0 if words else 2)
    name = words[0]
    if name not in jobs.JOBS:
        near = config_words.did_you_mean(name, list(jobs.JOBS))
        print(f"{COMMAND}: error: no job {name!r}{near}; the jobs are: {', '.join(jobs.JOBS)}", file=sys.stderr)
        sys.exit(2)
    run_job(jobs.JOBS[name].work, words[1:], f"{COMMAND} {name}")


if __name__ == "__main__":
    main()
