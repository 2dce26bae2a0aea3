"""Decoders that end, stall or fill the process they run in: for tests of what becomes of such files."""

import ctypes
import os
import signal
import time
from typing import Any

import numpy as np

from comit_ray.config.image_config import DecodeLimits
from comit_ray.data.images.decode import decode
from comit_ray.data.images.radiograph import Radiograph, decoding_room
from comit_ray.errors import DecodeError, Reason


def decode_or_die(data: bytes, limits: DecodeLimits, sidecar: bytes | None) -> Radiograph:
    """The radiograph; a file that begins with a word of `DEATHS` does that instead."""
    word = data[:16].split(b" ")[0]
    if word in DEATHS:
        DEATHS[word]()
        raise AssertionError("still alive")
    return decode(data, limits, sidecar)


def memory(data: bytes, limits: DecodeLimits, sidecar: bytes | None) -> int:
    """Takes as many bytes as the file says, and touches none."""
    return int(np.empty(int(data), np.uint8).size)


def process(data: bytes, limits: DecodeLimits, sidecar: bytes | None) -> int:
    """Who decodes."""
    return os.getpid()


def with_room(data: bytes, limits: DecodeLimits, sidecar: bytes | None) -> tuple[float, float]:
    """From when to when it had its memory."""
    with decoding_room(int(data), 1.0, 0, 0):
        began = time.monotonic()
        time.sleep(0.05)
        return began, time.monotonic()


def refuse(data: bytes, limits: DecodeLimits, sidecar: bytes | None, **named: Any) -> None:
    """A file that is no image."""
    raise DecodeError(Reason.NOT_AN_IMAGE, f"expected an image, got {data!r} {named}")


def bug(data: bytes, limits: DecodeLimits, sidecar: bytes | None) -> None:
    """A fault of the program; its text holds what must not be told."""
    raise KeyError("a patient's name")


def _spin() -> None:
    while True:
        pass


DEATHS = {
    b"abort": os.abort,
    b"segfault": lambda: ctypes.string_at(0),
    b"killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    b"exit": lambda: os._exit(3),
    b"spin": _spin,
    b"sleep": lambda: time.sleep(600),
    b"stopped": lambda: os.kill(os.getpid(), signal.SIGSTOP),
}
