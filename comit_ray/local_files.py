"""The files below a local directory, in the order in which object storage lists keys."""

import os
from collections.abc import Iterator


def walk(root: str) -> Iterator[tuple[str, int]]:
    """Relative path and size in bytes of every file below `root`, in the order of the paths' bytes.

    Links are followed, except to a directory that the link lies in. One directory is held at a time.

    Raises:
        OSError: if a directory cannot be listed.
    """
    yield from _walk(root, "", ())


def _walk(directory: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, int]]:
    with os.scandir(directory) as found:
        # "/" after a directory's name: that is the order of whole paths
        entries = sorted(found, key=lambda entry: f"{entry.name}/" if entry.is_dir() else entry.name)
    for entry in entries:
        if entry.is_dir():
            status = entry.stat()
            identity = (status.st_dev, status.st_ino)
            if not entry.name.startswith(".") and identity not in above:
                yield from _walk(entry.path, f"{prefix}{entry.name}/", (*above, identity))
        elif entry.is_file():
            yield f"{prefix}{entry.name}", entry.stat().st_size
