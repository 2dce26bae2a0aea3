"""The same report as Markdown and as one HTML page that asks for nothing else."""

import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from comit_ray.evaluation.pictures.picture import Picture
from comit_ray.evaluation.report import document
from comit_ray.evaluation.report.document import Chapter, ReportDocument, Table

TABLE = Table(
    "A <title> & more", ("figure", "all"), (("a_b", "0.5 [0.4, 0.6]"), ("<script>x</script>", "-")), "A note."
)
LONG = Table("Missed", ("image",), tuple((f"a/{number}",) for number in range(25)))


def _report(root: Path) -> tuple[str, str, bytes]:
    """Markdown, HTML, and the PNG of a report with one picture, and one that could not be drawn."""
    png = io.BytesIO()
    Image.new("L", (4, 3), 128).save(png, "PNG")
    (root / "figures").mkdir()
    (root / "figures" / "roc.png").write_bytes(png.getvalue())
    pictures = [Picture("roc", "Curves.", ("figures/roc.png",)), Picture("map", "A map.", reason="5 images are needed")]
    made = ReportDocument(
        "Evaluation: 12 images", "Not for diagnosis.",
        [
            Chapter("summary", "Summary", ["One patient is 5.9 points.", "x < y & z", "SHORTCUT: a mark."]),
            Chapter("nothing", "Nothing here"),
            Chapter("scores", "Scores", (), {"covid": TABLE, "missed": LONG}, pictures),
        ],
        "Rounded half to even.", frozenset({"missed"}), alarms=("SHORTCUT: ",),
    )  # fmt: skip
    text = document.write(made, str(root))
    return text, (root / "report.html").read_text(), png.getvalue()


class _Page(HTMLParser):
    """Tags, what they ask for, and all text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.asked: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.asked += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_asks_for_nothing_else_and_holds_its_pictures(tmp_path: Path) -> None:
    _, html, png = _report(tmp_path)
    page = _Page()
    page.feed(html)
    assert all(asked.startswith(("data:image/png;base64,", "#")) for asked in page.asked)
    assert "http" not in html
    (picture,) = [asked for asked in page.asked if asked.startswith("data:")]
    assert base64.b64decode(picture.partition(",")[2]) == png
    assert "No picture: 5 images are needed." in page.text


def test_what_comes_from_tables_is_text_and_no_markup(tmp_path: Path) -> None:
    _, html, _ = _report(tmp_path)
    page = _Page()
    page.feed(html)
    assert "script" not in page.tags
    assert "<script>x</script>" in page.text
    assert "A <title> & more" in page.text
    assert "x < y & z" in page.text


def test_both_say_the_same(tmp_path: Path) -> None:
    text, html, _ = _report(tmp_path)
    page = _Page()
    page.feed(html)
    for words in ("Evaluation: 12 images", "Not for diagnosis.", "One patient is 5.9 points.", "Curves.", "A note."):
        assert words in text
        assert words in page.text
    assert (tmp_path / "report.md").read_text() == text
    assert "![roc](figures/roc.png)" in text


def test_chapters_are_in_order_linked_and_left_out_where_empty(tmp_path: Path) -> None:
    text, html, _ = _report(tmp_path)
    page = _Page()
    page.feed(html)
    assert [asked for asked in page.asked if asked.startswith("#")] == ["#summary", "#scores"]
    assert html.index('id="summary"') < html.index('id="scores"')
    assert text.index("## Summary") < text.index("## Scores")
    assert "Nothing here" not in text + html


def test_an_alarm_stands_out(tmp_path: Path) -> None:
    _, html, _ = _report(tmp_path)
    assert '<li class="alarm">SHORTCUT: a mark.</li>' in html
    assert html.count('class="alarm"') == 1


def test_what_explains_a_sentence_is_a_list_below_it(tmp_path: Path) -> None:
    made = ReportDocument("A title", "", [Chapter("a", "A", ("WARNING: strange:\nbrightness\nview",))], "")
    text = document.write(made, str(tmp_path))
    assert "- WARNING: strange:\n  - brightness\n  - view\n" in text
    assert (
        "<li>WARNING: strange:<ul><li>brightness</li><li>view</li></ul></li>" in (tmp_path / "report.html").read_text()
    )


def test_two_tables_of_one_name_are_a_mistake() -> None:
    with pytest.raises(AssertionError, match="two tables of one name"):
        ReportDocument("A", "", [Chapter(name, name, (), {"covid": TABLE}) for name in "ab"], "")


def test_a_long_table_is_short_in_the_report_and_whole_beside_it(tmp_path: Path) -> None:
    text, html, _ = _report(tmp_path)
    note = "The first 10 of 25 rows; tables/missed.csv has all."
    assert note in text
    assert note in html
    assert "a/9" in html
    assert "a/10" not in html
    assert len((tmp_path / "tables" / "missed.csv").read_text().splitlines()) == 26
    assert "toprule" in (tmp_path / "tables" / "covid.tex").read_text()


def test_what_is_said_elsewhere_is_in_its_file_alone(tmp_path: Path) -> None:
    """A whole table, or rows of one; the report says where they are."""
    chapters = [Chapter("a", "A", ("Said.",), {"covid": TABLE, "same": LONG})]
    made = ReportDocument(
        "A title", "", chapters, "", repeated=frozenset({"same"}), left_out={"covid": frozenset({"-"})}
    )
    text = document.write(made, str(tmp_path))
    assert "Missed" not in text
    assert "- More in tables/: same.csv." in text
    assert "tables/covid.csv has all 2 rows. A note." in text
    assert "script" not in text
    assert "<script>x</script>" in (tmp_path / "tables" / "covid.csv").read_text()
    assert (tmp_path / "tables" / "same.tex").exists()


def test_a_table_that_stands_aside_is_in_its_file_alone(tmp_path: Path) -> None:
    made = ReportDocument(
        "A title", "", [Chapter("a", "A", (), {"covid": TABLE, "all": LONG})], "", aside=frozenset({"all"})
    )
    text = document.write(made, str(tmp_path))
    assert "Missed" not in text
    assert "Missed" not in (tmp_path / "report.html").read_text()
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"covid.csv", "covid.tex", "all.csv"}
