"""Two drivers on one output: exactly one works, the other says who holds it, and a dead holder loses its place."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from comit_ray.chunks.one_driver import SECONDS, hold
from comit_ray.chunks.ownership import Owner, check_lease, newest_lease
from comit_ray.errors import ConfigError, HeldError, OvertakenError
from comit_ray.storage import storage

HOLDER = """
import sys, time
from dataclasses import replace
from comit_ray.chunks.one_driver import hold
from comit_ray.chunks.ownership import Owner, check_lease
with hold(sys.argv[1]) as lease:
    print("held", flush=True)
    sys.stdin.readline()
    check_lease(sys.argv[1], Owner("r", "m", "s", lease))
    print("wrote", flush=True)
"""


@pytest.fixture(params=["local", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "out") if request.param == "local" else f"{request.getfixturevalue('bucket')}/out"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECONDS, "2")


@pytest.fixture
def holder(output: str) -> "Iterator[subprocess.Popen[str]]":
    started = subprocess.Popen(
        [sys.executable, "-c", HOLDER, output], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "held\n"
    yield started
    if started.poll() is None:
        started.kill()
    started.communicate()


def test_one_after_the_other_is_let_in_at_once(output: str) -> None:
    for number in (1, 2):
        with hold(output) as lease:
            assert lease.number == number
            check_lease(output, Owner("r", "m", "s", lease))


def test_the_second_says_who_holds_it_and_takes_nothing(output: str, holder: "subprocess.Popen[str]") -> None:
    who = rf"is in use by process {holder.pid} on .*, since .* \(lease 1\)"
    with pytest.raises(HeldError, match=who), hold(output):
        pytest.fail("it was let in")
    assert newest_lease(output) == 1
    out, _ = holder.communicate("\n")
    assert out == "wrote\n"
    with hold(output) as lease:
        assert lease.number == 2


def test_a_holder_that_was_killed_loses_it_at_once(output: str, holder: "subprocess.Popen[str]", monkeypatch) -> None:
    monkeypatch.setenv(SECONDS, "1000")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with hold(output) as lease:
        assert lease.number == 2


def test_a_stopped_holder_is_replaced_and_writes_nothing_when_it_wakes_up(output: str, holder, capsys) -> None:
    holder.send_signal(signal.SIGSTOP)
    with hold(output) as lease:
        assert f"process {holder.pid}" in capsys.readouterr().out
        holder.send_signal(signal.SIGCONT)
        out, _ = holder.communicate("\n")
        assert out == ""  # not "wrote"
        assert holder.returncode == 1
        check_lease(output, Owner("r", "m", "s", lease))


def test_of_many_at_once_exactly_one_works(output: str) -> None:
    others, refused = 3, threading.Semaphore(0)

    def work(_: int) -> int:
        try:
            with hold(output):
                return int(all(refused.acquire(timeout=60) for _ in range(others)))
        except HeldError:
            refused.release()
            return 0

    with ThreadPoolExecutor(1 + others) as pool:
        assert sum(pool.map(work, range(1 + others))) == 1


def test_of_another_machine_only_signs_of_life_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process numbers say nothing here."""
    monkeypatch.setenv(SECONDS, "0.4")
    lease = '{"token": "t", "host": "elsewhere", "pid": 1, "born": "never", "at": "2026-11-30"}'
    storage.write_bytes(str(tmp_path / "lease" / "00000001.json"), lease.encode())
    began = time.monotonic()
    with hold(str(tmp_path)) as taken:
        assert taken.number == 2
        assert time.monotonic() - began >= 0.4
        owner = Owner("r", "m", "s", taken)
        storage.create(str(tmp_path / "lease" / "00000003.json"), b"{}")
        with pytest.raises(OvertakenError):
            check_lease(str(tmp_path), owner)


def test_seconds_that_are_none_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECONDS, "soon")
    with pytest.raises(ConfigError, match="expected seconds above 0 in COMIT_LEASE_SECONDS, got 'soon'"), hold("/x"):
        pass
    assert os.listdir(tmp_path) == []
