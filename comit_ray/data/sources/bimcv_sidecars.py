"""BIMCV-COVID19: which JSON describes an image: the one of its name, else one of the same session in its folder.

Some images lack theirs. Another image of the session nearly always has the same PhotometricInterpretation: of the
1,684 radiographs of iteration 1 whose session has another one, 1,682 have that of the one chosen here (and 1,145 its
window). It is another image all the same: for the manifest only what belongs to patient and session is taken of it.
"""

import re

from comit_ray.data.sources.bimcv.bimcv_sidecars import SIDECAR, at_hand
from comit_ray.data.sources.source_files import SourceFile, SourceFiles

_NUMBERS = re.compile(r"_(acq|run)-\d+")


class Sidecars:
    """The sidecars among a source's files; only those that lie twice or that images without one may borrow are held.

    Args:
        files: of the source.
        images: regular expression of the names of images that should have one.
    """

    def __init__(self, files: SourceFiles, images: str) -> None:
        self._files = files
        self._copies: dict[str, list[SourceFile]] = {}
        self._others: dict[str, list[str]] = {
            _session(image.name): [] for image in files.matching(images) if self.own(image) is None
        }
        for file in files.matching(SIDECAR):
            first = files.find(file.name)
            if first is not None and first.position != file.position:
                self._copies.setdefault(file.name, [first]).append(file)
            elif _session(file.name) in self._others:
                self._others[_session(file.name)].append(file.name)

    def own(self, image: SourceFile) -> SourceFile | None:
        """The JSON of the image's own name."""
        return self._for(image, f"{image.name.rpartition('.')[0]}.json")

    def borrowed(self, image: SourceFile) -> SourceFile | None:
        """The JSON of the most similar name in the same folder and session."""
        name = min(self._others.get(_session(image.name), []), key=lambda other: unlike(image.name, other), default="")
        return self._for(image, name)

    def _for(self, image: SourceFile, name: str) -> SourceFile | None:
        """The file of this name; of several the one in the image's archive, else one that is in the storage."""
        copies = self._copies.get(name)
        if copies is None:
            return self._files.find(name)
        return min(copies, key=lambda copy: (copy.path != image.path, not at_hand(self._files, copy), copy.position))


def unlike(name: str, other: str) -> tuple[bool, bool, str]:
    """How little two names have in common but for their numbers; smaller is more alike, equals are ordered by name."""
    stem, other_stem = name.rpartition(".")[0], other.rpartition(".")[0]
    same_series = _NUMBERS.sub("", stem) == _NUMBERS.sub("", other_stem)
    same_device = stem.rpartition("_")[2] == other_stem.rpartition("_")[2]  # cr or dx
    return not same_series, not same_device, other


def _session(name: str) -> str:
    """Folder, subject and session of a name."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + "_".join(file.split("_")[:2])
