"""Decoders that end, stall or fill the process they run in: for tests of what becomes of such files."""

import ctypes
import io
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

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


def refuse(data: bytes, limits: DecodeLimits, sidecar: bytes | None, /, **named: Any) -> None:
    """A file that is no image."""
    raise DecodeError(Reason.NOT_AN_IMAGE, f"expected an image, got {data!r} {named}")


def bug(data: bytes, limits: DecodeLimits, sidecar: bytes | None) -> None:
    """A fault of the program; its text holds what must not be told."""
    raise KeyError("a patient's name")


def _spin() -> None:
    while True:
        pass


DEATHS: dict[bytes, Callable[[], object]] = {
    b"abort": os.abort,
    b"segfault": lambda: ctypes.string_at(0),
    b"killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    b"exit": lambda: os._exit(3),
    b"spin": _spin,
    b"sleep": lambda: time.sleep(600),
    b"stopped": lambda: os.kill(os.getpid(), signal.SIGSTOP),
}


SIZES = {61: "os.abort()", 62: "ctypes.string_at(0)", 63: "time.sleep(600)"}
"""Width in pixels -> what a process that decodes such a PNG does, once `customise` has had its way."""


def customise(directory: Path) -> None:
    """Write a `sitecustomize.py` that makes Pillow deadly for `SIZES`, in decoding processes alone.

    For a process whose PYTHONPATH begins with the directory. Nothing of the package knows of it.
    """
    deaths = "\n".join(f"    if image.width == {width}: {death}" for width, death in SIZES.items())
    (directory / "sitecustomize.py").write_text(
        "import sys\n"
        "if any('decoder_host' in word for word in sys.orig_argv):\n"
        "  import ctypes, os, time\n"
        "  from PIL import Image\n"
        "  real = Image.open\n"
        "  def deadly(*args, **named):\n"
        "    image = real(*args, **named)\n"
        f"{deaths}\n"
        "    return image\n"
        "  Image.open = deadly\n"
    )


def deadly_png(width: int) -> bytes:
    """A sound grey PNG of a width of `SIZES`, or of another."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(width).integers(0, 255, (64, width), np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()
