"""Tables and sentences about an external archive: found, missed, not scored, and what readers saw (section 4.4)."""

from collections.abc import Sequence

import pandas as pd

from comit_ray.errors import Status
from comit_ray.evaluation.external import MISSED_READ, MISSED_WITHOUT_ABNORMALITY, WORST_CASE, Outcome, kappas, outcomes
from comit_ray.evaluation.metrics_report import people
from comit_ray.evaluation.report import paper_values
from comit_ray.evaluation.report.document import Table
from comit_ray.evaluation.report.printing import number, score, with_interval
from comit_ray.evaluation.subgroups import SENSITIVITY_METRIC, SPECIFICITY_METRIC
from comit_ray.statistics.metric import Level, Metric
from comit_ray.tables.vocabulary import counted

UNSEEN = (
    "The tables cannot show whether the model was trained on images or patients of this archive. Compare the manifests "
    "(comit-ray manifest --duplicates report finds images that look alike)."
)


def tables(images: pd.DataFrame, verdicts: pd.DataFrame | None, readings: pd.DataFrame | None) -> dict[str, Table]:
    """The tables `external`, `missed` and `not_scored`; with readings also `readers` and `reader_agreement`.

    Args:
        images: result of `screen_metrics.join_tables`.
        verdicts: result of `external.consensus`; None if nobody read the archive.
        readings: result of `external.read_reviews`; None if nobody read the archive.
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
    """The sentences about an external archive.

    Args:
        images: result of `screen_metrics.join_tables`.
        metrics: result of `screen_metrics.screen_metrics`, with `external.metrics_of`.
        verdicts: result of `external.consensus`; None if nobody read the archive.
    """
    outcome = outcomes(images)
    if outcome.empty:
        return ["No image of this archive is labelled COVID-19, so that none can be found or missed.", UNSEEN]
    return [
        *_found(images, outcome, metrics),
        *_unscored(images, outcome, metrics),
        *_specificity(metrics),
        *_read(outcome, metrics, verdicts),
        UNSEEN,
    ]


def _found(images: pd.DataFrame, outcome: pd.Series, metrics: Sequence[Metric]) -> list[str]:
    sensitivity = _find(metrics, SENSITIVITY_METRIC)
    if sensitivity.value is None:
        return [f"Sensitivity is undefined: {sensitivity.reason}."]
    found, missed = (int((outcome == kind).sum()) for kind in (Outcome.FOUND, Outcome.MISSED))
    scored = images.loc[outcome.index[outcome.isin([Outcome.FOUND, Outcome.MISSED])]]
    said = (
        f"The model scored {counted(found + missed, 'image')} labelled COVID-19, of "
        f"{counted(people(scored), 'patient')}. At the operating point {sensitivity.at} it found {found:,} of these "
        f"images and missed {missed:,}: the sensitivity is {with_interval(sensitivity)}."
    )
    levels: tuple[Level, ...] = ("study", "patient")
    others = [
        f"{with_interval(metric)} over {counted(metric.n, level, 'studies' if level == 'study' else '')}"
        for level in levels
        if (metric := _find(metrics, SENSITIVITY_METRIC, level)).value is not None
    ]
    if others:
        said += f" If one flagged image counts as found, the sensitivity is {', and '.join(others)}."
    theirs = paper_values.BIMCV_FOUND
    counts = f"{theirs.counts[0]:,} of {theirs.counts[1]:,}, " if theirs.counts else ""
    return [
        said,
        (
            f"For comparison, the paper reports {number(theirs.value)} on other data ({counts}{theirs.place}; "
            f"{theirs.remark})."
        ),
    ]


def _unscored(images: pd.DataFrame, outcome: pd.Series, metrics: Sequence[Metric]) -> list[str]:
    kinds = (Outcome.EXCLUDED, Outcome.FAILED, Outcome.WITHOUT_FLAG)
    counts = {kind: int((outcome == kind).sum()) for kind in kinds}
    left_out = int((outcome == Outcome.LEFT_OUT).sum())
    found = []
    if left_out:
        found.append(
            "Images labelled COVID-19 that were left out on purpose (duplicates, or not in the protocol): "
            f"{left_out:,}. They are in no metric."
        )
    if not any(counts.values()):
        return [*found, f"Every {'other ' if left_out else ''}image labelled COVID-19 was scored."]
    told = ", ".join(f"{count:,} {kind.partition(':')[0]}" for kind, count in counts.items() if count)
    reasons = images.loc[outcome.index[outcome.isin([Outcome.EXCLUDED, Outcome.FAILED])], "reason"]
    reasons = reasons.astype("str").value_counts()
    told += "".join(f"; {count:,} {reason}" for reason, count in reasons.items())
    worst = _find(metrics, WORST_CASE)
    found.append(
        f"Images that are neither found nor missed: {sum(counts.values()):,} ({told}). If all of them counted as "
        f"missed, the sensitivity would be {with_interval(worst)} (n={worst.n:,}). tables/not_scored.csv lists all "
        "images without a score."
    )
    return found


def _specificity(metrics: Sequence[Metric]) -> list[str]:
    specificity = _find(metrics, SPECIFICITY_METRIC)
    if specificity.value is None:
        return [
            (
                f"Specificity is undefined here ({specificity.reason}). It is not known how many images without "
                "COVID-19 the model would flag, and a model that flags everything misses nothing."
            )
        ]
    return [
        (
            "Specificity, the share of images labelled not COVID-19 that are not flagged: "
            f"{with_interval(specificity)} (n={specificity.n:,})."
        )
    ]


def _read(outcome: pd.Series, metrics: Sequence[Metric], verdicts: pd.DataFrame | None) -> list[str]:
    if verdicts is None:
        return [
            "No readings were given (--reviews), so that it is not known whether the missed images show an abnormality."
        ]
    missed = int((outcome == Outcome.MISSED).sum())
    nothing = _find(metrics, MISSED_WITHOUT_ABNORMALITY)
    read = _find(metrics, MISSED_READ)
    if nothing.value is None:
        return [f"The readings say nothing about missed images: {nothing.reason}."]
    count = round(nothing.value * nothing.n)
    said = (
        f"Readers read {nothing.n:,} of {counted(missed, 'missed image')}. In {count:,} of those read, more than half "
        f"of the image's readers saw no abnormality: {with_interval(nothing)}."
    )
    if read.value is not None and read.value < 1:
        said += " This says nothing about missed images that nobody read."
    theirs = paper_values.BIMCV_MISSED_WITHOUT_ABNORMALITY
    counts = f"{theirs.counts[0]} of {theirs.counts[1]}" if theirs.counts else number(theirs.value)
    return [said, f"For comparison, the paper reports {counts} on other data ({theirs.place})."]


def _find(metrics: Sequence[Metric], metric: str, level: Level = "image") -> Metric:
    return next(f for f in metrics if (f.metric, f.group, f.level) == (metric, "all", level))


def _counts(images: pd.DataFrame, outcome: pd.Series) -> Table:
    rows = [("labelled COVID-19", f"{len(outcome):,}", f"{people(images.loc[outcome.index]):,}")]
    for kind in Outcome:
        mine = outcome.index[outcome == kind]
        rows.append((str(kind), f"{len(mine):,}", f"{people(images.loc[mine]):,}"))
    note = (
        "A patient counts in every row that contains one of their images. An image without a patient's id counts as a "
        "patient of its own."
    )
    return Table("Images labelled COVID-19", ("outcome", "images", "patients"), tuple(rows), note)


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
    note = "Images labelled COVID-19 that were scored and not flagged."
    return Table("Missed images", header, tuple(rows), note)


def _not_scored(unscored: pd.DataFrame) -> Table:
    columns = ["image_id", "dataset", "patient_id", "covid", "status", "reason", "detail"]
    rows = []
    for row in unscored.sort_values(["covid", "image_id"], ascending=[False, True])[columns].to_dict("records"):
        covid = "not known" if pd.isna(row["covid"]) else f"{int(row['covid'])}"
        rows.append(tuple(covid if name == "covid" else _text(row[name]) for name in columns))
    return Table("Images without a score", tuple(columns), tuple(rows), "Images of every label.")


def _readers(images: pd.DataFrame, outcome: pd.Series, verdicts: pd.DataFrame) -> Table:
    said = _said(verdicts)
    rows = []
    for kind in (Outcome.MISSED, Outcome.FOUND):
        mine = images.loc[outcome.index[outcome == kind], "image_id"]
        answers = [said[image_id] for image_id in mine if image_id in said]
        counts = [len(mine), len(answers), *(answers.count(answer) for answer in ANSWERS.values())]
        rows.append((str(kind), *(f"{count:,}" for count in counts)))
    note = (
        "The answer of more than half of an image's readers, with the last reading of each reader. A tie gives no "
        "consensus; readers who could not say count among the readers."
    )
    columns = ("images labelled COVID-19", "all", "read", *ANSWERS.values())
    return Table("What readers saw", columns, tuple(rows), note)


def _agreement(readings: pd.DataFrame) -> Table:
    rows = [
        (first, second, f"{both:,}", f"{agree:,}", "undefined" if kappa is None else number(kappa))
        for first, second, both, agree, kappa in kappas(readings)
    ]
    note = (
        "Each row compares two readers over the images that both judged abnormal or not. Cohen's kappa measures "
        "agreement beyond chance: 1 is full agreement, 0 is what chance alone would give. It is undefined if both "
        "readers gave one and the same answer for all images."
    )
    columns = ("first reader", "second reader", "images both read", "agree", "kappa")
    return Table("Agreement between readers", columns, tuple(rows), note)


ANSWERS = {False: "no abnormality", True: "abnormal", None: "no consensus"}


def _said(verdicts: pd.DataFrame | None) -> dict[str, str]:
    """Image id -> the consensus of its readers in words."""
    if verdicts is None:
        return {}
    return {
        image_id: ANSWERS[abnormal]
        for image_id, abnormal in zip(verdicts["image_id"], verdicts["abnormal"], strict=True)
    }


def _text(value: object) -> str:
    return "" if pd.isna(value) else str(value)  # type: ignore[call-overload]
