"""Any tree of PNG and JPEG files: nothing is known of them but where they are and which masks lie beside them."""

from collections.abc import Iterator

from comit_ray.data.sources.files import SourceFiles
from comit_ray.data.sources.mask_files import MaskFiles
from comit_ray.data.sources.row import ManifestRow

SUFFIXES = (".png", ".jpg", ".jpeg")


def rows(root: str, dataset: str) -> Iterator[ManifestRow]:
    """Every `.png`, `.jpg` and `.jpeg` file below `root`, in any case, sorted by path; labels and patients unknown.

    Masks (see `MaskFiles`) are no radiographs; one belongs to the image whose name without suffix is its stem.

    Raises:
        ManifestError: if it is not clear which mask belongs to which image.
        NotFoundError: if there is nothing at `root`.
    """
    files = SourceFiles(root)
    masks = MaskFiles(files)
    for path in files.sizes:
        if path.lower().endswith(SUFFIXES) and not masks.holds(path):
            lung, disease = masks.take(path, path.rpartition("/")[2].rpartition(".")[0])
            yield ManifestRow(path=path, lung_mask=lung, disease_mask=disease)
