"""Reads files by reference: loose, or members of archives that stay open during a task.

A `FileRef` gives the place of a file's bytes, a URI and for a member of an archive its name, and can be stored as text.
"""

import json
import threading
import zipfile
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from time import perf_counter
from typing import Self

from comit_ray.errors import (
    BrokenArchiveError,
    DecodeError,
    ManifestError,
    NotFoundError,
    Reason,
    ShortReadError,
    StorageError,
)
from comit_ray.storage import storage, web
from comit_ray.storage.archive import (
    ArchiveKind,
    absent,
    archive_kind,
    is_streamed,
    open_zip,
    read_tar_member,
    read_zip_member,
)
from comit_ray.storage.tar_stream import TarStream


@dataclass(frozen=True, slots=True)
class FileRef:
    """A reference to one file: a loose file, or a member of an archive.

    Attributes:
        uri: URI of the file, or of the archive that holds it.
        member: name inside the archive; None for a loose file.
        offset: byte offset of the member's header; only in an uncompressed tar.
    """

    uri: str
    member: str | None = None
    offset: int | None = None

    def to_text(self) -> str:
        """Returns the reference as text: the URI of a loose file, or JSON `{"uri": ..., "member": ...}` of a member."""
        if self.member is None:
            return self.uri
        fields = {"uri": self.uri, "member": self.member}
        if self.offset is not None:
            return json.dumps(fields | {"offset": self.offset})
        return json.dumps(fields)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parses the text that `to_text` wrote.

        Raises:
            ManifestError: the text is JSON of another form.
        """
        if not text.startswith("{"):
            return cls(text)
        try:
            fields = json.loads(text)
            uri, member, offset = fields["uri"], fields["member"], fields.get("offset")
            if not isinstance(uri, str) or not isinstance(member, str):
                raise TypeError("uri and member must be text")
            return cls(uri, member, None if offset is None else int(offset))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ManifestError(f"expected a URI or {{'uri': ..., 'member': ...}}, got {text[:200]}") from error

    def __str__(self) -> str:
        return self.uri if self.member is None else f"{self.uri}!{self.member}"


_OF_BYTES = frozenset({Reason.CORRUPT, Reason.TRUNCATED, Reason.MISSING})
_LOOKS = 100
"""Most second reads per zip, since each reads the zip's directory again."""


