"""Training frames in files that are mapped into memory: more of them than the memory of a node holds.

The tasks that decode the frames write them as Arrow IPC files of about 64 MB (Arrow's format of columns in memory, not
compressed), once, below the run. Workers map these files: a page is read from disk when it is asked for, and the
operating system keeps those that it has room for. Files of a run in S3 are first copied to a disk of each node, by one
of its workers. Order and bytes are those of frames in memory (`comit_ray.prepare.frames.FrameStore`).
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from comit_ray.errors import StorageError
from comit_ray.storage import storage
from comit_ray.storage.threads import map_ahead

FOLDER = "frames"
"""Directory of the files below a run."""
FILE_BYTES = 64 * 2**20
"""Bytes of pixels in a file, about."""
ACCOUNT_COLUMNS = ("image_id", "split", "left_out", "failed", "covid")
"""What of a row goes back to the driver."""
COPY_THREADS = 4


def rows_a_file(size: int) -> int:
    """Frames of one file.

    Args:
        size: side of a frame in pixels.
    """
    return max(64, FILE_BYTES // (size * size))


def write_frames(frames: pa.Table, folder: str) -> Iterator[pa.Table]:
    """Write rows of `comit_ray.prepare.frames.FRAMES` as one file; their `ACCOUNT_COLUMNS`, and the file's name.

    Args:
        frames: the rows.
        folder: URI of the directory. A file's name is a hash of its bytes: a task that is repeated replaces its file.

    Raises:
        StorageError: the file cannot be written.
    """
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, frames.schema) as file:
        file.write_table(frames.combine_chunks(), max_chunksize=max(1, frames.num_rows))
    content = sink.getvalue()
    name = f"frames-{hashlib.sha256(content).hexdigest()}.arrow"
    storage.write_bytes(storage.join(folder, name), content.to_pybytes())
    names = pa.array([name] * frames.num_rows, pa.string())
    yield frames.select(list(ACCOUNT_COLUMNS)).append_column("file", names)


@dataclass(frozen=True)
class MappedFiles:
    """Where the files of a training's frames are.

    Attributes:
        folder: URI of the directory that they were written to.
        names: of the files.
        directory: local directory of every node that they are copied to first. None: files of a local directory are
            mapped where they are, files in S3 are copied to the directory for temporary files (`TMPDIR`).
    """

    folder: str
    names: tuple[str, ...]
    directory: str | None = None

    @property
    def copy(self) -> Path | None:
        """Where a node has its copy; None: it needs none."""
        if self.directory is None and not storage.is_remote(self.folder):
            return None
        mine = hashlib.sha256(self.folder.encode()).hexdigest()[:16]
        return Path(self.directory or tempfile.gettempdir()) / f"comit-ray-frames-{mine}"

    def remove_copy(self) -> None:
        """Delete this node's copy, if it has one; maps of it stay valid until they are closed."""
        if self.copy is not None:
            shutil.rmtree(self.copy, ignore_errors=True)


def mapped(files: MappedFiles) -> list[pa.Table]:
    """The rows of all files, in memory that is mapped.

    Raises:
        StorageError: a file cannot be read or copied.
    """
    local = files.copy
    if local is None:
        local = Path(storage.filesystem(files.folder)[1])
    else:
        _copy(files, local)
    try:
        # A map stays open as long as a table has a part of it.
        return [pa.ipc.open_file(pa.memory_map(str(local / name))).read_all() for name in files.names]
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot map the frames in {local}: {error}") from error


def _copy(files: MappedFiles, local: Path) -> None:
    """Copy the files; the first process of a node that asks does it, the others wait for it."""
    local.mkdir(parents=True, exist_ok=True)

    def copy(name: str) -> None:
        if (local / name).exists():
            return
        content = storage.read_bytes(storage.join(files.folder, name))
        if hashlib.sha256(content).hexdigest() not in name:
            raise StorageError(
                f"{storage.join(files.folder, name)} is not what was written (its SHA-256 is not in its name): run the "
                "training again with --resume true, which writes it again"
            )
        made = (local / name).with_suffix(".part")
        made.write_bytes(content)
        os.replace(made, local / name)

    with _locked(local / "lock"), ThreadPoolExecutor(COPY_THREADS) as pool:
        for _ in map_ahead(pool, copy, files.names, COPY_THREADS):
            pass


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process of this machine at a time; a dead one lets go."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remove(folder: str) -> None:
    """Delete the files below the URI `folder`; a directory that is not there is nothing to delete.

    Raises:
        StorageError: a file cannot be deleted.
    """
    if storage.exists(folder):
        for entry in list(storage.list_files(folder, ".arrow")):
            storage.delete(storage.join(folder, entry.path))
