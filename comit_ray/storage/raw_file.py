"""Puts a file of pyarrow or an object of S3 behind Python's buffered readers; storage errors stay visible."""

import io
from typing import Any

import pyarrow as pa

from comit_ray.errors import ShortReadError, StorageError
from comit_ray.storage.s3_object import S3Object

STREAM_BUFFER = 2**20  # bytes per request: about a thousand requests per GB of object storage
SEEK_BUFFER = 2**17


class RawFile(io.RawIOBase):
    """A pyarrow file as a raw stream under Python's buffered readers, which pyarrow's own reads do not use."""

    def __init__(self, file: pa.NativeFile | S3Object, uri: str, length: int) -> None:
        self._file = file
        self._uri = uri
        self._length, self._at = length, 0

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns whether the underlying file is seekable."""
        return bool(self._file.seekable())

    def readinto(self, buffer: Any, /) -> int:
        """Reads into `buffer` and returns the number of bytes; raises ShortReadError if the file ends too early."""
        try:
            count = int(self._file.readinto(buffer))
            self._at += count
            if not count and len(buffer) and self._at < self._length:
                raise ShortReadError(
                    f"cannot read {self._uri}: expected {self._length:,} bytes, it ended after {self._at:,}"
                )
            return count
        except OSError as error:  # not to be mistaken for damage of the content
            raise StorageError(f"cannot read {self._uri}: {error}") from error

    def readall(self) -> bytes:
        """Reads to the end, `STREAM_BUFFER` bytes at a time; Python's own asks for 8 kB, a request each in S3."""
        parts = []
        while part := self.read(STREAM_BUFFER):
            parts.append(part)
        return b"".join(parts)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Moves to a position and returns it."""
        try:
            self._at = int(self._file.seek(offset, whence))
            return self._at
        except pa.ArrowInvalid as error:  # a position before the beginning: Python's files raise OSError
            raise OSError(str(error)) from None

    def tell(self) -> int:
        """Returns the position in the file, in bytes."""
        return int(self._file.tell())
