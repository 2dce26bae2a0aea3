"""The edge to the libraries that parse foreign bytes: silent, and nothing but DecodeError comes out.

pydicom warns and logs with the values of the header in its messages: those must reach no log, and under
`-W error` must not fail a sound image. `warnings.catch_warnings` swaps state of the whole process, which breaks when
threads leave it in another order than they entered; so the first thread in swaps it and the last one out restores it.
"""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from comit_ray.errors import DecodeError, Reason

for _name in ("pydicom", "pylibjpeg", "openjpeg", "PIL"):
    logging.getLogger(_name).propagate = False
    logging.getLogger(_name).addHandler(logging.NullHandler())

_lock = threading.Lock()
_inside = 0
_saved: AbstractContextManager[object] | None = None


@contextmanager
def library_edge() -> Iterator[None]:
    """Silences the libraries; turns whatever they raise into a DecodeError that names the exception's type alone."""
    _enter()
    try:
        yield
    except DecodeError:
        raise
    except MemoryError:
        raise DecodeError(Reason.TOO_LARGE, "memory ran out while decoding") from None
    except Exception as error:  # noqa: BLE001 decoders raise anything on damaged bytes, with header values in the text
        raise DecodeError(Reason.CORRUPT, f"the decoder gave up with {type(error).__name__}") from None
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
