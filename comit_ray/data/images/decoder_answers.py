"""Carries the result of a decoding process back: plain values in a few bytes, and pixels as they lie in memory.

Every image needs one answer, and pickling takes a tenth of a millisecond, as long as decoding some hundred rows of a
small image. So `Frame` and `Radiograph` travel as their fields, by marshal, with their pixels beside them. Anything
else is pickled. Both ends are the same program, started by the same job.
"""

import marshal
import pickle
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from comit_ray.data.images.decode import Frame
from comit_ray.data.images.frame import FrameMap
from comit_ray.data.images.radiograph import Radiograph
from comit_ray.tables.vocabulary import View

_CLASSES: tuple[type, ...] = (Frame, FrameMap, Radiograph)
_FIELDS = {kind: tuple(field.name for field in fields(kind)) for kind in _CLASSES}
_NUMBER = {kind: number for number, kind in enumerate(_CLASSES)}
_ARRAY, _VIEW, _TUPLE, _PICKLE = range(len(_CLASSES), len(_CLASSES) + 4)
"""First value of a tuple in an answer: the class that the other values are fields of, or one of these codes."""
_PLAIN = frozenset({int, float, str, bool, type(None)})


def to_bytes(made: Any) -> tuple[bytes, list[memoryview]]:
    """Returns the bytes that stand for `made`, and the memory of its arrays, which is not copied."""
    arrays: list[np.ndarray[Any, Any]] = []
    try:
        plain = _to_plain(made, arrays)
    except TypeError:
        plain, arrays = (_PICKLE, pickle.dumps(made, pickle.HIGHEST_PROTOCOL)), []
    return marshal.dumps(plain), [array.data.cast("B") for array in arrays]


def from_bytes(data: bytes | memoryview, buffers: Sequence[Any]) -> Any:
    """Returns the object that `to_bytes` was given; its arrays lie in the buffers, writable if these are."""
    return _from_plain(marshal.loads(data), iter(buffers))  # noqa: S302 - from a process of our own


def _to_plain(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind in _NUMBER:
        return (_NUMBER[kind], *[_to_plain(getattr(value, name), arrays) for name in _FIELDS[kind]])
    if kind is View:
        return _VIEW, value.value
    if kind is tuple:
        return (_TUPLE, *[_to_plain(one, arrays) for one in value])
    if kind is np.ndarray and value.dtype.kind in "uif" and value.size:
        arrays.append(np.ascontiguousarray(value))
        return _ARRAY, value.dtype.str, value.shape
    raise TypeError(f"expected plain values and arrays, got {kind.__name__}")


def _from_plain(plain: Any, buffers: Any) -> Any:
    if type(plain) is not tuple:
        return plain
    what, *rest = plain
    if what < len(_CLASSES):
        return _CLASSES[what](*[_from_plain(one, buffers) for one in rest])
    if what == _ARRAY:
        form, shape = rest
        return np.frombuffer(next(buffers), form).reshape(shape)
    if what == _VIEW:
        return View(rest[0])
    if what == _TUPLE:
        return tuple(_from_plain(one, buffers) for one in rest)
    return pickle.loads(rest[0])  # noqa: S301 - from a process of our own
