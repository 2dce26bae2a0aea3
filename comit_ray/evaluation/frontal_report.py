"""Is it a frontal chest? What the checkpoint's check found among the images, and what the check itself is worth."""

import pandas as pd

from comit_ray.checkpoint import frontal_check
from comit_ray.checkpoint.frontal_check import COLUMN, THRESHOLD, FrontalCheck
from comit_ray.errors import REASON_WORDS, CheckpointError, Reason, StorageError
from comit_ray.evaluation import model_card
from comit_ray.evaluation.report.document import Chapter, Table
from comit_ray.tables.vocabulary import REVIEW_WORDS, ReviewReason

FRONTAL = "frontal"


def chapter(results: str | None, images: pd.DataFrame) -> Chapter:
    """The chapter; it says why there was no check, where there was none.

    Args:
        results: URI of the screen; None: a bare predictions table.
        images: rows with `predictions`.
    """
    check, why = _check(results)
    said = [_found(images)]
    if check is None:
        said.append(f"What the check is worth is not known: {why}.")
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
    """How many of the scored images look like none."""
    checked = images[images[COLUMN].notna()]
    if checked.empty:
        return "No image was checked: a lateral or a CT slice without a header is scored like a frontal chest."
    suspected = int((checked[COLUMN] < THRESHOLD).sum())
    if not suspected:
        return f"Of {len(checked):,} scored images none looks like anything but a frontal chest."
    why = REVIEW_WORDS[ReviewReason.NOT_A_FRONTAL_CHEST]
    return (
        f"{suspected:,} of {len(checked):,} scored images look like no frontal chest; nothing was left out for it. "
        f'The queue has this as a reason ("{why}"), and what their scores say is not known.'
    )


def _tested(check: FrontalCheck) -> Table:
    rows = []
    for group in check.tested:
        kind = "frontal chest" if group.kind == FRONTAL else REASON_WORDS[Reason(group.kind)]
        row = (group.dataset, kind, f"{group.images:,}", f"{group.patients:,}", f"{group.right:,}")
        rows.append(row)
    columns = ("source", "what the source says it is", "images", "patients", "taken for that")
    note = (
        "Each patient was tested once, by a fit without this patient. Kinds that are not in the table were not learned."
    )
    return Table("The check for frontal chests, tested by patient", columns, tuple(rows), note)
