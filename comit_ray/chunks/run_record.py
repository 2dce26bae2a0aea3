"""`run.json`: records the settings of a run before its first result; an output refuses a run with other settings.

The record also lists every process that worked on the run: who started it, where, and with which code.
"""

import getpass
import hashlib
import json
import os
import platform
import socket
import subprocess
import time
import tomllib
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from comit_ray.errors import ConfigError, NotFoundError, StorageError
from comit_ray.storage import storage

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "comit-ray"
PACKAGES = ("ray", "torch", "torchvision", "openvino", "pyarrow", "pydicom")
USER = "COMIT_USER"
"""Environment variable with the user's name, for places where the account of the process says nothing (in a container:
ray)."""
_SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray sets it in the driver of a submitted job


def of_this_process(settings: dict[str, Any]) -> dict[str, Any]:
    """Describes this process, as one entry of a run's record.

    Args:
        settings: the job's configuration, resolved.

    Returns:
        `at` (UTC), `user`, `host`, `job` (for a submitted job: its id and its metadata), `code` (`version`, `commit` if
        the code lies in a git checkout, `sources`: a hash of the package's files, which is the same wherever the
        same code runs), `packages` (their versions), `settings`.
    """
    return {
        "at": _now(),
        "user": _user(),
        "host": socket.gethostname(),
        "job": _submitted(),
        "code": {"version": package_version(PROJECT), "commit": _commit(), "sources": sources_hash()},
        "packages": {"python": platform.python_version()} | {name: package_version(name) for name in PACKAGES},
        "settings": settings,
    }


def submitted() -> bool:
    """Whether this process is the driver of a job that was submitted to a cluster."""
    return _SUBMITTED in os.environ


def package_version(name: str) -> str | None:
    """Returns the version of an installed package, or of this project's checkout.

    For this project, the pyproject.toml of the checkout comes first: the installed package may come from another
    checkout than the code that runs.

    Args:
        name: name of the package, as `pip` knows it.

    Returns:
        None if the package is not installed, or this project's code came without its metadata.
    """
    if name == PROJECT and (stated := _checkout_version()) is not None:
        return stated
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def sources_hash() -> str:
    """Returns the first 16 hex digits of the SHA-256 of the package's Python files, in the order of their paths."""
    digest = hashlib.sha256()
    for path in sorted(ROOT.rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _user() -> str | None:
    try:
        return os.environ.get(USER) or getpass.getuser()
    except (KeyError, OSError):  # in a container, the user id may have no name
        return None


def _submitted() -> dict[str, str]:
    """Returns the metadata of a submitted job, with its `job_submission_id`; empty for other jobs."""
    try:
        found = json.loads(os.environ.get(_SUBMITTED, "{}")).get("metadata")
    except (ValueError, AttributeError):
        return {}
    return dict(found) if isinstance(found, dict) else {}


def _checkout_version() -> str | None:
    """Returns the version in the pyproject.toml beside the package; None if there is none of this project."""
    try:
        project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text()).get("project", {})
    except (OSError, ValueError):  # a wheel, or code that was submitted with a job
        return None
    return project.get("version") if project.get("name") == PROJECT else None


def _commit() -> str | None:
    """Returns the commit of the checkout, with "+changes" if files of the package differ; None outside a checkout."""
    if not (ROOT.parent / ".git").exists():
        return None
    try:
        commit = _git("rev-parse", "HEAD")
        return f"{commit}+changes" if _git("status", "--porcelain", "--", str(ROOT)) else commit
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT.parent), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)  # noqa: S603  # no input
    return done.stdout.strip()


FILE = "run.json"
VISIBLE_S = (0.1, 0.5, 2.0, 5.0)
"""Seconds to wait between attempts to read a file that was just written."""


def open_run(output: str, question: dict[str, Any], settings: dict[str, Any], main: str) -> str:
    """Starts the run in `output`, or continues one with the same run settings, and returns its id.

    Args:
        output: URI of the results directory.
        question: the settings that decide the results.
        settings: all other settings, for the record.
        main: name of the output's main table.

    Raises:
        ConfigError: the directory belongs to other run settings; the message says which of them differ.
        StorageError: its record cannot be read.
    """
    question = json.loads(json.dumps(question))  # the form in which it will be read back
    try:
        record = read(output)
    except NotFoundError:
        # If two processes find no record at once, the storage lets one create it; the other is compared with that one.
        if storage.exists(storage.join(output, main)):
            raise ConfigError(
                f"{output} holds {main} but no {FILE}, so the settings of these results are not known: "
                "choose another --output, or remove that directory"
            ) from None
        run_id = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        mine = {"run_id": run_id, "started_at": _now(), "question": question, "settings": settings}
        storage.create(storage.join(output, FILE), json.dumps(mine, indent=2).encode())
        record = _visible(output)
    asked = record["question"]
    # Older versions did not record newer settings, so absent, false and empty values count as equal.
    differing = sorted(key for key in {*asked, *question} if (asked.get(key) or None) != (question.get(key) or None))
    if differing:
        changes = "; ".join(f"{key} was {asked.get(key)!r}, now {question.get(key)!r}" for key in differing)
        raise ConfigError(f"{output} was made with other settings ({changes}): choose another --output")
    return str(record["run_id"])


