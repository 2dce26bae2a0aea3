"""Source `images`: PNG and JPEG files, with masks of the same stem in `lung_masks/` and `disease_masks/`.

Any tree of PNG and JPEG files; only their places and the masks beside them are known.
"""

import re
from collections.abc import Iterator

from comit_ray.config.source_config import SourceOptions
from comit_ray.data.sources.manifest_row import ManifestRow, place
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.errors import ManifestError

_FOLDERS = ("", "annotations/")
_IN_A_MASK_FOLDER = re.compile(r"(annotations/)?(lung|disease)_masks/.+\.(png|jpe?g)", re.IGNORECASE)


class MaskFiles:
    """The masks of one archive, at its root or below `annotations/`, and which images use them.

    Args:
        files: the files of the archive.
    """

    def __init__(self, files: SourceFiles) -> None:
        self._files = files
        self._taken: dict[str, str] = {}

    def holds(self, path: str) -> bool:
        """Whether the PNG or JPEG file at the relative `path` lies in a mask folder, and so is not a radiograph."""
        return _IN_A_MASK_FOLDER.fullmatch(path) is not None

    def take(self, path: str, stem: str) -> tuple[str | None, str | None]:
        """Returns the URIs of lung mask and disease mask of the image at the relative `path`; None for a missing mask.

        Raises:
            ManifestError: another image uses the same mask, or two masks have this stem, so that the pairing would be a
                guess.
        """
        return self._one("lung_masks", path, stem), self._one("disease_masks", path, stem)

    def _one(self, kind: str, path: str, stem: str) -> str | None:
        found = [mask for folder in _FOLDERS if self._files.find(mask := f"{folder}{kind}/{stem}.png")]
        if not found:
            return None
        if len(found) > 1:
            raise ManifestError(f"expected one mask of {path} in {self._files.root}, got {' and '.join(found)}")
        other = self._taken.setdefault(found[0], path)
        if other != path:
            raise ManifestError(
                f"expected one image of the mask {found[0]} in {self._files.root}, got {other} and {path}: give each "
                "image with a mask a name of its own"
            )
        return self._files.first_uri(found[0])


IMAGE = r".+\.(png|jpe?g)"


def is_image_name(name: str) -> bool:
    """Whether a file name belongs to a PNG or JPEG image, ignoring case."""
    return re.fullmatch(IMAGE, name, re.IGNORECASE | re.DOTALL) is not None


def rows(files: SourceFiles, dataset: str, options: SourceOptions) -> Iterator[ManifestRow]:
    """Yields every `.png`, `.jpg` and `.jpeg` file below the root, sorted by path, without labels and patients.

    The case of the endings does not matter. Masks (see `MaskFiles`) are not radiographs. A mask belongs to the image
    with the same stem.

    Raises:
        ManifestError: it is not clear which mask belongs to which image.
    """
    return rows_of(files, MaskFiles(files))


def rows_of(files: SourceFiles, masks: MaskFiles) -> Iterator[ManifestRow]:
    """Yields the same rows as `rows`, with masks some of which other images may have taken already."""
    for file in files.matching(IMAGE):
        if not masks.holds(file.name):
            lung, disease = masks.take(file.name, file.name.rpartition("/")[2].rpartition(".")[0])
            yield ManifestRow(**place(file), lung_mask=lung, disease_mask=disease)
