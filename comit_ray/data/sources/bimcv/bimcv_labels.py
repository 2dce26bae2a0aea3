"""Labels of BIMCV-COVID19: COVID-19 positive or not by test dates (paper, section 4.4).

A patient's radiographs and tests have different dates. A radiograph is negative if it is closer to a negative test than
to any positive one, or at least 14 days away from every positive one; any other is positive.

The module also combines these labels with those of the radiologists' reports. A program found the report labels in the
reports' text (Vaya et al. 2020, section 3). A report belongs to a session, which may hold several images, CT among
them, and have two reports.
"""

import re
from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

DAYS_POSITIVE = 14
"""Days from which on a positive test no longer counts for the radiograph."""
COUNTED = frozenset({"PCR", "IGG", "IGM"})
"""The paper's tests: RT-PCR, IgG, IgM."""
ANTIGEN = "ACT"
POSITIVE, NEGATIVE, INDETERMINATE = "POSITIVO", "NEGATIVO", "INDETERMINADO"


class CovidTest(NamedTuple):
    """One test of a patient, as the table has it, in any case and with any blanks around it.

    Attributes:
        taken_on: day of the test; None if it is blank or unreadable in the table.
        kind: PCR, IGG, IGM or ACT.
        result: POSITIVO, NEGATIVO or INDETERMINADO.
    """

    taken_on: date | None
    kind: str
    result: str


def covid_label(taken_on: date | None, tests: Iterable[CovidTest], *, act: bool = False) -> int | None:
    """Returns 1 or 0 for COVID-19, or None if no test decides.

    Let dp and dn be the fewest days, before or after, to a positive and to a negative test. The label is negative if
    dn < dp or dp >= 14, else positive. So a tie is positive, and negative tests alone, however far away, are negative.
    Indeterminate results, kinds that do not count and tests without a readable day are left out.

    Args:
        taken_on: day of the radiograph; None gives None.
        tests: tests of its patient.
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
    """Returns a kind or a result in the spelling of the constants here."""
    return word.strip().upper().removeprefix("RT-")


NORMAL = "normal"
NO_STATEMENT = frozenset({"unchanged", "exclude", "suboptimal study", "covid 19", "covid 19 uncertain"})
"""Labels that name no finding: the radiograph is unchanged or unfit, or the label is the patient's diagnosis."""
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
"""Devices in the patient; alone they are no sign of disease, as CheXpert's Support Devices (docs of that adapter)."""

_STRING = re.compile(r"[\s,]*(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\")")
_END = re.compile(r"[\s,]*\]")
_CUT = re.compile(r"[\s,]*(['\"].*)?", re.DOTALL)


class Report(NamedTuple):
    """The labels of one report, or of all reports of a session.

    Attributes:
        labels: labels in order, each once, without surrounding blanks.
        whole: False if the table's list was cut off, so that labels may be missing.
    """

    labels: tuple[str, ...]
    whole: bool


def parse_labels(cell: str) -> Report:
    """Parses the labels in a table's cell: a Python list of strings, as `repr` writes it, perhaps cut off.

    Nothing is evaluated. A string that is cut off is dropped, since half a word is not a label. The quality sheet's
    form, which lacks the outer brackets and quotes (`COVID 19', ' unchanged`), is read too. Any other text gives no
    labels and counts as cut off.
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
    """Joins the labels of all reports of one session."""
    held = list(reports)
    return Report(_unique(label for report in held for label in report.labels), all(r.whole for r in held))


def unhealthy_label(report: Report) -> int | None:
    """Returns 0 if the reports say `normal` and nothing else, 1 if they name a finding, else None.

    `normal` beside a finding gives None: they refer to different images of the session, or one was misread.
    """
    words = {label.lower() for label in report.labels}
    if words == {NORMAL}:
        return 0 if report.whole else None
    if NORMAL in words:
        return None
    return 1 if words - NO_STATEMENT - DEVICES else None


def targets(covid: int | None, report: Report) -> tuple[int | None, int | None, int | None]:
    """Returns unhealthy, COVID and other disease of a radiograph, from its test label and its session's reports.

    A positive test is not radiographic disease, so `unhealthy` comes from the reports alone: a positive with a normal
    report is 0, one without a report is unknown. Other disease is 0 for a positive, as for every COVID image of the
    paper. A negative patient was tested for a reason, often after COVID-19: COVID is 0, and the rest is unknown.
    """
    unhealthy = unhealthy_label(report)
    if covid == 0:
        return None, 0, None
    if covid == 1:
        return unhealthy, 1, 0
    return unhealthy, None, 0 if unhealthy == 0 else None


def _unique(labels: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label for raw in labels if (label := " ".join(raw.split()))))
