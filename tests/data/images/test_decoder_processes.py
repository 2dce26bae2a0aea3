"""Real processes that crash, stall and fill up: each costs its file, and nobody else anything."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from comit_ray.config.image_config import DecodeLimits, FrameConfig
from comit_ray.data.images import decoder_processes
from comit_ray.data.images.decode import decode, framed, shrunken
from comit_ray.data.images.decoder_processes import run
from comit_ray.errors import ComitError, DecodeError, Reason
from tests.conftest import REPOSITORY
from tests.data import deadly

LIMITS = DecodeLimits()
SHORT = DecodeLimits(max_seconds=0.2)


def reason_of(data: bytes, limits: DecodeLimits = LIMITS) -> tuple[Reason, str]:
    with pytest.raises(DecodeError) as caught:
        run(deadly.decode_or_die, data, limits, None)
    return caught.value.reason, caught.value.detail


def test_pixels_are_those_of_this_process(cxr: Path) -> None:
    files = [sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[0], sorted(cxr.rglob("*.dcm"))[0]]
    for data in (path.read_bytes() for path in files):
        mine, theirs = decode(data, LIMITS), run(decode, data, LIMITS, None)
        assert np.array_equal(mine.pixels_HW, theirs.pixels_HW)
        assert (mine.height, mine.view, mine.applied) == (theirs.height, theirs.view, theirs.applied)
        frame = FrameConfig(size=64)
        assert np.array_equal(
            framed(data, LIMITS, None, frame).pixels_HW, run(framed, data, LIMITS, None, frame).pixels_HW
        )
        small = run(shrunken, data, LIMITS, None)
        assert (small.height, small.width) == (mine.height, mine.width)


@pytest.mark.parametrize(
    ("word", "how"),
    [(b"abort", "SIGABRT"), (b"segfault", "SIGSEGV"), (b"killed", "SIGKILL"), (b"exit", "exit status 3")],
)
def test_a_file_that_ends_its_decoder_has_a_reason_that_says_how(word: bytes, how: str) -> None:
    reason, detail = reason_of(word)
    assert (reason, how in detail) == (Reason.CRASHED_DECODER, True)


@pytest.mark.parametrize("word", [b"spin", b"sleep", b"stopped"])
def test_a_decoder_that_never_answers_is_ended(word: bytes) -> None:
    """In a loop by the kernel, after seconds of CPU; asleep or stopped by the clock."""
    began = time.monotonic()
    reason, detail = reason_of(word, SHORT)
    assert reason is Reason.TIMED_OUT
    assert "at most 0.2 s" in detail
    assert time.monotonic() - began < 60


def test_memory_is_bounded_and_the_process_lives_on() -> None:
    who = run(deadly.process, b"", LIMITS, None)
    with pytest.raises(DecodeError, match="too_large: expected decoding to take at most 1,000,000 bytes"):
        run(deadly.memory, b"900000000", DecodeLimits(max_memory=10**6), None)
    assert run(deadly.memory, b"900000000", LIMITS, None) == 900_000_000
    assert run(deadly.process, b"", LIMITS, None) == who


def test_what_a_decoder_says_comes_back_and_its_process_is_kept() -> None:
    who = run(deadly.process, b"", LIMITS, None)
    with pytest.raises(DecodeError, match=r"not_an_image: expected an image, got b'x' \{'named': 1\}"):
        run(deadly.refuse, b"x", LIMITS, None, named=1)
    assert run(deadly.process, b"", LIMITS, None) == who
    with pytest.raises(ComitError, match=r"a fault of this program, .*: KeyError in deadly\.py") as caught:
        run(deadly.bug, b"", LIMITS, None)
    assert "patient" not in str(caught.value)
    assert not isinstance(caught.value, DecodeError), "nothing is said of the file"


def test_deaths_of_some_files_cost_the_others_nothing(cxr: Path) -> None:
    sound = sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[0].read_bytes()
    files = [sound, b"abort", sound, b"segfault", sound, b"killed", sound, b"exit"] * 3

    def one(data: bytes) -> Reason | int:
        try:
            return run(deadly.decode_or_die, data, LIMITS, None).height
        except DecodeError as error:
            return error.reason

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(one, files))
    height = decode(sound, LIMITS).height
    assert found == [height if data is sound else Reason.CRASHED_DECODER for data in files]


def test_a_host_that_is_killed_says_nothing_of_the_file(cxr: Path) -> None:
    sound = sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[0].read_bytes()
    run(deadly.process, b"", LIMITS, None)
    host = decoder_processes._pool._host
    assert host is not None
    os.kill(host._process.pid, signal.SIGKILL)
    host._process.wait()
    assert run(decode, sound, LIMITS, None).height > 0
    assert decoder_processes._pool._host is not host


def test_processes_share_the_room_of_this_process() -> None:
    """Two that need more than half of it never have theirs at the same time."""
    with ThreadPoolExecutor(3) as pool:
        spans = list(pool.map(lambda _: run(deadly.with_room, b"400000000", LIMITS, None), range(3)))
    spans.sort()
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
    with pytest.raises(DecodeError, match="too_large"):
        run(deadly.with_room, b"900000000", LIMITS, None)


def test_nothing_is_left_of_a_process_that_is_killed() -> None:
    program = (
        "import os, signal\n"
        "from comit_ray.config.image_config import DecodeLimits\n"
        "from comit_ray.data.images import decoder_processes\n"
        "from tests.data import deadly\n"
        "who = decoder_processes.run(deadly.process, b'', DecodeLimits(), None)\n"
        "print(who, decoder_processes._pool._host._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    until = time.monotonic() + 120
    left = [int(pid) for pid in done.stdout.split()]
    assert len(left) == 2
    while any(_alive(pid) for pid in left) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in left)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
