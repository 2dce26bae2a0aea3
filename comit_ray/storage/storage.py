"""Reads, lists and atomically writes files by URI (local path or `s3://bucket/key`).

The URL of an instance on a DICOMweb server (`comit_ray.storage.web`) can be read, and not used in any other way.

Credentials, region and endpoint of S3 come from the places that `comit_ray.storage.s3` names, never from the command
line or a URI.
"""

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from comit_ray.errors import ConfigError, NotFoundError, ShortReadError, StorageError
from comit_ray.storage import local_files, s3, s3_object, web
from comit_ray.storage.raw_file import SEEK_BUFFER, STREAM_BUFFER, RawFile


@dataclass(frozen=True)
class FileEntry:
    """One file below a listed root.

    Attributes:
        path: path relative to the root, with `/` as separator.
        size: size in bytes.
        passed: why the file is not read: `hidden`, `folder_marker`, or a reason of `comit_ray.storage.local_files`.
        tag: differs where the bytes differ: the ETag of an object, or `mtime` and nanoseconds of a local file.
    """

    path: str
    size: int
    passed: str | None = None
    tag: str | None = None


def normalise(uri: str | Path) -> str:
    """Returns the canonical form of a URI: absolute local path, `s3://` URI or DICOMweb URL, without a trailing slash.

    Raises:
        ConfigError: the URL contains a user or a password.
        StorageError: the scheme is not supported.
    """
    text = str(uri)
    scheme = urlsplit(text).scheme if "://" in text else ""
    if scheme == "s3":
        return text.rstrip("/")
    if web.is_web(text):
        return web.check_root(text)
    if scheme == "file":
        return os.path.abspath(urlsplit(text).path)
    if scheme:
        raise StorageError(f"expected a local path or an s3:// URI, got {text!r}")
    return os.path.abspath(os.path.expanduser(text))


def join(uri: str, *parts: str) -> str:
    """Joins `uri` and relative `parts` with single slashes."""
    return "/".join([uri.rstrip("/"), *(part.strip("/") for part in parts)])


def is_s3(uri: str) -> bool:
    """Whether `uri` lies in S3 or a compatible store."""
    return uri.startswith("s3://")


def is_remote(uri: str) -> bool:
    """Whether every node of a cluster can reach `uri` (S3, or a DICOMweb server)."""
    return is_s3(uri) or web.is_web(uri)


def refuse_inside(option: str, uri: str, outer: str, directory: str | None) -> None:
    """Refuses an output inside an input archive: the next run would read it as part of the archive.

    Args:
        option: the option that names the output, with its dashes.
        uri: the output.
        outer: the option that names the archive, with its dashes.
        directory: the archive; None if there is none.

    Raises:
        ConfigError: `uri` is the directory of the archive, or lies inside it.
    """
    if directory is None:
        return
    inside, around = (f"{normalise(one).rstrip('/')}/" for one in (uri, directory))
    if inside.startswith(around):
        raise ConfigError(
            f"{option} {uri} lies inside the archive ({outer} {directory}), and would be read as part of it the next "
            "time: give a directory beside it"
        )


def filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """Returns the pyarrow file system for `uri`, and the path within it."""
    uri = normalise(uri)
    web.refuse(uri)
    return (s3.filesystem(), uri.removeprefix("s3://")) if is_s3(uri) else (pafs.LocalFileSystem(), uri)


def exists(uri: str) -> bool:
    """Whether a file or a directory lies at `uri`."""
    fs, path = filesystem(uri)
    try:
        return bool(fs.get_file_info(path).type != pafs.FileType.NotFound)
    except OSError as error:
        raise StorageError(f"cannot look at {uri}: {error}") from error


def size(uri: str) -> int:
    """Returns the size in bytes of the file at `uri`.

    Raises:
        NotFoundError: there is no file.
    """
    fs, path = filesystem(uri)
    try:
        info = fs.get_file_info(path)
    except OSError as error:
        raise StorageError(f"cannot look at {uri}: {error}") from error
    if info.type != pafs.FileType.File:
        raise NotFoundError(f"no file at {uri}")
    return int(info.size)


