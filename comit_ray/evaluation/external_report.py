"""Tables and sentences about an external archive: found, missed, not scored, readers' findings (section 4.4)."""

from collections.abc import Sequence

import pandas as pd

from comit_ray.errors import Status
from comit_ray.evaluation.external import MISSED_READ, MISSED_WITHOUT_ABNORMALITY, WORST_CASE, Outcome, kappas, outcomes
from comit_ray.evaluation.metrics_report import people
from comit_ray.evaluation.report import paper_values
from comit_ray.evaluation.report.document import Table
from comit_ray.evaluation.report.printing import number, score, with_interval
from comit_ray.statistics.metric import Level, Metric

UNSEEN = (
    "Whether the model was trained on images, or on patients, of this archive cannot be seen from its tables: compare "
    "the manifests (jobs/manifest.py --duplicates report finds pictures that look alike)."
)
SENSITIVITY, SPECIFICITY = "sensitivity_at_operating_point", "specificity_at_operating_point"


def tables(images: pd.DataFrame, verdicts: pd.DataFrame | None, readings: pd.DataFrame | None) -> dict[str, Table]:
    """`external`, `missed`, `not_scored`, and with readings `readers` and `reader_agreement`.

    Args:
        images: of `comit_ray.evaluation.screen_metrics.join_tables`.
        verdicts: of `external.consensus`; None: nobody read the archive.
        readings: of `external.read_reviews`.
    """
    outcome = outcomes(images)
    found = {"external": _counts(images, outcome), "missed": _missed(images, outcome, verdicts)}
    unscored = images[images["status"] != Status.OK]
    if len(unscored):
        found["not_scored"] = _not_scored(unscored)
    if verdicts is not None and readings is not None:
        found["readers"] = _readers(images, outcome, verdicts)
        found["reader_agreement"] = _agreement(readings[readings["image_id"].isin(images["image_id"])])
    return found


def sentences(images: pd.DataFrame, metrics: Sequence[Metric], verdicts: pd.DataFrame | None) -> list[str]:
    """What can be said of the archive.

    Args:
        images: of `comit_ray.evaluation.screen_metrics.join_tables`.
        metrics: of `comit_ray.evaluation.screen_metrics.screen_metrics`, with `external.metrics_of`.
        verdicts: of `external.consensus`; None: nobody read the archive.
    """
    outcome = outcomes(images)
    if outcome.empty:
        return ["No image of this archive is labelled COVID-19: nothing can be found or missed.", UNSEEN]
    return [
        *_found(images, outcome, metrics),
        *_unscored(images, outcome, metrics),
        *_specificity(metrics),
        *_read(outcome, metrics, verdicts),
        UNSEEN,
    ]


def _found(images: pd.DataFrame, outcome: pd.Series, metrics: Sequence[Metric]) -> list[str]:
    sensitivity = _find(metrics, SENSITIVITY)
    if sensitivity.value is None:
        return [f"Sensitivity is undefined: {sensitivity.reason}."]
    found, missed = (int((outcome == kind).sum()) for kind in (Outcome.FOUND, Outcome.MISSED))
    scored = images.loc[outcome.index[outcome.isin([Outcome.FOUND, Outcome.MISSED])]]
    said = (
        f"Scored images labelled COVID-19: {found + missed:,}, patients: {people(scored):,}. At the operating point "
        f"{sensitivity.at} the model found {found:,} images and missed {missed:,}: sensitivity "
        f"{with_interval(sensitivity)}."
    )
    levels: tuple[Level, ...] = ("study", "patient")
    others = [
        f"{with_interval(metric)} of {metric.n:,} {'studies' if level == 'study' else 'patients'}"
        for level in levels
        if (metric := _find(metrics, SENSITIVITY, level)).value is not None
    ]
    if others:
        said += f" With any image flagged: {', '.join(others)}."
    theirs = paper_values.BIMCV_FOUND
    counts = f"{theirs.counts[0]:,} of {theirs.counts[1]:,}, " if theirs.counts else ""
    return [said, f"The paper, on other data: {number(theirs.value)} ({counts}{theirs.place}; {theirs.remark})."]


def _unscored(images: pd.DataFrame, outcome: pd.Series, metrics: Sequence[Metric]) -> list[str]:
    kinds = (Outcome.EXCLUDED, Outcome.FAILED, Outcome.WITHOUT_FLAG)
    counts = {kind: int((outcome == kind).sum()) for kind in kinds}
    left_out = int((outcome == Outcome.LEFT_OUT).sum())
    found = []
    if left_out:
        found.append(
            f"Images labelled COVID-19 that were left out of the archive on purpose (duplicates, or not in the "
            f"protocol), and are in no figure: {left_out:,}."
        )
    if not any(counts.values()):
        return [*found, f"Every {'other ' if left_out else ''}image labelled COVID-19 was scored."]
    told = ", ".join(f"{count:,} {kind.partition(':')[0]}" for kind, count in counts.items() if count)
    reasons = images.loc[outcome.index[outcome.isin([Outcome.EXCLUDED, Outcome.FAILED])], "reason"].value_counts()
    told += "".join(f"; {count:,} {reason}" for reason, count in reasons.items())
    worst = _find(metrics, WORST_CASE)
    found.append(
        f"Neither found nor missed: {sum(counts.values()):,} more ({told}; tables/not_scored.csv has all without a "
        f"score). With all of them counted as missed the sensitivity is {with_interval(worst)} (n={worst.n:,})."
    )
    return found


