"""The chapter on the check for frontal chest radiographs: its findings among the images, and its reliability."""

import pandas as pd

from comit_ray.checkpoint import frontal_check
from comit_ray.checkpoint.frontal_check import COLUMN, THRESHOLD, FrontalCheck
from comit_ray.errors import REASON_WORDS, CheckpointError, Reason, StorageError
from comit_ray.evaluation import model_card
from comit_ray.evaluation.report.document import Chapter, Table
from comit_ray.tables.vocabulary import REVIEW_WORDS, ReviewReason, counted

FRONTAL = "frontal"


def chapter(results: str | None, images: pd.DataFrame) -> Chapter:
    """Makes the chapter; without a check it says why there was none.

    Args:
        results: URI of the screen; None for a bare predictions table.
        images: rows with the columns of `predictions`.
    """
    check, why = _check(results)
    said = [_found(images)]
    if check is None:
        said.append(f"The reliability of the check is not known: {why}.")
    else:
        said.append(f"{check.line[:1].upper()}{check.line[1:]}.")
    tested = {} if check is None or not check.tested else {"frontal_check": _tested(check)}
    return Chapter("frontal", "Is it a frontal chest?", said, tested)


def _check(results: str | None) -> tuple[FrontalCheck | None, str]:
    trained = model_card.read(results)
    if trained.checkpoint is None or trained.reason is not None:
        return None, str(trained.reason)
    try:
        return frontal_check.load(trained.checkpoint), ""
    except (CheckpointError, StorageError) as error:
        return None, str(error)


def _found(images: pd.DataFrame) -> str:
    """The sentence that says how many scored images do not look like a frontal chest radiograph."""
    checked = images[images[COLUMN].notna()]
    if checked.empty:
        return (
            "No image was checked: a lateral view or a CT slice without a header is scored like a frontal radiograph."
        )
    suspected = int((checked[COLUMN] < THRESHOLD).sum())
    if not suspected:
        return f"Of {counted(len(checked), 'scored image')} every one looks like a frontal chest radiograph."
    why = REVIEW_WORDS[ReviewReason.NOT_A_FRONTAL_CHEST]
    return (
        f"{suspected:,} of {counted(len(checked), 'scored image')} {'does' if suspected == 1 else 'do'} not look like "
        f'a frontal chest radiograph. They were not left out: they stand in the queue with the reason "{why}". Their '
        "scores cannot be relied on."
    )


def _tested(check: FrontalCheck) -> Table:
    rows = []
    for group in check.tested:
        kind = "frontal chest" if group.kind == FRONTAL else REASON_WORDS[Reason(group.kind)]
        row = (group.dataset, kind, f"{group.images:,}", f"{group.patients:,}", f"{group.right:,}")
        rows.append(row)
    columns = ("source", "kind of image by the source", "images", "patients", "recognised as that kind")
    note = (
        "Each patient was tested once, by a classifier that was fitted without this patient. The classifier did not "
        "learn kinds of images that are not in the table."
    )
    return Table("Test of the check for frontal chest radiographs, by patient", columns, tuple(rows), note)
