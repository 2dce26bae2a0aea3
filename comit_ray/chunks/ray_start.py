"""Starts Ray or joins a cluster, and hides Ray's messages of a healthy run; errors are always shown.

Only messages that are known to be harmless are hidden. Each is recognised by its logger and its words, as Ray 2.60
writes them. Any other message is shown unchanged.
"""

import atexit
import contextlib
import logging
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import ray
from ray.util.annotations import RayDeprecationWarning

from comit_ray.errors import ConfigError

HARMLESS_LOGS: dict[str, str] = {
    # `ray.init` protects the Ray that it starts with a token, so that nobody else on the machine can use it.
    "ray._private.authentication.authentication_token_setup": "Token authentication is enabled",
    # Ray's own bars are off, because `comit_ray.chunks.progress` shows the progress of a job.
    "ray.data._internal.progress": "Progress bars disabled",
}
"""Logger name -> beginning of the message to hide."""
HARMLESS_ALONE: dict[str, str] = {
    # Ray does not know its CPUs just after its start. On a cluster others may use them, so there it is shown.
    "ray.data.dataset": "Warning: The Ray cluster currently does not have any available CPUs",
}
"""Further messages to hide, but only where this process starts its own Ray and nobody else can be affected."""

HARMLESS_LINE = (
    rb"core_worker\.cc:\d+: Actor with class name: '(MapWorker\(.*\)|PreemptionWatcher)' and ID: '\w+' has constructor "
    rb"arguments in the object store and max_restarts > 0\."
    # Lines of Ray's own processes, printed by the driver; the second one is the source line that the warning quotes.
    rb"|^\S*/site-packages/ray/\S+: RayDeprecationWarning: |^  self\.exclude_resources = exclude_resources$"
)
"""Lines of Ray's core and of its own processes, which go to standard error without Python's logging.

Ray's own actors (Ray Data's workers, Ray Train's watcher) get their arguments from the object store. They can restart
as long as the driver lives, because the driver holds the arguments."""

END_S = 2.0
"""Seconds to wait for the last lines. If a process of Ray outlives the job, its lines appear later."""
_FILTER = """
import os, re, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
harmless, held = re.compile(os.environb[b"COMIT_HARMLESS"]), b""
while chunk := os.read(0, 65536):
    *lines, held = (held + chunk).split(b"\\n")
    shown = b"".join(line + b"\\n" for line in lines if not harmless.search(line))
    if held[:1] not in (b"[", b"/", b" "):
        shown, held = shown + held, b""
    while shown:
        shown = shown[os.write(2, shown):]
os.write(2, held)
"""
"""The filter runs as a separate process, so that the last words of a dying driver are shown too.

Text that begins as a harmless line does ("[", "/" or " ") waits for the end of its line. All other text is shown at
once, because with PYTHONUNBUFFERED Python writes the words of a line and its end separately.
"""


def starts_here() -> bool:
    """Whether Ray would start on this machine for this process alone: no cluster is named, and none runs here."""
    running = Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster")  # noqa: S108 where Ray has it
    return not (ray.is_initialized() or os.environ.get("RAY_ADDRESS") or running.exists())


ADDRESS_S = 10.0
"""Seconds for a cluster's head to accept a connection, and again as many for its answer."""
_SETTINGS = b"\4"
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + _SETTINGS + bytes(5)
"""First bytes of an HTTP/2 client, and so of gRPC, which Ray uses; the server answers with its settings (RFC 9113)."""


