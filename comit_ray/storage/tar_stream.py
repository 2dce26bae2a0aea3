"""Reads a compressed tar once, from front to back."""

import gzip
import hashlib
import io
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import IO, BinaryIO, Self, cast

from comit_ray.errors import DecodeError, Reason, StorageError
from comit_ray.storage import storage
from comit_ray.storage.archive import BROKEN, AtOnce, absent, archive_kind, decompressed, to_the_end, walk
from comit_ray.storage.raw_file import STREAM_BUFFER

IN_MEMORY = 256 * 2**20
"""Most bytes of one archive's members that are kept in memory until they are requested."""


class TarStream:
    """A compressed tar for several threads that request members in about the order of the archive.

    A wanted member that is reached before its request is kept until then; a member that several images share is kept
    until its last request. A member that was not kept costs another pass over the archive.

    Args:
        uri: URI of the archive.
        wanted: names that will be requested, each as often as it will be.
        max_member: largest size in bytes. Of a larger member one byte more is read, so that the caller notices.

    Attributes:
        passes: number of passes over the archive.
    """

    def __init__(self, uri: str, wanted: Iterable[str], max_member: int) -> None:
        self.uri = uri
        self.passes = 0
        self._max_member = max_member
        self._to_come = Counter(list(wanted))  # remaining requests of each member
        self._held = _Held()
        self._seen: set[str] = set()
        self._damage: DecodeError | None = None  # once damage is known, no member after it is searched again
        self._crc_failed = False
        self._complete = False  # a pass has reached the end or the damage
        self._lock = threading.Lock()
        self._open = ExitStack()
        self._members: Iterator[tuple[str, bytes | None]] = iter(())
        self._hashing: _Hashing | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the archive and drops the members that were kept."""
        self._open.close()
        self._held.clear()

    @property
    def damaged(self) -> bool:
        """Whether a pass found damage or an early end."""
        return self._damage is not None

    def read(self, name: str) -> bytes:
        """Returns the bytes of a member, at most `max_member` + 1.

        Raises:
            DecodeError: MISSING if there is no such member; TRUNCATED or CORRUPT if the archive is damaged before it.
            StorageError: the archive cannot be opened.
        """
        with self._lock:
            data = self._held.get(name)
            if data is None and self.passes and name not in self._seen:
                try:
                    data = self._advance_to(name)
                except StorageError:  # read once more from the beginning; a second failure is raised
                    self._to_come[name] = max(self._to_come[name], 1)
                    self._rewind("sha1")
                    data = self._advance_to(name)
            if data is None and (name in self._seen or not self._complete):
                self._to_come[name] = max(self._to_come[name], 1)
                self._rewind("sha1")
                data = self._advance_to(name)
            if data is None:
                raise self._damage or absent()
            self._to_come[name] -= 1
            if self._to_come[name] > 0:
                self._held.put(name, data)
            else:
                self._held.drop(name)
            return data

    def verify(self, checksum: str | None) -> DecodeError | None:
        """Reads the rest of the archive and returns what is wrong with it as a whole, or None.

        An early end without a checksum to compare is not reported here: the members after the cut report it.

        Args:
            checksum: `algorithm:hex` digest of the archive; None: only gzip's own checksum.

        Raises:
            StorageError: the archive cannot be read.
        """
        algorithm, _, expected = (checksum or "sha1:").partition(":")
        if algorithm not in hashlib.algorithms_available:
            return DecodeError(Reason.CHECKSUM_MISMATCH, f"the checksum is of an unknown kind, {algorithm[:20]}")
        with self._lock:
            if self._hashing is None or self._hashing.algorithm != algorithm:
                self._rewind(algorithm)
            assert self._hashing is not None
            for name, _ in self._members:
                self._seen.add(name)
            self._hashing.drain()
            if expected and self._hashing.hexdigest() != expected.lower():
                return DecodeError(
                    Reason.CHECKSUM_MISMATCH, f"the archive's {algorithm} is not the one that its dataset states"
                )
            if self._crc_failed:
                return DecodeError(Reason.CHECKSUM_MISMATCH, "the archive's bytes do not fit gzip's own checksum")
            return None

    def _rewind(self, algorithm: str) -> None:
        self._open.close()
        self.passes += 1
        raw = self._open.enter_context(storage.open_stream(self.uri))
        self._hashing = _Hashing(raw, algorithm)
        self._members = self._pass(self._hashing)

    def _advance_to(self, name: str) -> bytes | None:
        for found, data in self._members:
            self._seen.add(found)
            if data is not None and found == name:
                return data
            if data is not None:
                self._held.put(found, data)
        return None

    def _pass(self, raw: "_Hashing") -> Iterator[tuple[str, bytes | None]]:
        """Yields the name of every member, with its bytes if it will still be requested."""
        try:
            kind = archive_kind(self.uri)
            assert kind is not None, self.uri
            with decompressed(cast(BinaryIO, raw), kind) as stream:
                for info, tar in walk(cast(BinaryIO, AtOnce(stream)), "r|"):
                    data = None
                    if info.isreg() and self._to_come[info.name] > 0 and info.name not in self._held:
                        body = tar.extractfile(info)
                        assert body is not None, info.name
                        data = body.read(min(info.size, self._max_member + 1))
                    yield info.name, data
                to_the_end(stream)
        except gzip.BadGzipFile:
            self._crc_failed = True
            self._damage = DecodeError(Reason.CORRUPT, "the archive is no gzip file, or damaged")
        except BROKEN as error:
            truncated = isinstance(error, EOFError) or "unexpected end" in str(error)
            reason = Reason.TRUNCATED if truncated else Reason.CORRUPT
            self._damage = DecodeError(reason, "the archive is damaged before this member's end")
        self._complete = True


class _Held:
    """Members that were read but not yet requested: in memory, and beyond `IN_MEMORY` in a temporary file.

    Little is kept if an archive stores images and the files that belong to them near each other; most is kept if all
    masks come after all images.
    """

    def __init__(self) -> None:
        self._memory: dict[str, bytes] = {}
        self._bytes = 0
        self._places: dict[str, tuple[int, int]] = {}
        self._file: IO[bytes] | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._memory or name in self._places

    def __len__(self) -> int:
        return len(self._memory) + len(self._places)

    def get(self, name: str) -> bytes | None:
        if name in self._places:
            assert self._file is not None, name
            start, length = self._places[name]
            self._file.seek(start)
            return self._file.read(length)
        return self._memory.get(name)

    def put(self, name: str, data: bytes) -> None:
        if name in self:
            return
        if self._bytes + len(data) <= IN_MEMORY:
            self._memory[name] = data
            self._bytes += len(data)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 closed by `clear`
        self._places[name] = self._file.seek(0, io.SEEK_END), len(data)
        self._file.write(data)

    def drop(self, name: str) -> None:
        self._bytes -= len(self._memory.pop(name, b""))
        if self._places.pop(name, None) and not self._places and self._file is not None:
            self._file.seek(0)
            self._file.truncate()

    def clear(self) -> None:
        self._memory.clear()
        self._places.clear()
        self._bytes = 0
        if self._file is not None:
            self._file.close()
            self._file = None


class _Hashing(io.RawIOBase):
    """A stream that hashes what is read from it."""

    def __init__(self, stream: BinaryIO, algorithm: str) -> None:
        self.algorithm = algorithm
        self._stream = stream
        self._digest = hashlib.new(algorithm, usedforsecurity=False)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._digest.update(data)
        return data

    def drain(self) -> None:
        while self.read(STREAM_BUFFER):
            pass

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
