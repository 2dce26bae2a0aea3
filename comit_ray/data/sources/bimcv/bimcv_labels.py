"""BIMCV-COVID19: is a radiograph COVID-19 positive? The rule of the paper's section 4.4, on dates alone.

Radiographs and tests of a patient have different dates. A radiograph that is closer to a negative test than to any
positive one, or at least 14 days away from every positive one, is negative; any other is positive.
"""

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
