"""Handles local files: walks directories in a stable order, and writes files and directories atomically."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from comit_ray.errors import StorageError

NOT_A_FILE, BROKEN_LINK, LINK_ABOVE, UNREADABLE = "not_a_file", "broken_link", "link_above", "unreadable_directory"
"""Reasons: pipes, sockets and devices; links that lead nowhere or to themselves; links to a directory that contains the
link; directories without permission."""
Found = tuple[str, int, str | None, str | None]
"""Path relative to the root, size in bytes, reason why it is not read (None: it is a file), and tag."""


def walk_local(root: str) -> Iterator[Found]:
    """Yields everything below `root` except directories, in byte order of the paths.

    Links are followed, unless a link leads to a directory that contains it. Memory holds one directory at a time.

    Raises:
        OSError: a directory cannot be listed, for a reason other than missing permission.
    """
    yield from _walk(root, "", (_identity(os.stat(root)),))


def _walk(directory: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[Found]:
    try:
        with os.scandir(directory) as found:
            entries = [(entry, _is(entry.is_dir, entry)) for entry in found]
    except PermissionError:
        if not prefix:
            raise
        yield prefix, 0, UNREADABLE, None
        return
    # "/" after a directory's name gives the order of whole paths
    entries.sort(key=lambda pair: f"{pair[0].name}/" if pair[1] else pair[0].name)
    for entry, is_directory in entries:
        path = f"{prefix}{entry.name}"
        if is_directory:
            identity = _identity(entry.stat())
            if identity in above:
                yield path, 0, LINK_ABOVE, None
            else:
                yield from _walk(entry.path, f"{path}/", (*above, identity))
        elif _is(entry.is_file, entry):
            try:
                there = entry.stat()
            except FileNotFoundError:  # another process's temporary file, which was renamed meanwhile
                continue
            yield path, there.st_size, None, f"mtime {there.st_mtime_ns}"
        else:
            broken = entry.is_symlink() and not _leads_somewhere(entry)
            yield path, 0, BROKEN_LINK if broken else NOT_A_FILE, None


def _is(question: Callable[[], bool], entry: os.DirEntry[str]) -> bool:
    try:
        return question()
    except OSError:
        if entry.is_symlink():  # a link to itself, or through a directory without permission
            return False
        raise


def _leads_somewhere(entry: os.DirEntry[str]) -> bool:
    try:
        return os.path.exists(entry.path)
    except OSError:
        return False


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def has_sibling(path: str) -> bool:
    """Whether the directory of `path` can be listed and contains another file."""
    directory, _, name = path.rpartition("/")
    try:
        with os.scandir(directory) as entries:
            return any(entry.name != name and entry.is_file() for entry in entries)
    except OSError:
        return False


def settle_directory(directory: Path) -> None:
    """Makes a new name in a directory survive a power loss, on file systems that can do this."""
    try:
        handle = os.open(directory, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:  # some network file systems do not support this for directories
        return
    finally:
        os.close(handle)


@contextmanager
def beside(path: Path, data: bytes) -> Iterator[Path]:
    """Writes `data` to a temporary file in the directory of `path`; the file is removed at the end of the block."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
            settle_directory(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error}") from error


@contextmanager
def replacing_directory(directory: str) -> Iterator[Path]:
    """Yields a new local directory that replaces `directory` at the end of the block, completely or not at all.

    If the new directory cannot take its place, the old one stays. S3 has no rename, so this works on local disks only.

    Args:
        directory: absolute path.

    Raises:
        StorageError: a file cannot be written, or the directory cannot be put in its place.
    """
    target = Path(directory)
    fresh, old = (target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.{kind}") for kind in ("tmp", "old"))
    try:
        fresh.mkdir(parents=True)
        yield fresh
        if target.exists():
            target.rename(old)
        try:
            fresh.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"cannot write the directory {directory}: {error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