def check_address() -> None:
    """Refuses a `RAY_ADDRESS` at which no cluster answers, because Ray itself would wait for ever.

    Raises:
        ConfigError: nothing listens at the address, or something other than a cluster's head does.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    if ray.is_initialized() or address in ("", "auto", "local"):
        return
    head = address.removeprefix("ray://")
    host, _, port = head.rpartition(":")
    if "://" in head or not host or not port.isdigit():
        raise ConfigError(
            f"RAY_ADDRESS: expected HOST:PORT of a cluster's head (the port is usually 6379), got {address}"
        )
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ADDRESS_S) as stream:
            if os.environ.get("RAY_USE_TLS", "0") in ("", "0"):  # with TLS the server expects certificates first
                stream.sendall(_HELLO)
                said = stream.recv(9)
                if said[3:4] != _SETTINGS:
                    raise ConnectionError("the process that listens there is not the head of a cluster")
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"RAY_ADDRESS: no Ray cluster answers at {address} ({error}): start the cluster, or unset RAY_ADDRESS to "
            "compute on this machine"
        ) from error


_SOCKET = "ray/session_2026-11-30_00-00-00_000000_{pid}/sockets/plasma_store"
"""The longest path of a socket that Ray cannot do without, below its temporary directory."""
IDLE_MS = 60_000
"""Milliseconds that a worker of a Ray of this process may be idle before it ends."""
_SOCKET_BYTES = 103 if sys.platform == "darwin" else 107


def check_temporary_directory() -> None:
    """Refuse a temporary directory below which the paths of Ray's sockets are too long for the system.

    Raises:
        ConfigError: names the variable, the bytes it may have, and what to do.
    """
    name = next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), None)
    if name is None:
        return
    most = _SOCKET_BYTES - len(_SOCKET.format(pid=os.getpid())) - 1
    size = len(os.fsencode(os.environ[name].rstrip("/")))
    if size > most:
        raise ConfigError(
            f"{name}: expected a path of at most {most} bytes, below which Ray can have its sockets, got {size} bytes: "
            "set RAY_TMPDIR to a shorter one, such as /tmp"
        )


def start(logging_config: ray.LoggingConfig | None = None) -> None:
    """Joins the cluster that the environment names, or starts a Ray for this process; does nothing if Ray runs already.

    Args:
        logging_config: logging of Ray and of its workers; None: Ray's defaults, with warnings and errors only in this
            process.

    Raises:
        ConfigError: as for `check_address` and `check_temporary_directory`.
    """
    alone = starts_here()
    hold_back(HARMLESS_LOGS | (HARMLESS_ALONE if alone else {}))
    if ray.is_initialized():
        return
    if alone:
        # Nobody takes this machine away with notice: a process a training that would only watch for that.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        # Ray ends a worker that was idle for a second. The next one needs 3 s of CPU time to import what it runs.
        os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", str(IDLE_MS))
    check_address()
    if alone:
        check_temporary_directory()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # otherwise Ray reports every run to its developers
    filter_standard_error()
    settings: dict[str, Any] = {"logging_level": logging.WARNING}
    if logging_config is not None:
        settings = {"logging_config": logging_config}
    if alone:
        settings["include_dashboard"] = False  # a person with a dashboard starts Ray first, and gives its address
    ray.init(**settings)


def hold_back(logs: Mapping[str, str]) -> None:
    """Hides harmless messages of Ray's Python code.

    Args:
        logs: logger name -> beginning of the message to hide.
    """
    for name, beginning in logs.items():
        logger = logging.getLogger(name)
        if not any(isinstance(known, _Harmless) for known in logger.filters):
            logger.addFilter(_Harmless(beginning))
    # Ray inserts its own filter before all others each time it warns, so a warning filter of ours would not work.
    if warnings.showwarning is not _show_warning:
        _SHOWN.append(warnings.showwarning)
        warnings.showwarning = _show_warning


_SHOWN: list[Callable[..., None]] = []


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Hides deprecation warnings about Ray's use of its own code; warnings about files outside Ray are shown."""
    if not (issubclass(category, RayDeprecationWarning) and Path(ray.__file__).parent in Path(filename).parents):
        _SHOWN[-1](message, category, filename, lineno, file, line)


@cache
def filter_standard_error() -> None:
    """Sends standard error of this process through a process that drops `HARMLESS_LINE`, until this process ends.

    Nothing is hidden if there is no standard error, or if the filter cannot be started.
    """
    try:
        real = os.dup(2)
        reading, writing = os.pipe()
        child = subprocess.Popen(  # noqa: S603 - our own text
            [sys.executable, "-I", "-S", "-c", _FILTER],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "COMIT_HARMLESS": os.fsdecode(HARMLESS_LINE)},
            start_new_session=True,  # Ctrl-C must reach only the job, which may still print something
        )
    except OSError:
        return
    os.close(reading)
    sys.stderr.flush()
    os.dup2(writing, 2)
    os.close(writing)

    def end() -> None:
        sys.stderr.flush()
        os.dup2(real, 2)  # closes the pipe, unless a process of Ray holds it too
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(END_S)

    atexit.register(end)


class _Harmless(logging.Filter):
    """Drops messages that begin with the given words."""

    def __init__(self, beginning: str) -> None:
        super().__init__()
        self.beginning = beginning

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the message is shown."""
        return not record.getMessage().startswith(self.beginning)
