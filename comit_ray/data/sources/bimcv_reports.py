"""BIMCV-COVID19: what the labels of the radiologists' reports say of a radiograph, and with the tests together.

The labels were found in the text of the reports by a program (Vaya et al. 2020, section 3). A report belongs to a
session, which may hold several images, CT among them, and have two reports.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

NORMAL = "normal"
NO_STATEMENT = frozenset({"unchanged", "exclude", "suboptimal study", "covid 19", "covid 19 uncertain"})
"""Labels that name no finding: the radiograph is like another one, or unfit, or its patient's diagnosis is known."""
DEVICES = frozenset(
    {
        "aortic endoprosthesis", "artificial aortic heart valve", "artificial heart valve",
        "artificial mitral heart valve", "catheter", "central venous catheter",
        "central venous catheter via jugular vein", "central venous catheter via subclavian vein",
        "central venous catheter via umbilical vein", "chest drain tube", "dai", "dual chamber device",
        "electrical device", "endoprosthesis", "endotracheal tube", "external foreign body", "gastrostomy tube",
        "heart valve device", "humeral prosthesis", "mammary prosthesis", "metal", "nephrostomy tube", "nsg tube",
        "osteosynthesis material", "pacemaker", "prosthesis", "reservoir central venous catheter",
        "single chamber device", "sternotomy", "suture material", "tracheostomy tube",
        "ventriculoperitoneal drain tube",
    }
)  # fmt: skip
"""What was put into the patient: alone no sign of disease, as CheXpert's Support Devices (docs of that adapter)."""

_STRING = re.compile(r"[\s,]*(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\")")
_END = re.compile(r"[\s,]*\]")
_CUT = re.compile(r"[\s,]*(['\"].*)?", re.DOTALL)


class Report(NamedTuple):
    """The labels of one report, or of all reports of a session.

    Attributes:
        labels: in order, each once, without blanks around it.
        whole: False if the table's list was cut off: labels may be missing.
    """

    labels: tuple[str, ...]
    whole: bool


def parse_labels(cell: str) -> Report:
    """The labels of a table's cell: a Python list of strings, as `repr` writes it, perhaps cut off.

    Nothing is evaluated. A string that is cut off is left out: half a word is no label. The quality sheet's form, which
    lacks the outer brackets and quotes (`COVID 19', ' unchanged`), is read too. Of anything else nothing is taken, and
    it counts as cut off.
    """
    cell = cell.strip()
    if not cell or cell.lower() in ("nan", "none"):
        return Report((), True)
    if not cell.startswith("["):
        cell = f"['{cell}']"
    labels, at = [], 1
    while found := _STRING.match(cell, at):
        labels.append(found[1] or found[2] or "")
        at = found.end()
    whole = _END.fullmatch(cell, at) is not None
    return Report(_unique(labels), whole) if whole or _CUT.fullmatch(cell, at) else Report((), False)


def join(reports: Iterable[Report]) -> Report:
    """The labels of all reports of one session together."""
    held = list(reports)
    return Report(_unique(label for report in held for label in report.labels), all(r.whole for r in held))


def unhealthy_label(report: Report) -> int | None:
    """0 if the reports say `normal` and nothing else, 1 if they name a finding; else None.

    `normal` beside a finding is None: the two were said of different images of the session, or misread.
    """
    words = {label.lower() for label in report.labels}
    if words == {NORMAL}:
        return 0 if report.whole else None
    if NORMAL in words:
        return None
    return 1 if words - NO_STATEMENT - DEVICES else None


def targets(covid: int | None, report: Report) -> tuple[int | None, int | None, int | None]:
    """Unhealthy, COVID and other disease of a radiograph, from its label by the tests and its session's reports.

    A positive test is not radiographic disease, so `unhealthy` is the reports' alone: a positive with a normal report
    is 0, one without a report unknown. Other disease is 0 for a positive, as for every COVID image of the paper. A
    negative comes from a patient who was tested for cause, often after COVID-19: it is COVID 0, and the rest unknown.
    """
    unhealthy = unhealthy_label(report)
    if covid == 0:
        return None, 0, None
    if covid == 1:
        return unhealthy, 1, 0
    return unhealthy, None, 0 if unhealthy == 0 else None


def _unique(labels: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label for raw in labels if (label := " ".join(raw.split()))))
