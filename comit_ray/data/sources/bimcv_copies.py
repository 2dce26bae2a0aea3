"""BIMCV-COVID19: which copy of an image stands for it, where the same file lies in several archives or folders.

The iterations of the dataset overlap, and of some archives there may be no more than a listing.
"""

from typing import NamedTuple

from comit_ray.data.sources.bimcv.bimcv_sidecars import at_hand
from comit_ray.data.sources.bimcv_sidecars import Sidecars
from comit_ray.data.sources.source_files import SourceFile, SourceFiles


class _Standing(NamedTuple):
    """How well a copy can stand for its image; the smallest does."""

    no_sidecar: bool
    absent: bool
    sidecar_absent: bool
    borrows: bool
    position: int


class Copies:
    """The best copy of every image: with a sidecar, in the storage, its sidecar too, and that of its own name.

    Args:
        files: of the source.
        sidecars: of the images.
        images: regular expression of their names.
    """

    def __init__(self, files: SourceFiles, sidecars: Sidecars, images: str) -> None:
        self._best: dict[str, _Standing] = {}
        for image in files.matching(images):
            name = _base(image)
            standing = _standing(files, sidecars, image)
            self._best[name] = min(standing, self._best.get(name, standing))

    def __contains__(self, name: object) -> bool:
        """Whether there is an image of this file name."""
        return name in self._best

    def __len__(self) -> int:
        return len(self._best)

    def is_best(self, image: SourceFile) -> bool:
        """Whether this copy stands for its image."""
        return self._best[_base(image)].position == image.position

    def is_at_hand(self, image: SourceFile) -> bool:
        """Whether the copy that stands for the image is in the storage."""
        return not self._best[_base(image)].absent


def _standing(files: SourceFiles, sidecars: Sidecars, image: SourceFile) -> _Standing:
    absent = not at_hand(files, image)
    if not image.name.lower().endswith(".png"):  # a CT volume
        return _Standing(False, absent, False, False, image.position)
    own = sidecars.own(image)
    sidecar = own or sidecars.borrowed(image)
    sidecar_absent = sidecar is not None and not at_hand(files, sidecar)
    return _Standing(sidecar is None, absent, sidecar_absent, own is None, image.position)


def _base(image: SourceFile) -> str:
    return image.name.rpartition("/")[2]
