"""Training frames in memory-mapped files, for more frames than the memory of a node holds.

The tasks that decode the frames write them once, as Arrow IPC files of about 64 MB under the run (Arrow's column
format, not compressed). Workers map these files: a page is read from disk on demand, and the operating system keeps the
pages that it has room for. Files of a run in S3 are first copied to a disk of each node, by one of its workers. Order
and bytes are the same as for frames in memory (`comit_ray.prepare.frames.FrameStore`).
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
"""Directory of the files under a run."""
FILE_BYTES = 64 * 2**20
"""Approximate bytes of pixels in a file."""
ACCOUNT_COLUMNS = ("image_id", "split", "left_out", "failed", "covid")
"""Columns of each row that are returned to the driver."""
COPY_THREADS = 4


def rows_a_file(size: int) -> int:
    """Returns the number of frames in a file.

    Args:
        size: side of a frame in pixels.
    """
    return max(64, FILE_BYTES // (size * size))


def write_frames(frames: pa.Table, folder: str) -> Iterator[pa.Table]:
    """Writes rows of `comit_ray.prepare.frames.FRAMES` as one file.

    Args:
        frames: the rows.
        folder: URI of the directory. A file's name is a hash of its bytes, so a repeated task replaces its own file.

    Yields:
        One table with the `ACCOUNT_COLUMNS` of the rows and the file's name.

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
    """The files with the frames of a training.

    Attributes:
        folder: URI of the directory to which they were written.
        names: names of the files.
        directory: local directory of every node to which they are copied first. None: files of a local directory are
            mapped in place, and files in S3 are copied to the directory for temporary files (`TMPDIR`).
    """

    folder: str
    names: tuple[str, ...]
    directory: str | None = None

    @property
    def copy(self) -> Path | None:
        """Directory of a node's copy; None if it needs none."""
        if self.directory is None and not storage.is_remote(self.folder):
            return None
        mine = hashlib.sha256(self.folder.encode()).hexdigest()[:16]
        return Path(self.directory or tempfile.gettempdir()) / f"comit-ray-frames-{mine}"

    def remove_copy(self) -> None:
        """Deletes this node's copy, if it has one; open maps of it stay valid."""
        if self.copy is not None:
            shutil.rmtree(self.copy, ignore_errors=True)


def mapped(files: MappedFiles) -> list[pa.Table]:
    """Returns the rows of all files, in mapped memory.

    Raises:
        StorageError: a file cannot be read or copied.
    """
    local = files.copy
    if local is None:
        local = Path(storage.filesystem(files.folder)[1])
    else:
        _copy(files, local)
    try:
        # A map stays open as long as a table uses a part of it.
        return [pa.ipc.open_file(pa.memory_map(str(local / name))).read_all() for name in files.names]
    except (OSError, pa.ArrowException) as error:
        raise StorageError(f"cannot map the frames in {local}: {error}") from error


def _copy(files: MappedFiles, local: Path) -> None:
    """Copies the files; the first process of a node does it, and the others wait for it."""
    local.mkdir(parents=True, exist_ok=True)

    def copy(name: str) -> None:
        if (local / name).exists():
            return
        content = storage.read_bytes(storage.join(files.folder, name))
        if hashlib.sha256(content).hexdigest() not in name:
            raise StorageError(
                f"{storage.join(files.folder, name)} is damaged: its SHA-256 differs from the one in its name. Run the "
                "training again with --resume true, which writes the file again"
            )
        made = (local / name).with_suffix(".part")
        made.write_bytes(content)
        os.replace(made, local / name)

    with _locked(local / "lock"), ThreadPoolExecutor(COPY_THREADS) as pool:
        for _ in map_ahead(pool, copy, files.names, COPY_THREADS):
            pass


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lets one process of this machine enter at a time; the end of a process releases its lock."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remove(folder: str) -> None:
    """Deletes the files under the URI `folder`; does nothing if the directory does not exist.

    Raises:
        StorageError: a file cannot be deleted.
    """
    if storage.exists(folder):
        for entry in list(storage.list_files(folder, ".arrow")):
            storage.delete(storage.join(folder, entry.path))
