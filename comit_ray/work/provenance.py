"""Who does this, where, and with which code: what a run's record keeps of every process that worked on it."""

import getpass
import hashlib
import json
import os
import platform
import socket
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ray", "torch", "torchvision", "pyarrow", "pydicom")
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
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "user": _user(),
        "host": socket.gethostname(),
        "job": _submitted(),
        "code": {"version": _version("comit-ray"), "commit": _commit(), "sources": sources_hash()},
        "packages": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "settings": settings,
    }


def submitted() -> bool:
    """Whether this is the driver of a job that was submitted to a cluster."""
    return _SUBMITTED in os.environ


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


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:  # code that was sent along with a job, and never installed
        return None


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


if __name__ == "__main__":
    print(sources_hash())
