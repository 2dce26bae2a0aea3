"""A picture of a report: where its files are, and what a reader must know of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from comit_ray.evaluation.pictures.picture import save
from comit_ray.storage import storage

if TYPE_CHECKING:
    from matplotlib.figure import Figure


DIRECTORY = "figures"


@dataclass(frozen=True)
class Picture:
    """One picture, or why there is none.

    Args:
        name: of its files, without a suffix.
        caption: a paragraph in plain words: what it shows, of how many images, and how they were chosen.
        files: paths relative to the report's directory, PNG first; none where there is nothing to show.
        reason: why there is nothing to show; None where there is a picture.
    """

    name: str
    caption: str
    files: tuple[str, ...] = ()
    reason: str | None = None

    def __post_init__(self) -> None:
        assert bool(self.files) == (self.reason is None), (self.files, self.reason)


def written(output: str, name: str, caption: str, drawn: "Figure | Image.Image") -> Picture:
    """The picture, its files written below `output`.

    Raises:
        StorageError: they cannot be written.
    """
    suffixes = save(drawn, storage.join(storage.normalise(output), DIRECTORY, name))
    return Picture(name, caption, tuple(f"{DIRECTORY}/{name}{suffix}" for suffix in suffixes))


def nothing(name: str, caption: str, reason: str) -> Picture:
    """No picture, and why."""
    return Picture(name, caption, reason=reason)


def drawn_of(shown: int, total: int, what: str) -> str:
    """How many are shown of how many, and how they were chosen."""
    how = "all of them" if shown == total else "drawn at random (by a hash of their ids and a seed, never by scores)"
    return f"{shown:,} of {total:,} {what}, {how}"


def span(values: Sequence[int]) -> str:
    """`30`, or `28 to 30` where the values differ."""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
