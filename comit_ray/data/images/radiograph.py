"""A decoded radiograph: its pixels for display, or stored values and how to display them.

The module also guards the libraries that parse foreign bytes: they stay silent, and only DecodeError leaves them.
pydicom warns and logs with values of the header in its messages. Those must not reach a log, and under `-W error` must
not fail a sound image. `warnings.catch_warnings` swaps state of the whole process, which breaks if threads leave it in
another order than they entered; so the first thread in swaps it and the last one out restores it.

Finally, the module holds the limits for one image, checked before anything is decompressed or allocated.
"""

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from comit_ray.config.image_config import DecodeLimits
from comit_ray.errors import DecodeError, Reason
from comit_ray.tables.vocabulary import View


@dataclass(frozen=True)
class Radiograph:
    """A decoded radiograph.

    Attributes:
        pixels_HW: uint8 for display: air dark, bone bright.
        height: rows of the original.
        width: columns of the original.
        view: view in the DICOM header; `View.UNKNOWN` for PNG and JPEG.
        view_source: evidence for `view`; "none" for PNG and JPEG.
        applied: the steps from stored values to these pixels, in order: "rescale", "modality_lut", "window", "voi_lut",
            "percentiles", "monochrome1_inverted", "padding", "colour_to_grey", "alpha_on_black", "exif_orientation".
    """

    pixels_HW: NDArray[np.uint8]
    height: int
    width: int
    view: View
    view_source: str
    applied: tuple[str, ...]


@dataclass(frozen=True)
class StoredImage:
    """A decoded image before the grayscale pipeline, for code that chooses another window.

    Attributes:
        values_HW: stored values, integers of 8 or 16 bits; uint8 display values if `photometric` is None.
        elements: elements of the header or sidecar that describe them; empty if there is none.
        photometric: MONOCHROME1 or MONOCHROME2; None: the values are display values.
        view: as in `Radiograph`.
        view_source: as in `Radiograph`.
        applied: steps that were already applied, as in `Radiograph`.
        sidecar: whether `elements` come from a sidecar, whose errors have a separate reason.
        original: rows and columns of the picture if `values_HW` is a smaller copy of it; None if it is the picture.
    """

    values_HW: NDArray[np.generic]
    elements: Dataset
    photometric: str | None
    view: View
    view_source: str
    applied: tuple[str, ...]
    sidecar: bool = False
    original: tuple[int, int] | None = None


for _name in ("pydicom", "pylibjpeg", "openjpeg", "PIL"):
    logging.getLogger(_name).propagate = False
    logging.getLogger(_name).addHandler(logging.NullHandler())

_lock = threading.Lock()
_inside = 0
_saved: AbstractContextManager[object] | None = None


@contextmanager
def decoder_guard(doing: str = "read the file") -> Iterator[None]:
    """Silences the decoding libraries, and turns every error of theirs into a DecodeError.

    Args:
        doing: current step, for the message, which shows only the type of the library's error.
    """
    _enter()
    try:
        yield
    except DecodeError:
        raise
    except MemoryError:
        raise DecodeError(Reason.TOO_LARGE, f"expected to {doing}, memory ran out") from None
    except Exception as error:  # noqa: BLE001 decoders raise anything on damaged bytes, with header values in the text
        raise DecodeError(
            Reason.CORRUPT, f"expected to {doing}, its bytes are damaged: {type(error).__name__} in the library"
        ) from None
    finally:
        _leave()


def _enter() -> None:
    global _inside, _saved
    with _lock:
        if _inside == 0:
            _saved = warnings.catch_warnings()
            _saved.__enter__()
            warnings.simplefilter("ignore")
        _inside += 1


def _leave() -> None:
    global _inside, _saved
    with _lock:
        _inside -= 1
        if _inside == 0:
            assert _saved is not None
            _saved.__exit__(None, None, None)
            _saved = None


ROOM = 640 * 2**20
"""Bytes that all threads of a process, with their decoding processes, may take for decoding at one time. A task that
reads reserves 1 GiB, of which its libraries and its rows take some 300 MiB."""

_room = threading.Condition()
_held = 0


@contextmanager
def decoding_room(pixels: int, bytes_per_pixel: float, file_bytes: int, copies: int) -> Iterator[None]:
    """Waits until the peak memory of decoding fits beside what other threads of the process decode.

    Args:
        pixels: rows times columns.
        bytes_per_pixel: measured peak of decoding, in bytes per pixel.
        file_bytes: size of the file.
        copies: number of copies of the file that decoding makes.

    Raises:
        DecodeError: TOO_LARGE if it does not fit even alone.
    """
    need = int(pixels * bytes_per_pixel) + file_bytes * copies
    if need > ROOM:
        raise DecodeError(
            Reason.TOO_LARGE, f"expected decoding to take at most {ROOM} bytes, {pixels} pixels like these take {need}"
        )
    if _ask is not None:
        _ask(need)
        yield
        return
    with room(need):
        yield


@contextmanager
def room(need: int) -> Iterator[None]:
    """Waits until `need` bytes of `ROOM` are free, and holds them."""
    global _held
    with _room:
        _room.wait_for(lambda: _held + need <= ROOM)
        _held += need
    try:
        yield
    finally:
        with _room:
            _held -= need
            _room.notify_all()


_ask: Callable[[int], None] | None = None


@contextmanager
def room_asked_of(ask: Callable[[int], None]) -> Iterator[None]:
    """Makes `decoding_room` in the block ask another process for room, which holds it until the block has ended."""
    global _ask
    _ask = ask
    try:
        yield
    finally:
        _ask = None


def check_bytes(data: bytes, limits: DecodeLimits) -> None:
    """Refuses an empty file, and a file with too many bytes.

    Raises:
        DecodeError: EMPTY or TOO_LARGE.
    """
    if not data:
        raise DecodeError(Reason.EMPTY, "the file has no bytes")
    if len(data) > limits.max_bytes:
        raise DecodeError(Reason.TOO_LARGE, f"expected at most {limits.max_bytes} bytes, got {len(data)}")


def check_size(height: int, width: int, bytes_per_pixel: int, limits: DecodeLimits) -> None:
    """Refuses images that are too small for a radiograph or too large to decode, before anything is allocated.

    Raises:
        DecodeError: BAD_GEOMETRY, TOO_LARGE or TOO_SMALL.
    """
    if height < 1 or width < 1:
        raise DecodeError(Reason.BAD_GEOMETRY, f"expected rows and columns, got {height} x {width}")
    if height * width > limits.max_pixels:
        raise DecodeError(Reason.TOO_LARGE, f"expected at most {limits.max_pixels} pixels, got {height} x {width}")
    decoded = height * width * bytes_per_pixel
    if decoded > limits.max_decoded_bytes:
        raise DecodeError(Reason.TOO_LARGE, f"expected at most {limits.max_decoded_bytes} bytes decoded, got {decoded}")
    if min(height, width) < limits.min_side:
        raise DecodeError(
            Reason.TOO_SMALL, f"expected at least {limits.min_side} pixels a side, got {height} x {width}"
        )