def read_bytes(uri: str, at_most: int | None = None) -> bytes:
    """Reads all bytes of the file at `uri`, or the first `at_most`.

    Raises:
        NotFoundError: there is no file.
        ShortReadError: fewer bytes arrived than the file has.
        StorageError: the file cannot be read.
    """
    if web.is_web(uri):
        return web.read_instance(uri, at_most)
    if is_s3(uri):
        return s3_object.read(normalise(uri), at_most)
    fs, path = filesystem(uri)
    with _reading(uri), fs.open_input_file(path) as stream:
        expected = stream.size() if at_most is None else min(stream.size(), at_most)
        data = bytes(stream.read(at_most))
    if len(data) < expected:
        raise ShortReadError(f"cannot read {uri}: expected {expected:,} bytes, got {len(data):,}")
    return data


def has_sibling(uri: str) -> bool:
    """Whether the directory or prefix of `uri` can be listed and holds another file.

    Only then is an absent file known to be absent: an unmounted share leaves an empty directory, or none.
    """
    uri = normalise(uri)
    return s3.has_sibling(*s3.split(uri)) if is_s3(uri) else local_files.has_sibling(uri)


def is_listed(uri: str) -> bool:
    """Whether the storage lists a file that it did not return; such a file is not known to be absent."""
    uri = normalise(uri)
    return s3.is_listed(*s3.split(uri)) if is_s3(uri) else Path(uri).is_file()


