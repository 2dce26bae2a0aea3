"""Lists and reads members of tar and zip archives in place, without unpacking them.

A zip has a directory at its end, and an uncompressed tar has its members at known offsets: both allow random access. A
compressed tar (gzip, bzip2, xz) can only be read from its beginning: `comit_ray.storage.tar_stream` reads it once.
"""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO, Self, cast

from comit_ray.errors import BrokenArchiveError, DecodeError, Reason
from comit_ray.storage import storage
from comit_ray.storage.raw_file import STREAM_BUFFER

BROKEN = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError)
"""Errors of the libraries for a damaged tar, compressed or not; the storage's own errors are `StorageError`."""

Compressed = gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile

_BROKEN_ZIP = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError),
    *(UnicodeDecodeError, NotImplementedError, RuntimeError, ValueError, OverflowError),
)
"""Errors of `zipfile` for damaged or unusual bytes; found by mutating archives."""


_NO_GZIP = "Not a gzipped file"
_ENCRYPTED, _UTF_8 = 0x1, 0x800
"""Bits of a zip entry's flags (APPNOTE 4.4.4)."""
_ZIP_MEMBER = b"PK\3\4"
"""First bytes of the header of a zip's member (APPNOTE 4.3.7)."""


class ArchiveKind(StrEnum):
    """The kind of an archive, which decides how its members can be reached."""

    TAR = "tar"
    TAR_GZ = "tar.gz"
    TAR_BZ2 = "tar.bz2"
    TAR_XZ = "tar.xz"
    ZIP = "zip"

    @property
    def streamed(self) -> bool:
        """Whether the archive can only be read from its beginning."""
        return self in (ArchiveKind.TAR_GZ, ArchiveKind.TAR_BZ2, ArchiveKind.TAR_XZ)


_SUFFIXES = {
    ".tar.gz": ArchiveKind.TAR_GZ,
    ".tgz": ArchiveKind.TAR_GZ,
    ".tar.bz2": ArchiveKind.TAR_BZ2,
    ".tbz2": ArchiveKind.TAR_BZ2,
    ".tbz": ArchiveKind.TAR_BZ2,
    ".tar.xz": ArchiveKind.TAR_XZ,
    ".txz": ArchiveKind.TAR_XZ,
    ".tar": ArchiveKind.TAR,
    ".zip": ArchiveKind.ZIP,
}


@dataclass(frozen=True, slots=True)
class Member:
    """One regular file inside an archive.

    Attributes:
        name: name as stored in the archive.
        size: uncompressed size in bytes.
        offset: byte offset of its first header in an uncompressed tar; None in other archives.
        link: whether it is a link to another member; links are not followed.
        encrypted: whether reading it needs a password.
        device: whether it is a pipe or a device, which holds no bytes.
        tag: differs where the bytes differ: the CRC of a zip entry, or the time of change in a tar header.
    """

    name: str
    size: int
    offset: int | None = None
    link: bool = False
    encrypted: bool = False
    device: bool = False
    tag: str | None = None


def archive_kind(path: str) -> ArchiveKind | None:
    """Returns the kind of archive, judged by the file name; None for other files."""
    lower = path.lower()
    return next((kind for suffix, kind in _SUFFIXES.items() if lower.endswith(suffix)), None)


def is_streamed(path: str) -> bool:
    """Whether the file name belongs to an archive that can only be read from its beginning."""
    kind = archive_kind(path)
    return kind is not None and kind.streamed


