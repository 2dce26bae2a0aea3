"""Tables: what is written can be read back, whatever characters are in it."""

import csv
import io

import pytest

from comit_ray.evaluation.report.document import Table

NASTY = ("a|b", "50 % & $5", "x_1^2~#", "{\\n}", 'say "no", twice', "12.00 ± 3.00 [1, 2]", "p < 0.05 > 0", "*a* `b`")
TABLE = Table("Of 100% & more_", NASTY, (NASTY, ("[1, 2]", "", *NASTY[2:])), "n_1 = 5%.")


def test_csv_is_read_back() -> None:
    assert list(csv.reader(io.StringIO(TABLE.csv(), newline=""))) == [list(row) for row in (TABLE.columns, *TABLE.rows)]


def test_markdown_has_as_many_cells_in_every_line() -> None:
    lines = [line for line in TABLE.markdown().splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(TABLE.rows)
    assert {line.replace("\\|", "").count("|") for line in lines} == {len(NASTY) + 1}
    assert "&lt; 0.05 &gt;" in lines[0]
    assert "\\*a\\* \\`b\\`" in lines[0]
    assert TABLE.markdown().startswith("**Of 100% & more\\_**\n\n|")
    assert TABLE.markdown().endswith("\n\nn\\_1 = 5%.\n")


def test_latex_is_read_back() -> None:
    """Cells are separated by the only bare ampersands, and every special character of a cell is a command."""
    text = TABLE.latex()
    body = text[text.index("\\toprule\n") + len("\\toprule\n") : text.index("\\bottomrule")]
    lines = [line for line in body.splitlines() if line != "\\midrule"]
    assert len(lines) == 1 + len(TABLE.rows)
    for line, row in zip(lines, (TABLE.columns, *TABLE.rows), strict=True):
        assert line.endswith(" \\\\")
        assert [_read(cell) for cell in line.removesuffix(" \\\\").split(" & ")] == [
            ("{}" if cell.startswith("[") else "") + cell for cell in row
        ]
    assert "\\caption{Of 100\\% \\& more\\_}" in text
    assert f"\\begin{{tabular}}{{{'l' * len(NASTY)}}}" in text
    assert text.count("\\begin{") == text.count("\\end{") == 2


def _read(cell: str) -> str:
    """What LaTeX would print of the cell."""
    commands = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<"}
    commands |= {"textgreater": ">", "textbar": "|"}
    for name, character in commands.items():
        cell = cell.replace(f"\\{name}{{}}", f"\0{ord(character)}\0")
    cell = cell.replace("\\ensuremath{\\pm}", "±")
    for character in "&%$#_{}":
        cell = cell.replace(f"\\{character}", f"\0{ord(character)}\0")
    bare = cell.replace("{}[", "[")
    assert not set(bare) & set("\\&%$#_{}~^"), cell
    pieces = cell.split("\0")
    return "".join(piece if number % 2 == 0 else chr(int(piece)) for number, piece in enumerate(pieces))


def test_latex_lines_do_not_begin_with_a_bracket() -> None:
    """`\\\\` takes a following [...] for its option."""
    assert "\n[1, 2]" not in TABLE.latex()
    assert "\n{}[1, 2]" in TABLE.latex()


def test_a_table_without_rows_or_note() -> None:
    table = Table("Nothing", ("a",), ())
    assert table.csv() == "a\r\n"
    assert table.markdown() == "**Nothing**\n\n| a |\n| --- |\n"
    assert "parbox" not in table.latex()


def test_ragged_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"row 2: 2 cells are needed, got 1"):
        Table("t", ("a", "b"), (("1", "2"), ("3",)))
    with pytest.raises(ValueError, match="at least one column"):
        Table("t", (), ())


def test_formulas_are_defused_in_csv() -> None:
    table = Table("t", ("=a()", "b"), (("=cmd()", "-0.5"),))
    assert list(csv.reader(io.StringIO(table.csv(), newline=""))) == [["'=a()", "b"], ["'=cmd()", "-0.5"]]