def _specificity(metrics: Sequence[Metric]) -> list[str]:
    specificity = _find(metrics, SPECIFICITY)
    if specificity.value is None:
        why = f"Specificity is undefined here ({specificity.reason}): "
        return [f"{why}how many without COVID-19 would be flagged is not known; who flags all misses nothing."]
    return [f"Of {specificity.n:,} images labelled not COVID-19, not flagged: {with_interval(specificity)}."]


def _read(outcome: pd.Series, metrics: Sequence[Metric], verdicts: pd.DataFrame | None) -> list[str]:
    if verdicts is None:
        return ["There are no readings (--reviews): whether the missed show an abnormality is not known."]
    missed = int((outcome == Outcome.MISSED).sum())
    nothing = _find(metrics, MISSED_WITHOUT_ABNORMALITY)
    read = _find(metrics, MISSED_READ)
    if nothing.value is None:
        return [f"Readings: {nothing.reason}."]
    count = round(nothing.value * nothing.n)
    said = (
        f"Readers read {nothing.n:,} of the {missed:,} missed images, and more than half of an image's readers saw no "
        f"abnormality in {count:,} of these: {with_interval(nothing)}."
    )
    if read.value is not None and read.value < 1:
        said += " Of the missed that nobody read this says nothing."
    theirs = paper_values.BIMCV_MISSED_WITHOUT_ABNORMALITY
    counts = f"{theirs.counts[0]} of {theirs.counts[1]}" if theirs.counts else number(theirs.value)
    return [said, f"The paper, on other data: {counts} ({theirs.place})."]


def _find(metrics: Sequence[Metric], metric: str, level: Level = "image") -> Metric:
    return next(f for f in metrics if (f.metric, f.group, f.level) == (metric, "all", level))


def _counts(images: pd.DataFrame, outcome: pd.Series) -> Table:
    rows = [("labelled COVID-19", f"{len(outcome):,}", f"{people(images.loc[outcome.index]):,}")]
    for kind in Outcome:
        mine = outcome.index[outcome == kind]
        rows.append((str(kind), f"{len(mine):,}", f"{people(images.loc[mine]):,}"))
    note = "A patient counts in every line that an image of theirs is in; an image without a patient's id is a patient."
    return Table("Images labelled COVID-19", ("what became of them", "images", "patients"), tuple(rows), note)


def _missed(images: pd.DataFrame, outcome: pd.Series, verdicts: pd.DataFrame | None) -> Table:
    columns = ["image_id", "dataset", "patient_id", "view", "illness_day", "p_covid", "operating_point"]
    missed = images.loc[outcome.index[outcome == Outcome.MISSED]].sort_values("image_id")
    rows = []
    said = _said(verdicts)
    for row in missed[columns].to_dict("records"):
        cells = [_text(row[name]) for name in columns[:4]]
        day = "" if pd.isna(row["illness_day"]) else f"{int(row['illness_day'])}"
        cells += [day, "" if pd.isna(row["p_covid"]) else score(row["p_covid"]), _text(row["operating_point"])]
        rows.append((*cells, *([] if verdicts is None else [said.get(row["image_id"], "not read")])))
    header = (*columns, *([] if verdicts is None else ["readers"]))
    return Table("Missed images", header, tuple(rows), "Images labelled COVID-19 that were scored and not flagged.")


def _not_scored(unscored: pd.DataFrame) -> Table:
    columns = ["image_id", "dataset", "patient_id", "covid", "status", "reason", "detail"]
    rows = []
    for row in unscored.sort_values(["covid", "image_id"], ascending=[False, True])[columns].to_dict("records"):
        covid = "not known" if pd.isna(row["covid"]) else f"{int(row['covid'])}"
        rows.append(tuple(covid if name == "covid" else _text(row[name]) for name in columns))
    return Table("Images without a score", tuple(columns), tuple(rows), "Whatever their label.")


def _readers(images: pd.DataFrame, outcome: pd.Series, verdicts: pd.DataFrame) -> Table:
    said = _said(verdicts)
    rows = []
    for kind in (Outcome.MISSED, Outcome.FOUND):
        mine = images.loc[outcome.index[outcome == kind], "image_id"]
        answers = [said[image_id] for image_id in mine if image_id in said]
        counts = [len(mine), len(answers), *(answers.count(answer) for answer in ANSWERS.values())]
        rows.append((str(kind), *(f"{count:,}" for count in counts)))
    note = (
        "What more than half of an image's readers saw, the last reading of each. A tie, or readers who could not say, "
        "are no consensus."
    )
    columns = ("images labelled COVID-19", "all", "read", *ANSWERS.values())
    return Table("What readers saw", columns, tuple(rows), note)


def _agreement(readings: pd.DataFrame) -> Table:
    rows = [
        (first, second, f"{both:,}", f"{agree:,}", "undefined" if kappa is None else number(kappa))
        for first, second, both, agree, kappa in kappas(readings)
    ]
    note = (
        "Abnormal or not, over all images of the archive that both judged. Cohen's kappa is 1 for full agreement, 0 "
        "for that of chance; undefined where both gave one and the same answer throughout."
    )
    return Table("Readers beside one another", ("reader", "reader", "both read", "agree", "kappa"), tuple(rows), note)


ANSWERS = {False: "no abnormality", True: "abnormal", None: "no consensus"}


def _said(verdicts: pd.DataFrame | None) -> dict[str, str]:
    """Image -> what its readers saw, in words."""
    if verdicts is None:
        return {}
    return {
        image_id: ANSWERS[abnormal]
        for image_id, abnormal in zip(verdicts["image_id"], verdicts["abnormal"], strict=True)
    }


def _text(value: object) -> str:
    return "" if pd.isna(value) else str(value)  # type: ignore[call-overload]
