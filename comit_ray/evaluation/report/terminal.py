"""Prints a report in ten lines on the terminal: title, alarms, and the first chapter.

It reads the report's Markdown, so that a screen's report and a study's are told in the same way.
"""

import html
import re
import textwrap
from collections.abc import Sequence

MOST_LINES, WIDTH = 10, 500
"""Lines, the title among them, and characters of each: what is longer is cut and ends in dots."""
_ESCAPED = re.compile(r"\\([\\|*_`])")
_RULE = re.compile(r"\|( --- \|)+")


def digest(markdown: str, alarms: Sequence[str] = ()) -> str:
    """At most `MOST_LINES` lines: the title, every alarm that fits, then the first chapter's sentences and rows.

    Args:
        markdown: a report, as `comit_ray.evaluation.report.document.write` gives it.
        alarms: how a sentence begins that a reader must not pass over.
    """
    lines = markdown.splitlines()
    title = next((line.removeprefix("# ") for line in lines if line.startswith("# ")), "Report")
    warned = list(dict.fromkeys(text for line in lines if (text := _sentence(line)).startswith(tuple(alarms)) and text))
    told = [*(warned if alarms else []), *(text for text in _first_chapter(lines) if text not in warned)]
    shown = [title, *told[: MOST_LINES - 1]]
    return "\n".join(textwrap.shorten(_plain(line), WIDTH, placeholder=" ...") for line in shown)


def _first_chapter(lines: Sequence[str]) -> list[str]:
    """What the first page says, or else the sentences and rows of the first chapter; heads of tables are left out."""
    starts = [number for number, line in enumerate(lines) if line.startswith("## ")]
    page = lines[: starts[0]] if starts else lines
    if any(line.startswith("**") for line in page):  # a first page for people
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
    """Without the escapes of Markdown."""
    return html.unescape(_ESCAPED.sub(r"\1", text))
