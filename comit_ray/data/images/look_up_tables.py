"""Reads DICOM look-up tables: the modality LUT and the VOI LUT (PS3.3 C.11.1.1 and C.11.2.1.1).

They are read from their bytes, because real tables differ from the standard: a descriptor of the wrong sign, 8-bit
entries in 8 or in 16 bits, more bits stated than the entries have. An ambiguous table is refused, never guessed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from comit_ray.errors import DecodeError, Reason

MAX_ENTRIES = 2**16
_BYTE = 8
_SIGN = 2**15


@dataclass(frozen=True)
class LookUpTable:
    """A table of at most 65,536 entries.

    Attributes:
        entries: int64 values, 0 to 65,535.
        first: input value of the first entry, as written, read as signed or as unsigned.
    """

    entries: NDArray[np.int64]
    first: int

    def apply(self, values: NDArray[np.float64], lowest: float, highest: float) -> NDArray[np.float64]:
        """Returns the entries for rounded `values`; the first entry below the table, the last above (PS3.3 C.11.2.1.1).

        Args:
            values: input values.
            lowest: lowest value that the image can have; both ends decide how the sign of `first` is read.
            highest: highest value that the image can have.
        """
        index = np.rint(values).astype(np.int64) - self._first_for(lowest, highest)
        return self.entries[np.clip(index, 0, len(self.entries) - 1)].astype(np.float64)

    def _first_for(self, lowest: float, highest: float) -> int:
        """Returns `first`, with the other sign if only then the table overlaps the values."""
        other = self.first - 2 * _SIGN if self.first >= _SIGN else self.first + 2 * _SIGN if self.first < 0 else None

        def reaches(first: int) -> bool:
            return first <= highest and first + len(self.entries) - 1 >= lowest

        return other if other is not None and not reaches(self.first) and reaches(other) else self.first


def read_look_up_table(elements: Dataset, keyword: str) -> LookUpTable | None:
    """Reads the first item of a sequence of look-up tables; returns None if there is none.

    Raises:
        DecodeError: CORRUPT if its LUTDescriptor or LUTData is absent, or they do not fit each other.
    """
    items = elements.get(keyword)
    if not items:
        return None
    item = items[0]
    descriptor = _words(item, "LUTDescriptor", keyword)
    if len(descriptor) != 3:
        raise _bad(keyword, f"a LUTDescriptor of 3 numbers, got {len(descriptor)}")
    count, first, bits = (int(value) for value in descriptor)
    count, bits = (count & 0xFFFF) or MAX_ENTRIES, bits & 0xFFFF
    if not 1 <= bits <= 16:
        raise _bad(keyword, f"1 to 16 bits an entry in LUTDescriptor, got {bits}")
    if _signed_descriptor(item) and first >= _SIGN:
        first -= 2 * _SIGN
    entries = _entries(item, keyword, count, bits)
    if entries.max() >= 2**bits:
        raise _bad(keyword, f"entries of {bits} bits in LUTData, as LUTDescriptor says, got {entries.max()}")
    return LookUpTable(entries, first)


def _entries(item: Dataset, keyword: str, count: int, bits: int) -> NDArray[np.int64]:
    words = _words(item, "LUTData", keyword) & 0xFFFF
    if len(words) >= count:
        return words[:count]
    if bits <= _BYTE and 2 * len(words) >= count:  # two entries in each word, the first in its low byte
        return np.stack([words & 0xFF, words >> _BYTE], axis=1).ravel()[:count]
    raise _bad(keyword, f"{count} entries in LUTData, as LUTDescriptor says, got {len(words)}")


def _words(item: Dataset, keyword: str, sequence: str) -> NDArray[np.int64]:
    """Returns the 16-bit numbers of an element, whatever type it states."""
    if keyword not in item:
        raise _bad(sequence, f"a {keyword}, got none")
    element = item.get_item(keyword)
    value = element.value
    if isinstance(value, bytes):
        little = getattr(element, "is_little_endian", item.original_encoding[1])
        order = "<" if little or little is None else ">"
        return np.frombuffer(value, f"{order}u2", count=len(value) // 2).astype(np.int64)
    values = [value] if isinstance(value, int) else value
    try:
        return np.array([int(one) for one in values or ()], np.int64)
    except (TypeError, ValueError):
        raise _bad(sequence, f"numbers in {keyword}, got none") from None


def _signed_descriptor(item: Dataset) -> bool:
    element = item.get_item("LUTDescriptor")
    return getattr(element, "VR", None) == "SS"


def _bad(keyword: str, what: str) -> DecodeError:
    return DecodeError(Reason.CORRUPT, f"expected in {keyword} {what}")