class FileReader:
    """Reads files for the threads of one task. It opens an archive at its first member and closes it at the end.

    Args:
        max_bytes: largest size of a file. Of a larger file one byte more is read, so that the caller notices.
        wanted: the files that will be read, in about this order. A tar.gz is read once for all files that are announced
            here; each other file costs a pass of its own.

    Attributes:
        seconds: time that all threads spent reading.
        size: number of bytes read.
    """

    def __init__(self, max_bytes: int, wanted: Iterable[FileRef] = ()) -> None:
        self.seconds, self.size = 0.0, 0
        self._max_bytes = max_bytes
        self._wanted: dict[str, list[str]] = {}
        for ref in wanted:
            if ref.member is not None and is_streamed(ref.uri):
                self._wanted.setdefault(ref.uri, []).append(ref.member)
        self._zips: dict[str, zipfile.ZipFile] = {}
        self._looked: Counter[str] = Counter()
        self._tars: dict[str, TarStream] = {}
        self._lock = threading.Lock()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def read(self, ref: FileRef, at_most: int | None = None) -> bytes:
        """Returns the bytes of a file, at most `at_most`, or `max_bytes` + 1.

        Raises:
            DecodeError: `missing`, `unreadable` or `storage_...` for errors of the storage; for a member also
                `truncated` and `corrupt`. A file counts as missing only if the storage does not list it, and another
                file is visible beside it.
        """
        began = perf_counter()
        try:
            data = self._read(ref, self._max_bytes + 1 if at_most is None else at_most)
            with self._lock:
                self.size += len(data)
            return data if at_most is None else data[:at_most]
        except NotFoundError:
            what = "file" if ref.member is None else "archive"
            if not web.is_web(ref.uri) and storage.is_listed(ref.uri):
                raise DecodeError(
                    Reason.STORAGE_ABSENT,
                    f"the storage said that there is no {what}, and lists it: the next run looks again",
                ) from None
            # A PACS that lacks the instance has answered; a file system that shows nothing at all may be unavailable.
            if web.is_web(ref.uri) or storage.has_sibling(ref.uri):
                raise DecodeError(Reason.MISSING, f"no {what} where the manifest says") from None
            raise DecodeError(
                Reason.STORAGE_ABSENT,
                f"no {what} where the manifest says, nor any other beside it: is the storage there? The next run looks "
                "again",
            ) from None
        except ShortReadError:
            raise DecodeError(Reason.STORAGE_CUT, "the storage gave fewer bytes than the file has") from None
        except BrokenArchiveError:
            raise DecodeError(Reason.CORRUPT, "the archive is damaged, or none") from None
        except StorageError as error:
            cause = type(error.__cause__ or error).__name__
            raise DecodeError(Reason.UNREADABLE, f"the storage refused the file: {cause}") from error
        finally:
            with self._lock:
                self.seconds += perf_counter() - began

    def verify_archive(self, uri: str, checksum: str | None) -> DecodeError | None:
        """Returns what is wrong with the tar.gz at `uri`, which was read from, or None; see `TarStream.verify`.

        An archive with another checksum, or with damage, is read once more. If it is whole then, unknown bytes changed
        on the way, and the reason is `storage_changed`.
        """
        stream = self._tars.get(uri)
        try:
            problem = stream.verify(checksum) if stream is not None else None
            if stream is None or (problem is None and not stream.damaged):
                return None
            with TarStream(uri, (), self._max_bytes) as again:
                if again.verify(checksum) is None and not again.damaged:
                    return DecodeError(
                        Reason.STORAGE_CHANGED, "two reads of the archive gave different bytes, and the second is whole"
                    )
            return problem
        except StorageError as error:
            return DecodeError(Reason.UNREADABLE, f"the archive could not be read to its end: {type(error).__name__}")

    def close_archive(self, uri: str) -> None:
        """Closes a tar.gz that no later read needs."""
        with self._lock:
            stream = self._tars.pop(uri, None)
        if stream is not None:
            stream.close()

    def _read(self, ref: FileRef, limit: int) -> bytes:
        if ref.member is None:
            return storage.read_bytes(ref.uri, at_most=limit)
        kind = archive_kind(ref.uri)
        if kind is ArchiveKind.ZIP:
            return self._read_zip(ref.uri, ref.member, limit)
        if kind is ArchiveKind.TAR and ref.offset is not None:
            return read_tar_member(ref.uri, ref.member, ref.offset, limit)
        if is_streamed(ref.uri):
            return self._tar(ref.uri).read(ref.member)
        raise absent()

    def _read_zip(self, uri: str, member: str, limit: int) -> bytes:
        """Reads a member of a zip; after a failure it opens the zip anew, as an open zip keeps what it has read."""
        try:
            return read_zip_member(self._zip(uri), member, limit)
        except DecodeError as error:
            with self._lock:
                self._looked[uri] += 1
                if error.reason not in _OF_BYTES or self._looked[uri] > _LOOKS:
                    raise
        with open_zip(uri) as again:
            data = read_zip_member(again, member, limit)
        with self._lock:
            self._zips.pop(uri, None)  # it holds other bytes than the storage
        return data

    def _zip(self, uri: str) -> zipfile.ZipFile:
        with self._lock:
            if uri not in self._zips:
                self._zips[uri] = self._open.enter_context(open_zip(uri))
            return self._zips[uri]

    def _tar(self, uri: str) -> TarStream:
        with self._lock:
            if uri not in self._tars:
                stream = TarStream(uri, self._wanted.get(uri, ()), self._max_bytes)
                self._open.callback(stream.close)
                self._tars[uri] = stream
            return self._tars[uri]
