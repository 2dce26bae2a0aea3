"""Prints a report in ten lines on the terminal: title, alarms, and the first chapter.

It reads the report's Markdown, so that reports of screens and of studies are shown in the same way.
"""

import html
import re
import textwrap
from collections.abc import Sequence

MOST_LINES, WIDTH = 10, 500
"""The most lines, the title included, and the most characters of each; a longer line is cut and ends in dots."""
_ESCAPED = re.compile(r"\\([\\|*_`])")
_RULE = re.compile(r"\|( --- \|)+")


def digest(markdown: str, alarms: Sequence[str] = ()) -> str:
    """At most `MOST_LINES` lines: the title, as many alarms as fit, then sentences and rows of the first chapter.

    Args:
        markdown: a report, result of `comit_ray.evaluation.report.document.write`.
        alarms: beginnings of sentences that a reader must not overlook.
    """
    lines = markdown.splitlines()
    title = next((line.removeprefix("# ") for line in lines if line.startswith("# ")), "Report")
    warned = list(dict.fromkeys(text for line in lines if (text := _sentence(line)).startswith(tuple(alarms)) and text))
    first = _first_chapter(lines)
    # The first page has an alarm in a sentence of its own; the head of the alarm's list would say half of it again.
    warned = [text for text in warned if text in first or not any(line.startswith(text.rstrip(":.")) for line in first)]
    told = [*(warned if alarms else []), *(text for text in first if text not in warned)]
    shown = [title, *told[: MOST_LINES - 1]]
    return "\n".join(textwrap.shorten(_plain(line), WIDTH, placeholder=" ...") for line in shown)


def _first_chapter(lines: Sequence[str]) -> list[str]:
    """The sentences of the first page, or else of the first chapter with its rows; heads of tables are left out."""
    starts = [number for number, line in enumerate(lines) if line.startswith("## ")]
    page = lines[: starts[0]] if starts else lines
    if any(line.startswith("**") for line in page):  # the report has a first page for people
        verdict = [line.strip("*") for line in page if line.startswith("**")]
        return [*verdict, *(text for line in page if (text := _sentence(line)))]
    if not starts:
        return []
    end = starts[1] if len(starts) > 1 else len(lines)
    chapter = lines[starts[0] + 1 : end]
    told = []
    for number, line in enumerate(chapter):
        is_head = number + 1 < len(chapter) and _RULE.fullmatch(chapter[number + 1]) is not None
        if line.startswith("- "):
            told.append(_sentence(line))
        elif line.startswith("| ") and not is_head and not _RULE.fullmatch(line):
            name, *cells = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
            told.append(f"{name}: {', '.join(cells)}")
    return told


def _sentence(line: str) -> str:
    return line.removeprefix("- ") if line.startswith("- ") else ""


def _plain(text: str) -> str:
    """The text without the escapes of Markdown."""
    return html.unescape(_ESCAPED.sub(r"\1", text))
