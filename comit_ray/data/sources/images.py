"""Any tree of PNG and JPEG files: nothing is known of them but where they are and which masks lie beside them."""

from collections.abc import Iterator

from comit_ray.config.data_config import SourceOptions
from comit_ray.data.sources.adapter import ManifestRow, place
from comit_ray.data.sources.image_files import MaskFiles
from comit_ray.data.sources.source_files import SourceFiles

IMAGE = r".+\.(png|jpe?g)"


def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
    """Every `.png`, `.jpg` and `.jpeg` file below `root`, in any case, sorted by path; labels and patients unknown.

    Masks (see `MaskFiles`) are no radiographs; one belongs to the image whose name without suffix is its stem.

    Raises:
        ManifestError: if it is not clear which mask belongs to which image.
    """
    masks = MaskFiles(files)
    for file in files.matching(IMAGE):
        if not masks.holds(file.name):
            lung, disease = masks.take(file.name, file.name.rpartition("/")[2].rpartition(".")[0])
            yield ManifestRow(**place(file), lung_mask=lung, disease_mask=disease)