def list_members(uri: str) -> Iterator[Member]:
    """Lists the files and links of an archive in their order. A compressed tar is decompressed completely for this.

    Raises:
        NotFoundError: there is no archive at this place.
        BrokenArchiveError: the file is not an archive, is damaged, or ends early. Members before the damage were
            yielded.
        StorageError: the storage does not answer.
    """
    kind = archive_kind(uri)
    assert kind is not None, uri
    try:
        if kind is ArchiveKind.ZIP:
            with open_zip(uri) as archive:
                for entry in archive.infolist():
                    if not entry.is_dir():
                        locked = bool(entry.flag_bits & _ENCRYPTED)
                        yield Member(_zip_name(entry), entry.file_size, encrypted=locked, tag=f"crc {entry.CRC:08x}")
                if _follows_another(archive):
                    raise BrokenArchiveError(
                        f"cannot read the archive {uri} to its end: it begins with another zip, whose members are lost"
                    )
        elif kind is ArchiveKind.TAR:
            with storage.open_file(uri) as stream:
                for info, _ in walk(stream, "r:", devices=True):
                    yield _tar_member(info, info.offset)
        else:
            with storage.open_stream(uri) as raw, decompressed(raw, kind) as stream:
                for info, _ in walk(cast(BinaryIO, AtOnce(stream)), "r|", devices=True):
                    yield _tar_member(info, None)
                to_the_end(stream)
    except BROKEN as error:
        text = f"cannot read the archive {uri} to its end: {type(error).__name__}: {error}"
        raise BrokenArchiveError(text) from error


def _tar_member(info: tarfile.TarInfo, offset: int | None) -> Member:
    link = info.islnk() or info.issym()
    return Member(info.name, info.size, offset, link, device=info.isdev(), tag=f"mtime {info.mtime}")


def _follows_another(archive: zipfile.ZipFile) -> bool:
    """Whether a second zip stands before the first member in the directory at the end (`cat a.zip b.zip`)."""
    first = min((entry.header_offset for entry in archive.infolist()), default=0)
    if not first or archive.fp is None:
        return False
    archive.fp.seek(0)
    return archive.fp.read(len(_ZIP_MEMBER)) == _ZIP_MEMBER  # a self-extracting program begins differently


@contextmanager
def open_zip(uri: str) -> Iterator[zipfile.ZipFile]:
    """Opens a zip archive that several threads may read.

    Raises:
        NotFoundError: there is no archive at this place.
        BrokenArchiveError: the file is not a zip, or its directory is damaged.
    """
    with storage.open_file(uri) as stream:
        try:
            archive = zipfile.ZipFile(stream)
        except _BROKEN_ZIP as error:
            text = f"cannot read the archive {uri} to its end: {type(error).__name__}: {error}"
            raise BrokenArchiveError(text) from error
        with archive:
            yield archive


def read_zip_member(archive: zipfile.ZipFile, name: str, at_most: int) -> bytes:
    """Reads at most `at_most` bytes of a member of a zip.

    Raises:
        DecodeError: MISSING, TRUNCATED, CORRUPT (the CRC differs), ENCRYPTED, or UNREADABLE (unknown compression).
    """
    try:
        with archive.open(_stored_name(archive, name)) as member:
            return member.read(at_most)
    except KeyError:
        raise absent() from None
    except EOFError:
        raise DecodeError(Reason.TRUNCATED, "the zip archive ends inside the member") from None
    except (RuntimeError, NotImplementedError):
        info = archive.NameToInfo[_stored_name(archive, name)]
        if info.flag_bits & _ENCRYPTED:
            raise DecodeError(Reason.ENCRYPTED, "the zip's member is encrypted: unpack it with its password") from None
        raise DecodeError(
            Reason.UNREADABLE, f"the zip's member is compressed by method {info.compress_type}, which is not read"
        ) from None
    except _BROKEN_ZIP:
        raise DecodeError(Reason.CORRUPT, "the member's bytes do not fit the zip's checksum or directory") from None


def _zip_name(entry: zipfile.ZipInfo) -> str:
    """Returns the name of a zip's member; many writers store UTF-8 without a flag, which zipfile reads as cp437."""
    if entry.flag_bits & _UTF_8 or entry.filename.isascii():
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode()
    except UnicodeError:
        return entry.filename


def _stored_name(archive: zipfile.ZipFile, name: str) -> str:
    """Returns zipfile's key for the member that `_zip_name` gives this name."""
    if name in archive.NameToInfo or name.isascii():
        return name
    try:
        return name.encode().decode("cp437")
    except UnicodeError:
        return name


