"""What Ray prints on a healthy run is held back, and everything else is shown: also what a dying process says last."""

import logging
import re
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import ray
from ray.util.annotations import RayDeprecationWarning

from comit_ray.chunks import ray_start
from comit_ray.errors import ConfigError
from tests.conftest import REPOSITORY

RESTART = (
    "[2026-11-29 19:48:57,757 E 17666 17666] core_worker.cc:2465: Actor with class name: '{}' and ID: '8d11ad16ef93' "
    "has constructor arguments in the object store and max_restarts > 0. If the arguments in the object store go out "
    "of scope or are lost, the actor restart will fail. See https://github.com/ray-project/ray/issues/53727."
)
LOST = "[2026-11-29 19:48:57,757 E 17666 17666] core_worker.cc:790: The node is dead."


def said(script: str) -> str:
    """The standard error of a process that runs the script; how it ends does not matter."""
    command = [sys.executable, "-c", f"from comit_ray.chunks import ray_start\nimport os, sys\n{script}"]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False).stderr


def test_a_line_of_the_core_that_is_known_is_held_back_and_no_other() -> None:
    harmless = RESTART.format("MapWorker(MapBatches(_Predict))")
    foreign = RESTART.format("Trial")  # an actor of ours that could not restart
    text = said(
        "ray_start.filter_standard_error()\n"
        f"os.write(2, {f'first{chr(10)}{harmless}{chr(10)}{foreign}{chr(10)}'.encode()!r})\n"
        f"os.write(2, {(RESTART.format('PreemptionWatcher') + chr(10) + LOST).encode()!r})\n"
    )
    assert text == f"first\n{foreign}\n{LOST}"


def test_what_a_dying_process_says_last_is_shown() -> None:
    text = said("ray_start.filter_standard_error()\nos.write(2, b'[fatal] lost')\nos.abort()")
    assert text == "[fatal] lost"


def test_a_traceback_is_shown() -> None:
    assert said("ray_start.filter_standard_error()\nraise ValueError('of ours')").endswith("ValueError: of ours\n")


@pytest.mark.parametrize(("name", "beginning"), sorted((ray_start.HARMLESS_LOGS | ray_start.HARMLESS_ALONE).items()))
def test_a_message_that_is_known_is_held_back_and_others_of_its_logger_are_not(
    name: str, beginning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger(name)
    monkeypatch.setattr(logger, "filters", [])
    ray_start.hold_back(ray_start.HARMLESS_LOGS | ray_start.HARMLESS_ALONE)
    ray_start.hold_back(ray_start.HARMLESS_LOGS)
    assert len(logger.filters) == 1
    for message, shown in ((f"{beginning} and more", False), ("Token authentication is disabled", True)):
        record = logging.LogRecord(name, logging.WARNING, "", 1, message, (), None)
        assert bool(logger.filter(record)) is shown


def test_deprecations_are_shown_where_we_use_them() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ray_start.hold_back({})
        for file in (ray.__file__, ray_start.__file__):
            warnings.warn_explicit("old", RayDeprecationWarning, file, 1)
    assert len(caught) == 1


def test_a_named_cluster_is_not_started_here(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert ray_start.starts_here()
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert not ray_start.starts_here()


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_a_temporary_directory_too_long_for_sockets_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Ray ended with a traceback."""
    for other in ("RAY_ADDRESS", "RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", lambda **_: pytest.fail("Ray was started"))
    monkeypatch.setattr(ray_start, "starts_here", lambda: True)
    monkeypatch.setenv(name, "/" + "x" * 60)
    with pytest.raises(ConfigError, match=rf"{name}: expected a path of at most \d\d bytes, .* got 61 bytes: set RAY"):
        ray_start.start()
    monkeypatch.setenv(name, "/tmp/")
    ray_start.check_temporary_directory()


def test_a_deprecation_of_rays_own_process_is_held_back_and_ours_is_not() -> None:
    line = b"/venv/lib/site-packages/%s.py:436: RayDeprecationWarning: `ExecutionOptions.exclude_resources` is"
    assert re.search(ray_start.HARMLESS_LINE, line % b"ray/data/options")
    assert not re.search(ray_start.HARMLESS_LINE, line % b"comit_ray/chunks/graph")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "http://127.0.0.1:8265", "nonsense", "ray://127.0.0.1:1"])
def test_a_dead_address_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match=r"RAY_ADDRESS: .*(unset RAY_ADDRESS|expected HOST:PORT)"):
        ray_start.check_address()


@contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """An address where something listens, and says `answer`; None: it says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    stream, _ = server.accept()
                except OSError:
                    return
                held.append(stream)
                if answer is not None:
                    stream.sendall(answer)

        held: list[socket.socket] = []
        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        for stream in held:
            stream.close()


def test_an_address_that_answers_and_none_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with listening(bytes(3) + ray_start._SETTINGS + bytes(5)) as address:
        for taken in (address, f"ray://{address}", "auto", "local", ""):
            monkeypatch.setenv("RAY_ADDRESS", taken)
            ray_start.check_address()


@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_what_listens_and_is_no_head_is_refused(monkeypatch: pytest.MonkeyPatch, answer: bytes | None) -> None:
    """A head that was stopped, or the port of the dashboard: Ray tried it again and again, without an end."""
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr(ray_start, "ADDRESS_S", 0.3)
    with listening(answer) as address:
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ConfigError, match="no Ray cluster answers at 127"):
            ray_start.check_address()


def test_every_job_that_starts_ray_refuses_a_dead_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training, sweeps, the benchmark, fingerprints and exports waited for minutes."""
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", lambda **_: pytest.fail("Ray was started"))
    monkeypatch.setattr(ray_start, "starts_here", lambda: True)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ConfigError, match="no Ray cluster answers at 127"):
        ray_start.start()
    starts = {path.name for path in (REPOSITORY / "comit_ray").rglob("*.py") if "ray.init(" in path.read_text()}
    assert starts == {"ray_start.py"}
