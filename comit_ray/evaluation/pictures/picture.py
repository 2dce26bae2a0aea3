"""A picture of a report: its files, its caption, and the colours, lines and markers that all plots share.

The same picture always gives the same bytes. No line is told apart by its colour alone. The colours are those of Okabe
and Ito (Color Universal Design, 2008), which colour-blind readers can tell apart. matplotlib's objects are used without
pyplot, which would keep every figure in memory. matplotlib is imported only when something is drawn, because the import
takes a second.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from PIL import Image

from comit_ray.evaluation.pictures.contact_sheet import NOT_FOR_DIAGNOSIS
from comit_ray.storage import storage
from comit_ray.tables.parquet import defused

if TYPE_CHECKING:
    from matplotlib.figure import Figure


DPI = 200
"""Resolution of plots as PNG, dots per inch."""


def save(picture: "Figure | Image.Image", uri: str) -> tuple[str, ...]:
    """Writes a plot as PNG (200 dots per inch) and SVG, or an image of pixels as PNG alone.

    Args:
        picture: the plot or the image.
        uri: URI of the files, without a suffix.

    Returns:
        The suffixes of the files that were written: `.png`, and `.svg` for a plot.

    Raises:
        StorageError: a file cannot be written.
    """
    if isinstance(picture, Image.Image):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        storage.write_bytes(f"{uri}.png", buffer.getvalue())
        return (".png",)
    from matplotlib import rc_context

    # SVG with its text as text, and with ids that do not change from run to run.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "comit-ray"}):
        for kind, metadata in (("png", None), ("svg", {"Date": None})):
            buffer = io.BytesIO()
            picture.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
            storage.write_bytes(f"{uri}.{kind}", buffer.getvalue())
    return ".png", ".svg"


DIRECTORY = "figures"


@dataclass(frozen=True)
class Picture:
    """One picture, or the reason why there is none.

    Args:
        name: name of its files, without a suffix.
        caption: a paragraph in plain words: what it shows, how many images, and how they were chosen.
        files: paths relative to the report's directory, PNG first; empty if there is nothing to show.
        reason: why there is nothing to show; None if there is a picture.
        shown: image_id of each radiograph by the number below it, such as `1` or `rank 1`. A path may name a diagnosis,
            so no picture shows one: this list stands apart from the picture.
    """

    name: str
    caption: str
    files: tuple[str, ...] = ()
    reason: str | None = None
    shown: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        assert bool(self.files) == (self.reason is None), (self.files, self.reason)


def written(
    output: str,
    name: str,
    caption: str,
    drawn: "Figure | Image.Image",
    shown: tuple[tuple[str, str], ...] = (),
) -> Picture:
    """Writes a picture below `output`, and beside it which images it shows, and returns its description.

    Args:
        output: URI of the report.
        name: name of the files, without a suffix.
        caption: its caption.
        drawn: the plot or the image.
        shown: as in a `Picture`.

    Raises:
        StorageError: a file cannot be written.
    """
    uri = storage.join(storage.normalise(output), DIRECTORY, name)
    suffixes = save(drawn, uri)
    if shown:
        table = io.StringIO()
        csv.writer(table).writerows([("number", "image_id"), *(tuple(map(defused, pair)) for pair in shown)])
        storage.write_bytes(f"{uri}.csv", table.getvalue().encode())
    return Picture(name, caption, tuple(f"{DIRECTORY}/{name}{suffix}" for suffix in suffixes), shown=shown)


def nothing(name: str, caption: str, reason: str) -> Picture:
    """The description of a picture that could not be drawn, with the reason."""
    return Picture(name, caption, reason=reason)


def drawn_of(shown: int, total: int, what: str) -> str:
    """The number of images shown, the number that there are, and how they were chosen.

    Args:
        shown: number of images shown.
        total: number of such images, at least one.
        what: words for them, with the word "images".
    """
    if shown == total:
        return f"all {total:,} {what}" if total > 1 else f"the only {what.replace('images', 'image', 1)}"
    how = "drawn at random (by a hash of their ids and a seed, never by scores)"
    return f"{shown:,} of {total:,} {what}, {how}"


def span(values: Sequence[int]) -> str:
    """The range of counts: `30`, or `28 to 30` if the values differ."""
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


BLACK, GREY = "#000000", "#999999"
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
Line = Literal["-"] | tuple[float, tuple[float, ...]]
LINES: tuple[Line, ...] = (
    (0, (6, 2)),
    (0, (1.5, 1.2)),
    (0, (6, 1.5, 1.5, 1.5)),
    (0, (3, 1.5)),
    (0, (8, 1.5, 1.5, 1.5, 1.5, 1.5)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
PROPOSED = "COMiT-Net"
"""The variant that every other is compared with; its line is black and solid."""


@dataclass(frozen=True)
class Look:
    """How one variant is drawn: its colour, its line style and its marker."""

    colour: str
    line: Line
    marker: str


def looks(variants: Iterable[str]) -> dict[str, Look]:
    """Assigns a look to every variant, in order; all differ as long as there are at most 30 variants."""
    found: dict[str, Look] = {}
    for name in variants:
        if name in found:
            continue
        if name == PROPOSED:
            found[name] = Look(BLACK, "-", "*")
            continue
        place = sum(other != PROPOSED for other in found)
        colour, line = COLOURS[place % len(COLOURS)], LINES[place % len(LINES)]
        found[name] = Look(colour, line, MARKERS[place % len(MARKERS)])
    return found


def new_figure(width: float, height: float) -> "Figure":
    """An empty white figure with the words "not for diagnosis" at the bottom.

    Args:
        width: width in inches.
        height: height in inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.supxlabel(NOT_FOR_DIAGNOSIS, fontsize=8, color="#444444", x=0.01, ha="left")
    return figure


def as_written(figure: "Figure") -> None:
    """Shows every text of the figure as it is, so that a `$` in the name of a variant or data set starts no formula."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)


def seeds_text(values: Sequence[object | None]) -> str:
    """The number of seeds, and the number of those with a value: `3 seeds`, `2 of 3 seeds`."""
    known = sum(value is not None for value in values)
    number = f"{len(values)} seed{'s' if len(values) != 1 else ''}"
    return number if known == len(values) else f"{known} of {number}"
