"""Signals end a job within ten seconds, with one sentence."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from comit_ray.chunks import stopping
from comit_ray.chunks.stopping import Stopped, watched
from comit_ray.config.config_base import Config
from tests.conftest import REPOSITORY
from tests.jobs.in_process import called

JOB = """
import hashlib, signal, sys, time
from comit_ray import cli
from comit_ray.chunks import stopping
from comit_ray.command import jobs
from comit_ray.config.screen_config import VerifyConfig

stopping.SECONDS = 1.0

def job(config):
    if {case!r} == "stolen":  # as Ray does when it starts
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(99))
        stopping.renew()
    print("ready", flush=True)
    if {case!r} == "in C":  # no handler runs before this ends
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
    while True:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            if {case!r} != "deaf":
                raise

cli.run(job, VerifyConfig, "", ["--results", "r"], "job")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("case", ["asleep", "deaf", "in C", "stolen"])
def test_one_sentence_and_the_signal_s_status(number: signal.Signals, case: str) -> None:
    """Also where the main thread does not let go, and where another handler was put in place meanwhile."""
    job = subprocess.Popen(
        [sys.executable, "-c", JOB.format(case=case)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert job.stdout is not None
    assert job.stdout.readline() == "ready\n"
    job.send_signal(number)
    _, told = job.communicate(timeout=60)
    assert job.returncode == 128 + number
    assert told.strip() == "Stopped. Run the same command again to go on."


def test_the_handlers_that_were_there_come_back() -> None:
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    with watched("Stopped."):
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before


def test_a_signal_that_came_just_before_a_sleep_ends_the_sleep() -> None:
    """Python looked for signals, the signal came, and then the system's sleep began, which knows of none."""

    def sleep(wakeup: int) -> None:
        os.write(wakeup, bytes([signal.SIGTERM]))  # what the system's half of a handler does
        time.sleep(30)

    began = time.monotonic()
    with watched("Stopped.") as watch, pytest.raises(Stopped):
        sleep(watch.wakeup)
    assert time.monotonic() - began < 20
    assert stopping.stand_down()


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """As nohup has it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with watched("Stopped."):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_without_a_job_nothing_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "SECONDS", 3600.0)
    before = signal.getsignal(signal.SIGTERM)
    stopping.renew()
    assert signal.getsignal(signal.SIGTERM) is before

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    with watched("Stopped."), pytest.raises(Stopped) as caught:
        stop()
    assert caught.value.status == 143
    assert signal.getsignal(signal.SIGTERM) is not before, "until the process ends, no other handler speaks"
    assert stopping.stand_down()
    assert signal.getsignal(signal.SIGTERM) is before
    assert not stopping.stand_down()


class Stopping(Config):
    """Options of a job that a signal ends."""


def test_a_signal_to_the_tests_is_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    """It ended the job alone, and eight seconds later the process of all tests without a word."""

    def job(config: Stopping) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
        return 0

    before, threads = signal.getsignal(signal.SIGINT), threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        called(job, Stopping)
    assert signal.getsignal(signal.SIGINT) is before
    assert threading.active_count() == threads
