"""Any tree of PNG and JPEG files: nothing is known of them but where they are."""

from collections.abc import Iterator

from comit_ray import storage
from comit_ray.data.sources.row import ManifestRow

SUFFIXES = (".png", ".jpg", ".jpeg")


def rows(root: str, dataset: str) -> Iterator[ManifestRow]:
    """Every `.png`, `.jpg` and `.jpeg` file below `root`, in any case, sorted by path; labels and patients unknown.

    Raises:
        NotFoundError: if there is nothing at `root`.
    """
    for entry in storage.list_files(root):
        if entry.path.lower().endswith(SUFFIXES):
            yield ManifestRow(path=entry.path)
