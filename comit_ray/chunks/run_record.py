"""`run.json`: records what a run was asked before it writes a result; an output refuses another run.

Who does this, where, and with which code: what a run's record keeps of every process that worked on it.
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
"""In the environment: who is to be named, where the account of the process says nothing (in a container: ray)."""
_SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray's, of the driver of a submitted job


def of_this_process(settings: dict[str, Any]) -> dict[str, Any]:
    """One entry for a run's record.

    Args:
        settings: the job's configuration, resolved.

    Returns:
        `at` (UTC), `user`, `host`, `job` (of a submitted job: its id and the metadata it was submitted with), `code`
        (`version`, `commit` where the code lies in a git checkout, `sources`: a hash of the package's files, which is
        the same wherever the same code runs), `packages` (their versions), `settings`.
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
    """Whether this is the driver of a job that was submitted to a cluster."""
    return _SUBMITTED in os.environ


def package_version(name: str) -> str | None:
    """The version of an installed package; of this project also from a checkout that was never installed.

    The checkout's own pyproject.toml comes first: what is installed may be another checkout than the code that runs.

    Args:
        name: as `pip` knows it.

    Returns:
        None where the package is not installed, or this project's code came without its metadata.
    """
    if name == PROJECT and (stated := _checkout_version()) is not None:
        return stated
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@cache
def sources_hash() -> str:
    """First 16 hex digits of the SHA-256 of the package's Python files, in the order of their paths."""
    digest = hashlib.sha256()
    for path in sorted(ROOT.rglob("*.py")):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _user() -> str | None:
    try:
        return os.environ.get(USER) or getpass.getuser()
    except (KeyError, OSError):  # a container whose user id has no name
        return None


def _submitted() -> dict[str, str]:
    """The metadata of a job that was submitted, `job_submission_id` among them; empty for one that was not."""
    try:
        found = json.loads(os.environ.get(_SUBMITTED, "{}")).get("metadata")
    except (ValueError, AttributeError):
        return {}
    return dict(found) if isinstance(found, dict) else {}


def _checkout_version() -> str | None:
    """As the pyproject.toml beside the package states it; None where none lies there, or it is another project's."""
    try:
        project = tomllib.loads((ROOT.parent / "pyproject.toml").read_text()).get("project", {})
    except (OSError, ValueError):  # a wheel, or code that was sent along with a job
        return None
    return project.get("version") if project.get("name") == PROJECT else None


def _commit() -> str | None:
    """Of the checkout, with "+changes" where a file of the package is not as committed; None: it is no checkout."""
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
"""Seconds to wait between looks for a file that was just written."""


def open_run(output: str, question: dict[str, Any], settings: dict[str, Any], main: str) -> str:
    """The id of the run in `output`: begins one, or goes on with the one that asks the same question.

    Args:
        output: URI of the results directory.
        question: what decides the results.
        settings: everything else that was asked, for the record.
        main: name of the output's main table.

    Raises:
        ConfigError: the directory holds the answers to another question; says which parts differ.
        StorageError: its record cannot be read.
    """
    question = json.loads(json.dumps(question))  # as it will be read back
    try:
        record = read(output)
    except NotFoundError:
        # Of two that find none at the same moment storage lets one create it; the other is measured by that one's.
        if storage.exists(storage.join(output, main)):
            raise ConfigError(
                f"{output} holds {main} but no {FILE}: it is not known what they answer; "
                "choose another --output, or remove that directory"
            ) from None
        run_id = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        mine = {"run_id": run_id, "started_at": _now(), "question": question, "settings": settings}
        storage.create(storage.join(output, FILE), json.dumps(mine, indent=2).encode())
        record = _visible(output)
    asked = record["question"]
    # What an older version did not know of was not asked for: absent, false and empty are one.
    differing = sorted(key for key in {*asked, *question} if (asked.get(key) or None) != (question.get(key) or None))
    if differing:
        changes = "; ".join(f"{key} was {asked.get(key)!r}, now {question.get(key)!r}" for key in differing)
        raise ConfigError(f"{output} belongs to another question ({changes}): choose another --output")
    return str(record["run_id"])


def sign(output: str, settings: dict[str, Any], begins: bool = False) -> None:
    """Add this process to the record's `processes`: who works on the run, with which code and configuration.

    Of two processes that sign at the same moment one may be missing.

    Args:
        output: URI of a directory with a record.
        settings: the job's configuration, resolved.
        begins: whether the record may begin here, with these settings: that of a training, whose run settings lie in
            files of its own. No other record is ever made without run settings.

    Raises:
        StorageError: the record cannot be read or written, or is not there and does not begin here.
    """
    uri = storage.join(output, FILE)
    try:
        record = json.loads(storage.read_bytes(uri) if begins else _patient_bytes(uri))
        earlier = [*record.get("processes", [])]
    except NotFoundError:
        if not begins:
            raise StorageError(
                f"{uri} was there, and is not to be seen: expected the record of this run. Was the output removed? "
                "Run the same command again"
            ) from None
        record, earlier = {"settings": settings}, []
    except (ValueError, AttributeError, TypeError) as error:
        raise StorageError(f"{uri} is not the {FILE} of a run: {error!r}") from error
    processes = [*earlier, of_this_process(settings)]
    storage.write_bytes(uri, json.dumps(record | {"processes": processes}, indent=2).encode())


def grow(output: str, manifest: str, chunks: int, images: int) -> None:
    """Note that the manifest of the run has grown, and when; its question is asked of more images from now on.

    Args:
        output: URI of a directory with a record.
        manifest: fingerprint of the grown manifest.
        chunks: that it has now.
        images: that it has now.

    Raises:
        StorageError: the record cannot be read or written.
    """
    record = read(output)
    before = record["question"]["manifest"]
    grown = [*record.get("grown", []), {"at": _now(), "before": before, "chunks": chunks, "images": images}]
    record["question"]["manifest"] = manifest
    storage.write_bytes(storage.join(output, FILE), json.dumps(record | {"grown": grown}, indent=2).encode())


def finish(output: str, images: int, seconds: float) -> None:
    """Note in the record, and in the entry of the process that signed last, when it ended and how fast it was.

    Args:
        output: URI of a directory with a record.
        images: that this process did; 0: nothing was left to do, and the record stays as it is once it has an end.
        seconds: that they took, start-up included.

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
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read(output: str) -> dict[str, Any]:
    """The record of the run in `output`: `run_id`, `started_at`, `question`, `settings`, `processes`.

    One that ended also has `ended_at`, and of the process that ended last `images`, `seconds`, `images_per_second`.

    Raises:
        NotFoundError: there is none.
        StorageError: it is not one of ours.
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
    """The record that was created a moment ago, by this process or another."""
    _patient_bytes(storage.join(output, FILE))
    return read(output)


def _patient_bytes(uri: str) -> bytes:
    """A file that is known to be there, also where the storage shows new files late.

    Raises:
        NotFoundError: it is not to be seen after the last look.
    """
    for seconds in VISIBLE_S:
        try:
            return storage.read_bytes(uri)
        except NotFoundError:
            time.sleep(seconds)
    return storage.read_bytes(uri)


if __name__ == "__main__":
    print(sources_hash())
