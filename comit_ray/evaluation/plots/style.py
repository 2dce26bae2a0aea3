"""What all plots share: colours, line styles and markers, so that no line is told by its colour alone.

Colours are those of Okabe and Ito (Color Universal Design, 2008), which colour-blind readers can tell apart.
matplotlib's objects are used without pyplot, which would keep every figure, and imported when something is drawn: it
takes a second.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from comit_ray.evaluation.pictures.contact_sheet import NOT_FOR_DIAGNOSIS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
"""The variant that every other is compared with: black and solid."""
OTHER_DATA = "paper, other data"


@dataclass(frozen=True)
class Look:
    """How one variant is drawn."""

    colour: str
    line: Line
    marker: str


def looks(variants: Iterable[str]) -> dict[str, Look]:
    """A look for every variant; no two are alike while there are at most 30."""
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
    """An empty white figure of width x height inches with the words "not for diagnosis" below what will be on it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.supxlabel(NOT_FOR_DIAGNOSIS, fontsize=8, color="#444444", x=0.01, ha="left")
    return figure


def as_written(figure: "Figure") -> None:
    """Show every text of the figure as it is: a `$` in a variant's or data set's name begins no formula."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        text.set_parse_math(False)


def seeds_text(values: Sequence[object | None]) -> str:
    """How many seeds there are, and of how many there is a value."""
    known = sum(value is not None for value in values)
    number = f"{len(values)} seed{'s' if len(values) != 1 else ''}"
    return number if known == len(values) else f"{known} of {number}"
