"""Reads objects of S3 in ranges, and compares the length of each answer with what the store said of the object.

pyarrow's own S3 files do not: where a proxy cuts a body and corrects its Content-Length, they return as many bytes as
were asked for, and the last of them are whatever was in memory (pyarrow 26, seen with `tests/benchmarks/faults`). A
format without a checksum, such as uncompressed DICOM, would then show wrong pixels.
"""

import re
from typing import Any

from comit_ray.errors import NotFoundError, ShortReadError, StorageError
from comit_ray.storage import s3

TRIES = 3
"""Requests for a range whose answer was cut or broke off; boto3 tries again only before the answer begins."""
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


def read(uri: str, at_most: int | None = None) -> bytes:
    """Reads a whole object, or its first `at_most` bytes, with one request.

    Raises:
        NotFoundError: there is no object.
        ShortReadError: fewer bytes arrived than the store said, `TRIES` times.
        StorageError: the store refuses.
    """
    if at_most == 0:
        return b""
    data = _get(uri, 0, None if at_most is None else at_most - 1)
    return data if at_most is None else data[:at_most]


class S3Object:
    """An open object; `comit_ray.storage.raw_file.RawFile` puts it behind Python's buffers.

    Args:
        uri: URI of the object.

    Raises:
        NotFoundError: there is no object.
        StorageError: the store refuses.
    """

    def __init__(self, uri: str) -> None:
        self.uri, self._at = uri, 0
        bucket, key = s3.split(uri)
        try:
            known = s3.client().head_object(Bucket=bucket, Key=key)
        except s3.errors() as error:
            raise _told(uri, error) from error
        self._size, self._tag = int(known["ContentLength"]), known.get("ETag")

    def size(self) -> int:
        """Returns the size of the object in bytes."""
        return self._size

    def seekable(self) -> bool:
        """Always true."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Moves to a place in bytes, counted from the beginning (0), from here (1) or from the end (2).

        Raises:
            OSError: the place lies before the beginning.
        """
        place = offset + (0, self._at, self._size)[whence]
        if place < 0:
            raise OSError(f"expected a place in {self.uri}, got {place}")
        self._at = place
        return place

    def tell(self) -> int:
        """Returns the place in bytes."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fills the buffer from the present place on, and returns the number of bytes; 0 at the end.

        Raises:
            ShortReadError: fewer bytes arrived than the object has there, `TRIES` times.
            StorageError: the store refuses, or the object was replaced since it was opened.
        """
        view = memoryview(buffer).cast("B")
        count = min(len(view), max(self._size - self._at, 0))
        if not count:
            return 0
        view[:count] = _get(self.uri, self._at, self._at + count - 1, self._tag)
        self._at += count
        return count


def _get(uri: str, first: int, last: int | None, tag: str | None = None) -> bytes:
    """Returns the bytes from `first` to `last` (inclusive, or to the end), all of them."""
    bucket, key = s3.split(uri)
    asked: dict[str, Any] = {"Bucket": bucket, "Key": key, "Range": f"bytes={first}-{'' if last is None else last}"}
    if tag is not None:
        asked["IfMatch"] = tag
    data, expected = b"", 0
    for left in reversed(range(TRIES)):
        try:
            answer = s3.client().get_object(**asked)
        except s3.errors() as error:
            if s3.error_code(error) in ("InvalidRange", "416"):  # an empty object has no first byte
                return b""
            raise _told(uri, error) from error
        try:
            data = answer["Body"].read()
        except s3.errors() as error:
            if not left:
                raise ShortReadError(f"cannot read {uri}: the answer broke off: {error}") from error
            continue
        range_of = _RANGE.fullmatch(answer.get("ContentRange", ""))
        if range_of is None:  # a store that knows no ranges sends the whole object
            return data[first:] if last is None else data[first : last + 1]
        # A proxy that cuts a body corrects its length, and leaves its range alone.
        expected = int(range_of[2]) - int(range_of[1]) + 1
        if len(data) >= expected:
            return data
    raise ShortReadError(f"cannot read {uri}: expected {expected:,} bytes from byte {first:,} on, got {len(data):,}")


def _told(uri: str, error: Exception) -> StorageError:
    code = s3.error_code(error)
    if code in ("NoSuchKey", "NoSuchBucket", "404"):
        return NotFoundError(f"no file at {uri}")
    if code in ("PreconditionFailed", "412"):
        return StorageError(f"cannot read {uri}: the object was replaced while it was read")
    return StorageError(f"cannot read {uri}: {error}")