@contextmanager
def _reading(uri: str) -> Iterator[None]:
    """Turns pyarrow's errors in reading a file into ours."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"no file at {uri}") from error
    except (OSError, pa.ArrowInvalid) as error:  # pyarrow cannot address a key with an empty part: a//b
        raise StorageError(f"cannot read {uri}: {error}") from error


def _s3_file(uri: str, buffer: int) -> BinaryIO:
    """Opens an object of S3 behind a buffer of `buffer` bytes, which one request fills."""
    found = s3_object.S3Object(normalise(uri))
    return io.BufferedReader(RawFile(found, uri, found.size()), buffer)


@contextmanager
def open_stream(uri: str) -> Iterator[BinaryIO]:
    """Opens the file at `uri` for reading from front to back, one buffer at a time.

    Raises:
        NotFoundError: there is no file.
        StorageError: the file cannot be opened or read.
    """
    if is_s3(uri):
        yield _s3_file(uri, STREAM_BUFFER)
        return
    fs, path = filesystem(uri)
    with _reading(uri):
        length = int(fs.get_file_info(path).size or 0)
        stream = fs.open_input_stream(path, compression=None, buffer_size=STREAM_BUFFER)
    with stream:
        yield io.BufferedReader(RawFile(stream, uri, length), STREAM_BUFFER)


@contextmanager
def open_file(uri: str) -> Iterator[BinaryIO]:
    """Opens the file at `uri` for reading at any position. From object storage a request fetches `SEEK_BUFFER` bytes.

    Raises:
        NotFoundError: there is no file.
        StorageError: the file cannot be opened or read.
    """
    if is_s3(uri):
        yield _s3_file(uri, SEEK_BUFFER)
        return
    fs, path = filesystem(uri)
    with _reading(uri):
        opened = fs.open_input_file(path)
    with opened:
        yield io.BufferedReader(RawFile(opened, uri, int(opened.size())), SEEK_BUFFER)


def list_files(uri: str, suffix: str = "", *, passed_over: bool = False) -> Iterator[FileEntry]:
    """Yields every file below `uri`, recursively, in byte order of the paths, while the listing goes on.

    Hidden names (with a leading dot) and entries that are no files are left out. With `passed_over` they are yielded
    with their reason. Empty folder markers of S3 are never files. Memory holds one directory, or one page of keys, at a
    time.

    Raises:
        NotFoundError: `uri` is neither a directory nor a prefix.
        StorageError: it cannot be listed.
    """
    uri = normalise(uri)
    web.refuse(uri)
    entries = _list_s3(uri) if is_s3(uri) else _list_local(uri)
    for entry in entries:
        if not entry.path.endswith(suffix):
            continue
        hidden = any(part.startswith(".") and part not in (".", "..") for part in entry.path.split("/"))
        if hidden and entry.passed is None:
            entry = FileEntry(entry.path, entry.size, "hidden", entry.tag)
        if passed_over or entry.passed is None:
            yield entry


def _list_s3(uri: str) -> Iterator[FileEntry]:
    bucket, key = s3.split(uri)
    prefix = f"{key}/" if key else ""
    empty = True
    try:
        for name, length, tag in s3.list_keys(bucket, prefix):
            empty = False
            marker = name.endswith("/")
            if length or not marker:
                yield FileEntry(name.removeprefix(prefix), length, "folder_marker" if marker else None, tag)
    except s3.errors() as error:
        if s3.error_code(error) == "NoSuchBucket":
            raise NotFoundError(f"no bucket at {uri}") from error
        raise StorageError(f"cannot list {uri}: {error}") from error
    if empty and prefix:
        raise NotFoundError(f"no directory at {uri}")


def _list_local(root: str) -> Iterator[FileEntry]:
    if not os.path.isdir(root):
        if os.path.isfile(root):
            raise NotFoundError(f"{root} is a file: expected a directory, such as the one that it lies in")
        raise NotFoundError(f"no directory at {root}")
    try:
        for path, length, passed, tag in local_files.walk_local(root):
            yield FileEntry(path, length, passed, tag)
    except OSError as error:
        raise StorageError(f"cannot list {root}: {error}") from error


def write_bytes(uri: str, data: bytes) -> None:
    """Writes `data` to `uri` atomically: a reader sees all of it or nothing.

    Local: a temporary name in the same directory, then a rename. S3: one PUT (a broken stream leaves no object).
    """
    uri = normalise(uri)
    web.refuse(uri)
    if is_s3(uri):
        bucket, key = s3.split(uri)
        try:
            s3.put(bucket, key, data)
        except s3.errors() as error:
            raise StorageError(f"cannot write {uri}: {error}") from error
        return
    with local_files.beside(Path(uri), data) as temporary:
        temporary.replace(uri)


def write_file(uri: str, path: str) -> None:
    """Puts the local file `path` at `uri`, as `write_bytes` does; on a local disk without holding it in memory."""
    uri = normalise(uri)
    web.refuse(uri)
    if is_s3(uri):
        write_bytes(uri, Path(path).read_bytes())
        return
    with local_files.beside(Path(uri), b"") as temporary:
        try:
            shutil.copyfile(path, temporary)
            temporary.replace(uri)
        except OSError as error:
            raise StorageError(f"cannot write {uri}: {error}") from error


def create(uri: str, data: bytes) -> bool:
    """Writes `data` to `uri` unless something exists there, and returns whether it did.

    Only one of several writers succeeds. Local: an exclusive hard link to a complete file. S3: a PUT with
    `If-None-Match: *`.

    Raises:
        StorageError: the file cannot be written.
    """
    uri = normalise(uri)
    web.refuse(uri)
    if is_s3(uri):
        bucket, key = s3.split(uri)
        try:
            s3.put(bucket, key, data, IfNoneMatch="*")
        except s3.errors() as error:
            if s3.error_code(error) in ("PreconditionFailed", "ConditionalRequestConflict"):
                return False
            raise StorageError(f"cannot write {uri}: {error}") from error
        return True
    with local_files.beside(Path(uri), data) as temporary:
        try:
            Path(uri).hardlink_to(temporary)
        except FileExistsError:
            return False
    return True


def delete(uri: str) -> None:
    """Removes the file at `uri`; it is no error if there is none."""
    fs, path = filesystem(uri)
    try:
        fs.delete_file(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"cannot delete {uri}: {error}") from error
