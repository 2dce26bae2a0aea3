"""A report as data: what can be said, tables and pictures; written as Markdown, and as one HTML page of its own."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from comit_ray import storage
from comit_ray.evaluation.picture import Picture
from comit_ray.evaluation.tables import Table

IN_THE_REPORT = 10
"""Most rows of a long table in report.md and report.html; tables/ has all."""


@dataclass(frozen=True)
class Document:
    """What a person reads.

    Args:
        title: what was judged, on which images.
        caution: what it does not mean; before everything else.
        said: sentences computed from the figures, most important first.
        tables: name of its files -> table.
        pictures: in the order of the report; those without a file say why.
        long: names of the tables of which the report shows the first rows alone.
        aside: names of those that it does not show: they are in tables/ alone, as CSV, too long for any page.
        foot: how numbers are printed.
    """

    title: str
    caution: str
    said: Sequence[str]
    tables: Mapping[str, Table]
    pictures: Sequence[Picture]
    foot: str
    long: frozenset[str] = frozenset()
    aside: frozenset[str] = frozenset()


def write(document: Document, output: str) -> str:
    """Write report.md, report.html and tables/ below `output`, where the pictures lie already; the Markdown.

    Raises:
        StorageError: they cannot be written, or a picture not be read.
    """
    output = storage.normalise(output)
    for name, table in document.tables.items():
        storage.write_bytes(storage.join(output, "tables", f"{name}.csv"), table.csv().encode())
        if name not in document.aside:
            storage.write_bytes(storage.join(output, "tables", f"{name}.tex"), table.latex().encode())
    text = markdown(document)
    storage.write_bytes(storage.join(output, "report.md"), text.encode())
    files = [picture.files[0] for picture in document.pictures if picture.files]
    images = {file: storage.read_bytes(storage.join(output, file)) for file in files}
    storage.write_bytes(storage.join(output, "report.html"), html(document, images).encode())
    return text


def markdown(document: Document) -> str:
    """The report as Markdown; pictures are linked."""
    parts = [
        f"# {document.title}\n",
        f"{document.caution}\n",
        "## What must be known\n",
        "\n".join(f"- {sentence}" for sentence in document.said) + "\n",
        "## Tables\n",
        *(table.markdown() for _, table in _shown(document)),
    ]
    if document.pictures:
        parts += ["## Figures\n", *map(_linked, document.pictures)]
    return "\n".join([*parts, f"{document.foot}\n"])


def html(document: Document, images: Mapping[str, bytes]) -> str:
    """The report as one page that asks for nothing else: style and pictures are in it.

    Args:
        document: what it says.
        images: file of a picture -> its PNG.
    """
    environment = Environment(
        loader=PackageLoader("comit_ray.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    embedded = {file: base64.b64encode(png).decode() for file, png in images.items()}
    page = environment.get_template("report.html.j2")
    return page.render(document=document, tables=_shown(document), images=embedded)


def _shown(document: Document) -> list[tuple[str, Table]]:
    """The tables as the report has them: of a long one the first rows."""
    shown = [(name, table) for name, table in document.tables.items() if name not in document.aside]
    return [(name, _short(name, table) if name in document.long else table) for name, table in shown]


def _short(name: str, table: Table) -> Table:
    if len(table.rows) <= IN_THE_REPORT:
        return table
    note = f"The first {IN_THE_REPORT} of {len(table.rows):,} rows; tables/{name}.csv has all. {table.note}"
    return Table(table.title, table.columns, table.rows[:IN_THE_REPORT], note)


def _linked(picture: Picture) -> str:
    """The picture with its caption, or why there is none."""
    caption = picture.caption if picture.reason is None else f"{picture.caption} No picture: {picture.reason}."
    return (f"![{picture.name}]({picture.files[0]})\n\n" if picture.files else "") + f"{caption}\n"
