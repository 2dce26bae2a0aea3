"""A report as data (chapters of sentences, tables, pictures), written as Markdown and as one HTML page.

Tables are also written as CSV and LaTeX.
"""

import base64
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jinja2 import Environment, PackageLoader, StrictUndefined

from comit_ray.evaluation.pictures.picture import Picture
from comit_ray.storage import storage
from comit_ray.tables.parquet import defused

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\u00b1": r"\ensuremath{\pm}",
    "\u2013": "--",
    "\n": " ",
}
_MARKDOWN = {
    "\\": "\\\\",
    "|": "\\|",
    "*": "\\*",
    "_": "\\_",
    "`": "\\`",
    "<": "&lt;",
    ">": "&gt;",
    "\n": " ",
}


@dataclass(frozen=True)
class Table:
    """A table of a report: a title, named columns, rows of printed cells, and a note that explains them.

    Raises:
        ValueError: there are no columns, or a row has another number of cells than there are columns.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError(f"table {self.title!r}: at least one column is needed")
        for number, row in enumerate(self.rows, start=1):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.title!r}, row {number}: {len(self.columns)} cells are needed, got {len(row)}"
                )

    def markdown(self) -> str:
        """The table as Markdown: a bold title, a pipe table and the note; it ends with a line break."""
        lines = [
            f"**{_replaced(self.title, _MARKDOWN)}**",
            "",
            _pipes(self.columns),
            "|" + " --- |" * len(self.columns),
            *(_pipes(row) for row in self.rows),
        ]
        if self.note:
            lines += ["", _replaced(self.note, _MARKDOWN)]
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """The columns and rows as CSV (RFC 4180), with formulas defused; title and note are left out."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        for row in (self.columns, *self.rows):
            writer.writerow(map(defused, row))
        return text.getvalue()

    def latex(self) -> str:
        r"""The table as a `table` float with `booktabs` rules; the document needs `\usepackage{booktabs}`."""
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_replaced(self.title, _LATEX)}}}",
            rf"\begin{{tabular}}{{{'l' * len(self.columns)}}}",
            r"\toprule",
            _ampersands(self.columns),
            r"\midrule",
            *(_ampersands(row) for row in self.rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
        if self.note:
            lines += ["", r"\smallskip", rf"\parbox{{\linewidth}}{{\footnotesize {_replaced(self.note, _LATEX)}}}"]
        return "\n".join([*lines, r"\end{table}"]) + "\n"


def _replaced(text: str, replacements: dict[str, str]) -> str:
    return "".join(replacements.get(character, character) for character in text)


def _pipes(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(_replaced(cell, _MARKDOWN) for cell in cells) + " |"


def _ampersands(cells: tuple[str, ...]) -> str:
    # A cell that begins with [ would be read as the optional argument of the line break before it.
    return " & ".join(("{}" if cell.startswith("[") else "") + _replaced(cell, _LATEX) for cell in cells) + r" \\"


MAY_UNBLIND = "Do not open this before you read them: a path may name the diagnosis."
"""Words at every list of paths, which a page folds."""
IN_THE_REPORT = 10
"""The most rows of a long table in report.md and report.html; tables/ has all rows."""


@dataclass(frozen=True)
class Chapter:
    """A part of a report.

    Args:
        name: name of its place in the page: lower case, no spaces.
        title: its heading.
        said: sentences computed from the metrics, the most important first; further lines of one are a list below it.
        tables: name of the table's files -> table.
        pictures: its pictures; a picture without a file gives the reason.
    """

    name: str
    title: str
    said: Sequence[str] = ()
    tables: Mapping[str, Table] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()

    @property
    def empty(self) -> bool:
        """Whether the chapter has no content; an empty chapter is left out."""
        return not (self.said or self.tables or self.pictures)


@dataclass(frozen=True)
class FirstPage:
    """The part that most readers read, on one A4 page.

    Args:
        verdict: at most three sentences, alarms first.
        numbers: at most six pairs of a name and a number in words, such as "28 of 30, 93% (84 to 100%)".
        picture: a picture; None for no picture.
    """

    verdict: Sequence[str]
    numbers: Sequence[tuple[str, str]] = ()
    picture: Picture | None = None

    def __post_init__(self) -> None:
        assert len(self.verdict) <= 3, self.verdict
        assert len(self.numbers) <= 6, self.numbers


@dataclass(frozen=True)
class ReportDocument:
    """A whole report, as data.

    Args:
        title: what was judged, and on which images.
        caution: what the report does not mean.
        chapters: the chapters, in the order of reading.
        foot: how numbers are printed.
        long: names of tables of which the report shows the first rows alone.
        aside: names of tables that are too long for any page: tables/ has them, as CSV alone.
        repeated: names of tables that the report does not show, because another table, sentence or picture says the
            same.
        left_out: name of a table -> cells; the report does not show rows with one of them, because other parts say the
            same.
        alarms: beginnings of sentences that a reader must not overlook; the page marks these sentences.
        first: the first page; None if there is none.
        folded: names of the tables that the page folds.
    """

    title: str
    caution: str
    chapters: Sequence[Chapter]
    foot: str
    long: frozenset[str] = frozenset()
    aside: frozenset[str] = frozenset()
    alarms: tuple[str, ...] = ()
    first: FirstPage | None = None
    folded: frozenset[str] = frozenset()
    repeated: frozenset[str] = frozenset()
    left_out: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [name for chapter in self.chapters for name in chapter.tables]
        assert len(set(names)) == len(names), f"two tables of one name: {sorted(names)}"


def write(document: ReportDocument, output: str) -> str:
    """Writes report.md, report.html and tables/ below `output`, where the pictures already are.

    Args:
        document: the report.
        output: URI of the report's directory.

    Returns:
        The report as Markdown.

    Raises:
        StorageError: a file cannot be written, or a picture cannot be read.
    """
    output = storage.normalise(output)
    for chapter in document.chapters:
        for name, table in chapter.tables.items():
            storage.write_bytes(storage.join(output, "tables", f"{name}.csv"), table.csv().encode())
            if name not in document.aside:
                storage.write_bytes(storage.join(output, "tables", f"{name}.tex"), table.latex().encode())
    text = markdown(document)
    storage.write_bytes(storage.join(output, "report.md"), text.encode())
    pictures = [picture for chapter in document.chapters for picture in chapter.pictures]
    if document.first is not None and document.first.picture is not None:
        pictures.append(document.first.picture)
    files = [picture.files[0] for picture in pictures if picture.files]
    images = {file: storage.read_bytes(storage.join(output, file)) for file in files}
    storage.write_bytes(storage.join(output, "report.html"), html(document, images).encode())
    return text


def markdown(document: ReportDocument) -> str:
    """The report as Markdown, with links to its pictures."""
    parts = [f"# {document.title}\n"]
    if document.first is not None:
        parts.append("\n".join(f"**{sentence}**\n" for sentence in document.first.verdict))
        parts.append("\n".join(f"- {what}: {told}" for what, told in document.first.numbers) + "\n")
    parts.append(f"{document.caution}\n")
    for chapter in _shown(document):
        parts.append(f"## {chapter.title}\n")
        if chapter.said:
            sentences = (sentence.replace("\n", "\n  - ") for sentence in chapter.said)
            parts.append("\n".join(f"- {sentence}" for sentence in sentences) + "\n")
        parts += [_of_table(name, table, document) for name, table in chapter.tables.items()]
        parts += map(_linked, chapter.pictures)
    return "\n".join([*parts, f"{document.foot}\n"])


def html(document: ReportDocument, images: Mapping[str, bytes]) -> str:
    """The report as one HTML page that contains its style and pictures and loads nothing else.

    Args:
        document: the report.
        images: file of a picture -> its PNG.
    """
    environment = Environment(
        loader=PackageLoader("comit_ray.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    embedded = {file: base64.b64encode(png).decode() for file, png in images.items()}
    page = environment.get_template("report.html.j2")
    return page.render(
        document=document, chapters=_shown(document), images=embedded, alarms=document.alarms, may_unblind=MAY_UNBLIND
    )


def _shown(document: ReportDocument) -> list[Chapter]:
    """The chapters as the report shows them: no tables and rows said elsewhere, and the first rows of long tables.

    If some tables of a chapter are in tables/ alone, its last sentence names them.
    """
    found = []
    for chapter in document.chapters:
        tables = {
            name: _short(name, _without(name, table, document), name in document.long)
            for name, table in chapter.tables.items()
            if name not in document.aside | document.repeated
        }
        files = [f"{name}.csv" for name in chapter.tables if name in document.repeated]
        more = [f"More in tables/: {', '.join(files)}."] if files else []
        shown = Chapter(chapter.name, chapter.title, [*chapter.said, *more], tables, chapter.pictures)
        if not chapter.empty and not shown.empty:
            found.append(shown)
    return found


def _without(name: str, table: Table, document: ReportDocument) -> Table:
    """The table without the rows that the report leaves out; its note says that tables/ has them."""
    left_out = document.left_out.get(name, frozenset())
    rows = tuple(row for row in table.rows if left_out.isdisjoint(row))
    if len(rows) == len(table.rows):
        return table
    return Table(table.title, table.columns, rows, f"tables/{name}.csv has all {len(table.rows)} rows. {table.note}")


def _short(name: str, table: Table, is_long: bool) -> Table:
    if not is_long or len(table.rows) <= IN_THE_REPORT:
        return table
    note = f"The first {IN_THE_REPORT} of {len(table.rows):,} rows; tables/{name}.csv has all. {table.note}"
    return Table(table.title, table.columns, table.rows[:IN_THE_REPORT], note)


def _of_table(name: str, table: Table, document: ReportDocument) -> str:
    """The table as Markdown, which cannot fold one; a list of paths is left to its file."""
    if name in document.folded and MAY_UNBLIND in table.title:
        return f"{table.title.partition('. ')[0]}: tables/{name}.csv. {MAY_UNBLIND}\n"
    return table.markdown()


def _linked(picture: Picture) -> str:
    """The picture with its caption, or the reason why there is none."""
    caption = picture.caption if picture.reason is None else f"{picture.caption} No picture: {picture.reason}."
    if picture.shown:
        caption += f" Which images these are: {picture.files[0].rpartition('.')[0]}.csv. {MAY_UNBLIND}"
    return (f"![{picture.name}]({picture.files[0]})\n\n" if picture.files else "") + f"{caption}\n"
