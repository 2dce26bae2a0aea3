"""Labels of BIMCV-COVID19: COVID-19 positive or not by test dates (paper, section 4.4).

Radiographs and tests of a patient have different dates. A radiograph that is closer to a negative test than to any
positive one, or at least 14 days away from every positive one, is negative; any other is positive.

BIMCV-COVID19: what the labels of the radiologists' reports say of a radiograph, and with the tests together.

The labels were found in the text of the reports by a program (Vaya et al. 2020, section 3). A report belongs to a
session, which may hold several images, CT among them, and have two reports.
"""

import re
from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

DAYS_POSITIVE = 14
"""A positive test as many days away, or more, no longer speaks for the radiograph."""
COUNTED = frozenset({"PCR", "IGG", "IGM"})
"""The paper's tests: RT-PCR, IgG, IgM."""
ANTIGEN = "ACT"
POSITIVE, NEGATIVE, INDETERMINATE = "POSITIVO", "NEGATIVO", "INDETERMINADO"


class CovidTest(NamedTuple):
    """One test of a patient, as the table has it, in any case and with any blanks around it.

    Attributes:
        taken_on: the day; None if the table's is blank or unreadable.
        kind: PCR, IGG, IGM or ACT.
        result: POSITIVO, NEGATIVO or INDETERMINADO.
    """

    taken_on: date | None
    kind: str
    result: str


def covid_label(taken_on: date | None, tests: Iterable[CovidTest], *, act: bool = False) -> int | None:
    """1 or 0, or None where nothing tells.

    With dp and dn the least number of days, before or after, to a positive and to a negative test: negative if dn < dp
    or dp >= 14, else positive; so a tie is positive, and negative tests alone, however far away, are negative.
    Indeterminate results, kinds other than those counted and tests without a readable day are left out.

    Args:
        taken_on: day of the radiograph; None gives None.
        tests: of its patient.
        act: whether antigen tests count too.
    """
    if taken_on is None:
        return None
    counted = COUNTED | {ANTIGEN} if act else COUNTED
    days: dict[str, int] = {}
    for test in tests:
        if test.taken_on is not None and normalise(test.kind) in counted:
            result, distance = normalise(test.result), abs((taken_on - test.taken_on).days)
            days[result] = min(distance, days.get(result, distance))
    to_positive, to_negative = days.get(POSITIVE), days.get(NEGATIVE)
    if to_positive is None:
        return None if to_negative is None else 0
    closer_to_negative = to_negative is not None and to_negative < to_positive
    return 0 if closer_to_negative or to_positive >= DAYS_POSITIVE else 1


def normalise(word: str) -> str:
    """A kind or a result as the constants here write it."""
    return word.strip().upper().removeprefix("RT-")


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
