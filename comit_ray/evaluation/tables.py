"""A table of a report, as data: the same cells as Markdown, CSV and LaTeX."""

import csv
import io
from dataclasses import dataclass

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
    """A title, named columns, rows of printed cells, and what a reader must know to read them.

    Raises:
        ValueError: without columns, or where a row has another number of cells than there are columns.
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
        """A pipe table below a bold title, the note below it; ends with a line break."""
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
        """The columns and rows, as RFC 4180 has it; title and note are not in it."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows)
        return text.getvalue()

    def latex(self) -> str:
        r"""A `table` float with `booktabs` rules (the document needs `\usepackage{booktabs}`)."""
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