def sign(output: str, settings: dict[str, Any], begins: bool = False) -> None:
    """Adds this process to the record's `processes`: who works on the run, with which code and configuration.

    If two processes sign at the same moment, one entry may be lost.

    Args:
        output: URI of a directory with a record.
        settings: the job's configuration, resolved.
        begins: whether this call may create the record, with these settings. Only a training does so: its run settings
            are stored in other files. No other record is ever created without run settings.

    Raises:
        StorageError: the record cannot be read or written, or it does not exist and may not be created here.
    """
    uri = storage.join(output, FILE)
    try:
        record = json.loads(storage.read_bytes(uri) if begins else _patient_bytes(uri))
        earlier = [*record.get("processes", [])]
    except NotFoundError:
        if not begins:
            raise StorageError(
                f"expected the record of this run at {uri}, but it has disappeared; was the output removed? Run the "
                "same command again"
            ) from None
        record, earlier = {"settings": settings}, []
    except (ValueError, AttributeError, TypeError) as error:
        raise StorageError(f"{uri} is not the {FILE} of a run: {error!r}") from error
    processes = [*earlier, of_this_process(settings)]
    storage.write_bytes(uri, json.dumps(record | {"processes": processes}, indent=2).encode())


def grow(output: str, manifest: str, chunks: int, images: int) -> None:
    """Records that the manifest of the run has grown, and when; the run settings now apply to more images.

    Args:
        output: URI of a directory with a record.
        manifest: fingerprint of the grown manifest.
        chunks: number of chunks that it has now.
        images: number of images that it has now.

    Raises:
        StorageError: the record cannot be read or written.
    """
    record = read(output)
    before = record["question"]["manifest"]
    grown = [*record.get("grown", []), {"at": _now(), "before": before, "chunks": chunks, "images": images}]
    record["question"]["manifest"] = manifest
    storage.write_bytes(storage.join(output, FILE), json.dumps(record | {"grown": grown}, indent=2).encode())


def finish(output: str, images: int, seconds: float) -> None:
    """Records when the run ended and how fast it was, in the record and in the entry of the last process that signed.

    Args:
        output: URI of a directory with a record.
        images: number of images that this process finished. 0 means that nothing was left to do: a record that already
            has an end then stays unchanged.
        seconds: time that they took, start-up included.

    Raises:
        StorageError: the record cannot be read or written.
    """
    record = read(output)
    if not images and "ended_at" in record:
        return
    rate = round(images / seconds, 3) if images and seconds > 0 else None
    done = {"ended_at": _now(), "images": images, "seconds": round(seconds, 3), "images_per_second": rate}
    processes = [*record.get("processes", [])]
    if processes and images:
        processes[-1] = processes[-1] | done
    record |= done | ({"processes": processes} if processes else {})
    storage.write_bytes(storage.join(output, FILE), json.dumps(record, indent=2).encode())


def _now() -> str:
    """Returns the time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read(output: str) -> dict[str, Any]:
    """Reads the record of the run in `output`.

    It holds `run_id`, `started_at`, `question` (the settings that decide the results), `settings` and `processes`.
    After the end of a run it also holds `ended_at` and, for the process that ended last, `images`, `seconds` and
    `images_per_second`.

    Raises:
        NotFoundError: there is no record.
        StorageError: the file is not the record of a run.
    """
    uri = storage.join(output, FILE)
    text = storage.read_bytes(uri)
    try:
        record = json.loads(text)
        if not isinstance(record["question"], dict) or not isinstance(record["run_id"], str):
            raise TypeError("question and run_id")
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{uri} is not the {FILE} of a run: {error!r}") from error
    return dict(record)


def _visible(output: str) -> dict[str, Any]:
    """Reads a record that this or another process has just created."""
    _patient_bytes(storage.join(output, FILE))
    return read(output)


def _patient_bytes(uri: str) -> bytes:
    """Reads a file that is known to exist, also where the storage shows new files late.

    Raises:
        NotFoundError: the file is still not visible after the last attempt.
    """
    for seconds in VISIBLE_S:
        try:
            return storage.read_bytes(uri)
        except NotFoundError:
            time.sleep(seconds)
    return storage.read_bytes(uri)


if __name__ == "__main__":
    print(sources_hash())