def read_tar_member(uri: str, name: str, offset: int, at_most: int) -> bytes:
    """Reads at most `at_most` bytes of the member whose header begins at `offset` of an uncompressed tar.

    Raises:
        DecodeError: MISSING if this member does not begin there (the archive has changed); TRUNCATED.
        StorageError: the archive cannot be opened or read.
    """
    with storage.open_file(uri) as stream:
        try:
            stream.seek(offset)
            with tarfile.open(fileobj=stream, mode="r:", tarinfo=_Header) as tar:
                info = tar.next()
                body = tar.extractfile(info) if info is not None and info.name == name else None
                if info is None or body is None:
                    raise tarfile.ReadError("another member")
                wanted = min(info.size, at_most)
                data = body.read(wanted)
        except EOFError:
            data, wanted = b"", 1
        except tarfile.TarError as error:
            if "unexpected end" in str(error):
                raise DecodeError(Reason.TRUNCATED, "the tar ends inside the member") from None
            raise DecodeError(
                Reason.MISSING, "the tar has no member of this name where the manifest says: write the manifest again"
            ) from None
    if len(data) < wanted:
        raise DecodeError(Reason.TRUNCATED, "the tar ends inside the member")
    return data


def walk(stream: BinaryIO, mode: str, *, devices: bool = False) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    """Yields the headers of the files and links of a tar that begins at the position of `stream`, with the open tar.

    Tars that were joined (`cat a.tar b.tar`) are read as one. Other bytes after the end count as damage.

    Args:
        stream: uncompressed bytes.
        mode: `r:` for a stream that can seek, `r|` for one that cannot.
        devices: whether to yield pipes and devices, too.

    Raises:
        EOFError: the stream ends inside a member or a header, or (`r:`) without an end mark.
        tarfile.TarError: something else stands where a header is expected.
    """
    with _Tar.open(  # type: ignore[call-overload]  # mode is a plain str
        fileobj=stream, mode=mode, tarinfo=_Header, bufsize=STREAM_BUFFER, ignore_zeros=True
    ) as tar:
        while (info := tar.next()) is not None:
            tar.members = []  # otherwise the tar would keep every header
            tar.end_mark = False
            if info.isreg() or info.islnk() or info.issym() or (devices and info.isdev()):
                yield info, tar
        if mode == "r:" and not tar.end_mark:
            raise EOFError("no mark of its end")


class _Tar(tarfile.TarFile):
    """A tar that records whether its end mark was read."""

    end_mark = False


class _Header(tarfile.TarInfo):
    """A header that raises if it is damaged; `tarfile` would take it for the archive's end."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> Self:  # the name in the base class shadows the module
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # not in the stubs
            if isinstance(tarfile_, _Tar):
                tarfile_.end_mark = True
            raise
        except tarfile.EmptyHeaderError:  # type: ignore[attr-defined]  # if gzip's own end is intact, so is the tar's
            raise
        except tarfile.TruncatedHeaderError as error:  # type: ignore[attr-defined]
            raise EOFError(str(error)) from None
        except tarfile.InvalidHeaderError as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"damaged header: {error}") from None


def decompressed(raw: BinaryIO, kind: ArchiveKind) -> Compressed:
    """Returns the uncompressed bytes of a compressed tar; several compressed streams in a row are read as one."""
    if kind is ArchiveKind.TAR_BZ2:
        return bz2.BZ2File(raw)
    return lzma.LZMAFile(raw) if kind is ArchiveKind.TAR_XZ else gzip.GzipFile(fileobj=raw)


def to_the_end(stream: Compressed) -> None:
    """Reads on to the checksum at the end; padding after the last compressed stream does not count as damage."""
    try:
        while stream.read(STREAM_BUFFER):
            pass
    except gzip.BadGzipFile as error:
        if not str(error).startswith(_NO_GZIP):
            raise


class AtOnce(io.RawIOBase):
    """A compressed stream that yields the bytes it has before it reports that the rest is damaged."""

    def __init__(self, stream: Compressed) -> None:
        self._stream = stream
        self._begun = False

    def read(self, size: int = -1, /) -> bytes:
        """Returns at most `size` bytes; fewer if the next ones are not decompressed yet."""
        try:
            data = self._stream.read1(size)
        except gzip.BadGzipFile as error:
            if not (self._begun and str(error).startswith(_NO_GZIP)):
                raise
            return b""  # padding after the last gzip member
        self._begun = True
        return bytes(data)


def absent() -> DecodeError:
    """Returns the error for a member that does not exist."""
    return DecodeError(Reason.MISSING, "the archive has no member of this name")
