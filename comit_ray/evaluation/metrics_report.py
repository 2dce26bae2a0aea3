"""Tables and sentences about the metrics of one screen: what they mean, and what they do not mean."""

from collections.abc import Sequence

import pandas as pd

from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.errors import Status
from comit_ray.evaluation.classification import PREFIXES, labelled
from comit_ray.evaluation.report import paper_values
from comit_ray.evaluation.report.document import Table
from comit_ray.evaluation.report.metric_words import at_in_words, group_in_words, groups_shown, metric_in_words
from comit_ray.evaluation.report.paper_values import Printed
from comit_ray.evaluation.report.printing import cell, points, with_interval
from comit_ray.evaluation.screen_metrics import absent_heads, head_of
from comit_ray.statistics.intervals import patient_codes, patients_of
from comit_ray.statistics.metric import Metric
from comit_ray.tables.vocabulary import counted

CAUTION = """\
Not for diagnosis. Not flagged is not normal. If images with and without COVID-19 come from different sources, a
network can recognise the source instead of the disease. Read first what the report says about shortcuts, and then the
metrics inside one source with their numbers of images."""
READING = """\
The numbers of images show how many were scored; all other metrics are taken over the scored images.
"Threshold from these images" means that the threshold was chosen on these same images, as in the paper, so that the \
metric looks better than it is. "Stored threshold" means a threshold chosen before, on validation data.
AUROC is the area under the ROC curve: 1 is a perfect ranking of positives above negatives, and 0.5 is guessing.
The equal error rate is the share of errors at the threshold where as large a share of negatives is flagged as of \
positives is missed.
The disease metrics are pooled over the pixels of images that have an annotated disease mask. A model that outlines \
everything has a true positive rate of 1, so read precision, Dice and the disease outlined on healthy images with it.
Precision depends on how frequent COVID-19 is among the images.""".splitlines()
"""How to read the metrics."""
HEADS = {
    "covid": "a COVID-19 score",
    "unhealthy": "an unhealthy score",
    "lung": "lung masks",
    "disease": "disease masks",
}
CALIBRATIONS = {
    "none": "Scores are as the model gives them and are not calibrated.",
    "temperature": "Scores are calibrated: their log-odds are divided by the temperatures in the results' run.json.",
}
SECTIONS = {
    "accounts": ("What became of the images", (None,)),
    "covid": ("COVID-19", ("covid",)),
    "unhealthy": ("Unhealthy", ("unhealthy",)),
    "masks": ("Lungs and disease", ("lung", "disease")),
}
"""Name of a table -> its title, and the heads whose metrics it has."""
NO_SINGLE_SOURCE = (
    "No dataset has images both with and without COVID-19, so that these metrics cannot show whether the model learned "
    "the disease or the source."
)
OTHER_DATA = (
    f"The paper's values come from other data (its test split: {paper_values.COVID_IMAGES:,} images with COVID-19 and "
    f"{paper_values.OTHER_IMAGES:,} others). A difference says nothing about either model."
)
FEW = 100
"""With fewer positive patients than this, one patient is worth more than a percentage point."""
NOT_KNOWN = "-"
"""The cell of a metric without a value; the note of the table gives the reason."""
Place = tuple[str, float | str | None]
"""The name of a metric, and the specificity or operating point at which it is measured."""
_COMIT_NET = paper_values.TABLE_4["COMiT-Net"]
_MASKS = paper_values.SEGMENTATION["COMiT-Net"]
PAPER: dict[Place, Printed] = {
    ("sensitivity_at_specificity", paper_values.AT_90): paper_values.SENSITIVITY_AT_90,
    ("sensitivity_at_specificity", paper_values.AT_99): paper_values.SENSITIVITY_AT_99,
    ("eer", None): Printed(_COMIT_NET.eer, "section 4.2, table 4"),
    ("accuracy_at_specificity", paper_values.AT_99): paper_values.ACCURACY,
    ("precision_at_specificity", paper_values.AT_99): paper_values.PRECISION,
    ("f1_at_specificity", paper_values.AT_99): paper_values.F1,
    ("covid_called_unhealthy", None): paper_values.COVID_CALLED_UNHEALTHY,
    ("unhealthy_accuracy_at_operating_point", None): paper_values.UNHEALTHY_ACCURACY,
}
if _MASKS.lung_iou is not None and _MASKS.disease_tpr is not None:
    PAPER[("lung_iou", None)] = Printed(_MASKS.lung_iou, "section 4.1")
    PAPER[("disease_tpr", None)] = Printed(_MASKS.disease_tpr, "section 4.1")
"""Metric and specificity -> the value that the paper prints for COMiT-Net on its own test split."""
PAPER_EXTERNAL: dict[Place, Printed] = {
    ("sensitivity_at_operating_point", "specificity_0.90"): paper_values.BIMCV_FOUND,
    ("missed_without_abnormality", None): paper_values.BIMCV_MISSED_WITHOUT_ABNORMALITY,
}
"""Metric and operating point -> the value that the paper prints for an archive that its model never saw."""


def tables(metrics: Sequence[Metric], images: pd.DataFrame, external: bool = False) -> dict[str, Table]:
    """The metrics as tables, with a column for each group, and the table `paper`; absent heads are left out.

    Args:
        metrics: result of `screen_metrics.screen_metrics`.
        images: result of `screen_metrics.join_tables`.
        external: whether the model never saw the archive; then other values of the paper are shown.
    """
    absent = absent_heads(images)
    found = {}
    shown: list[Metric] = []
    for name, (title, heads) in SECTIONS.items():
        mine = [
            metric
            for metric in metrics
            if head_of(metric.metric) in heads
            and head_of(metric.metric) not in absent
            and "recall" not in metric.metric
        ]
        if mine:
            found[name] = _accounts(mine) if name == "accounts" else _table(title, mine, images)
            shown += mine
    beside = paper_table(shown, PAPER_EXTERNAL if external else PAPER)
    return found if beside is None else found | {"paper": beside}


def _accounts(metrics: Sequence[Metric]) -> Table:
    """The number of images scored, excluded and failed in each group; metrics.json has the shares with intervals."""
    by_place = {(metric.group, metric.at): metric for metric in metrics}
    rows = []
    for group in groups_shown(list(metrics)):
        mine = [by_place.get((group, str(status))) for status in Status]
        shares = [metric for metric in mine if metric is not None]
        counts = ["" if one is None or one.value is None else f"{round(one.value * one.n):,}" for one in mine]
        rows.append((group_in_words(group), f"{max(one.n for one in shares):,}", *counts))
    masks = [one for one in metrics if one.metric == "unreadable_masks" and one.group == "all" and one.value]
    note = f"{masks[0].value:.0%} of {masks[0].n:,} annotated masks could not be read." if masks else ""
    return Table(SECTIONS["accounts"][0], ("images of", "all", *map(str, Status)), tuple(rows), note)


def _table(title: str, metrics: Sequence[Metric], images: pd.DataFrame) -> Table:
    """A row for each metric and a column for each group; groups without any value are left out."""
    groups = [
        group
        for group in groups_shown(list(metrics))
        if group == "all" or any(one.group == group and one.value is not None for one in metrics)
    ]
    places = list(dict.fromkeys((metric.metric, metric.at, metric.level) for metric in metrics))
    by_place = {(metric.metric, metric.at, metric.level, metric.group): metric for metric in metrics}
    levels = len({metric.level for metric in metrics}) > 1
    rows = []
    for place in places:
        name, at, level = place
        shown = [by_place.get((*place, group)) for group in groups]
        if all(metric is None or metric.value is None for metric in shown):
            continue  # the note says why
        cells = [_cell(metric, images) for metric in shown]
        rows.append((metric_in_words(name), at_in_words(name, at), *([level] if levels else []), *cells))
    head = head_of(metrics[0].metric)
    heads = [_heading(group, images, head) for group in groups]
    columns = ("metric", "at", *(["counted"] if levels else []), *heads)
    hidden = [group.removeprefix("dataset=") for group in groups_shown(list(metrics)) if group not in groups]
    notes = [f"Nothing can be measured in {', '.join(hidden)} alone."] if hidden else []
    if len(rows) < len(places):
        notes.append(f"Metrics left out because they have no value: {len(places) - len(rows)}.")
    notes += _reasons([metric for metric in metrics if metric.group in groups])
    return Table(title, columns, tuple(rows), " ".join(notes))


def _heading(group: str, images: pd.DataFrame, head: str | None) -> str:
    """The name of the group, with its numbers of positives and negatives and of their patients."""
    if head not in PREFIXES:
        return group_in_words(group)
    told = []
    for label in (1, 0):
        rows = _labelled(images, head, group)
        mine = rows[rows[head] == label]
        told.append(f"{len(mine):,} of {counted(people(mine), 'patient')}" if len(mine) else "0")
    return f"{group_in_words(group)}: {' + '.join(told)}"


def _cell(metric: Metric | None, images: pd.DataFrame) -> str:
    """The value with its interval; n is added if the head of the column does not give it."""
    if metric is None or metric.value is None:
        return NOT_KNOWN
    return with_interval(metric) if _is_in_heading(metric, images) else cell(metric)


def paper_table(metrics: Sequence[Metric], printed: dict[Place, Printed]) -> Table | None:
    """The paper's values for COMiT-Net on its own data, beside the same metric here.

    Args:
        metrics: the metrics that are shown.
        printed: `PAPER` or `PAPER_EXTERNAL`.

    Returns:
        None if the paper prints none of them.
    """
    rows = []
    for metric in metrics:
        theirs = _printed(metric.metric, metric.at, metric.level, printed)
        if theirs is None or metric.group != "all":
            continue
        whose = "unhealthy: " if metric.metric.startswith("unhealthy_") else ""
        what = f"{whose}{metric_in_words(metric.metric)} {at_in_words(metric.metric, metric.at)}".strip()
        where = f"{theirs.place}{f'; {theirs.remark}' if theirs.remark else ''}"
        rows.append((what, f"{theirs.value:.4g}", with_interval(metric), where))
    columns = ("metric", "paper (other data)", "here", "where the paper prints it")
    return Table("The paper's values, from other data", columns, tuple(rows), OTHER_DATA) if rows else None


def _labelled(images: pd.DataFrame, head: str, group: str) -> pd.DataFrame:
    """The images of a group that have a label and a score."""
    rows = images[["dataset", "patient_id", head]][labelled(images, head)]
    return rows if group == "all" else rows[rows["dataset"] == group.removeprefix("dataset=")]


def _is_in_heading(metric: Metric, images: pd.DataFrame) -> bool:
    """Whether a metric counts all labelled images, all positives or all negatives."""
    head, name = head_of(metric.metric), metric.metric
    of_others = name == "covid_called_unhealthy" or ("precision" in name and "average" not in name)
    if metric.level != "image" or head not in PREFIXES or of_others:
        return False
    rows = _labelled(images, head, metric.group)
    return metric.n in {len(rows), int((rows[head] == 1).sum()), int((rows[head] == 0).sum())}


def _printed(metric: str, at: float | str | None, level: str, printed: dict[Place, Printed]) -> Printed | None:
    """The paper's value of a metric; the paper does not name its operating points as we do."""
    if level != "image":
        return None
    return printed.get((metric, at)) or (printed.get((metric, None)) if isinstance(at, str) else None)


def _reasons(metrics: Sequence[Metric]) -> list[str]:
    """Why metrics have no value or no interval, a sentence for each of both and every group."""
    found: dict[tuple[str, str], list[str]] = {}
    for metric in metrics:
        if metric.reason is not None:
            what = "Undefined" if metric.value is None else "No interval"
            found.setdefault((what, group_in_words(metric.group)), []).append(metric.reason)
    return [f"{what} ({group}): {'; '.join(dict.fromkeys(reasons))}." for (what, group), reasons in found.items()]


def sentences(images: pd.DataFrame, metrics: Sequence[Metric]) -> list[str]:
    """What a reader must know about these images and scores.

    Args:
        images: result of `screen_metrics.join_tables`.
        metrics: result of `screen_metrics.screen_metrics`.
    """
    scored = images[["dataset", "patient_id", "covid", "p_covid"]][images["status"] == Status.OK]
    return [*positives(scored), *_sources(scored, metrics), *_about(images), *_without_id(images)]


def intervals(config: EvaluateConfig) -> str:
    """The paragraph that explains the intervals, the numbers of images, and the digits."""
    return (
        "Square brackets give 95% intervals: the range of values that these data support. An interval without a mark "
        f"comes from the percentiles of {config.draws:,} bootstrap draws (seed {config.seed}) of patients with all "
        "their images; thresholds chosen on the images are chosen anew in each draw. The mark w stands for Wilson's "
        "interval, which is used if the threshold is stored and no patient has several of the images. If patients have "
        "several images and all or none of these are hits, all draws are alike: w is then Wilson's interval over "
        "patients, and p is Newcombe's interval of an AUROC of 0 or 1. The head of a column gives positives + "
        "negatives. A sensitivity counts the positives and a specificity the negatives. A metric that counts other "
        "images, such as a precision over flagged images, has its own n. Numbers have two digits, more if the interval "
        "is narrower than 0.02, and fewer if it is wider than 1; metrics.json has all digits. A study or patient "
        "(column counted) is flagged if any of its images is: with more images per patient, sensitivity rises and "
        "specificity falls."
    )


def people(images: pd.DataFrame) -> int:
    """The number of patients of these images; an image without a patient id counts as a patient of its own."""
    return patients_of(patient_codes(images["patient_id"]))


def of_patients(images: pd.DataFrame) -> str:
    """The numbers of images and patients, such as `227 images of 161 patients`; unknown patients are not counted."""
    known = images["patient_id"].dropna()
    return in_patients(len(images), int(known.nunique()), len(images) - len(known))


def in_patients(images: int, patients: int, without: int) -> str:
    """The words of `of_patients` for counts: images, known patients, and images whose patient is not known."""
    told = counted(images, "image")
    if without == images:
        return f"{told}, patients not known"
    who = counted(patients, "patient")
    return f"{told}: {images - without:,} of {who}, {without:,} without a patient id" if without else f"{told} of {who}"


def positives(scored: pd.DataFrame) -> list[str]:
    """How many percentage points of sensitivity one patient is worth, if there are few positive patients."""
    covid = scored[(scored["covid"] == 1) & scored["p_covid"].notna()]
    patients = people(covid)
    if not patients or patients >= FEW:
        return []
    who = f"{counted(patients, 'patient')} with COVID-19 ({counted(len(covid), 'image')})"
    return [f"{who}: one patient is worth {points(patients)} percentage points of patient-level sensitivity."]


def _sources(scored: pd.DataFrame, metrics: Sequence[Metric]) -> list[str]:
    """Whether the AUROC holds inside a source that has both classes, if there are several sources."""
    known = scored[scored["covid"].notna() & scored["p_covid"].notna()]
    classes = known.groupby("dataset")["covid"].nunique()
    if known["covid"].nunique() < 2 or len(classes) < 2:
        return []
    if not (classes == 2).any():
        return [NO_SINGLE_SOURCE]
    aurocs = {metric.group: metric for metric in metrics if metric.metric == "auroc"}
    inside = {str(name): aurocs[f"dataset={name}"] for name in classes.index[classes == 2]}
    told = [f"{with_interval(metric)} inside {name}" for name, metric in inside.items()]
    found = [f"The AUROC for COVID-19 is {with_interval(aurocs['all'])} over all sources, and {', '.join(told)}."]
    chance = [name for name, metric in inside.items() if metric.low is not None and metric.low <= 0.5]
    unsure = [name for name, metric in inside.items() if metric.low is None]
    if unsure:
        found.append(
            f"Inside {', '.join(unsure)} it has no interval, because there are too few images for a conclusion."
        )
    if chance:
        found.append(
            f"Inside {', '.join(chance)} the score is not shown to be better than guessing (0.5): the model may have "
            "learned the source and not the disease."
        )
    return found


def _without_id(images: pd.DataFrame) -> list[str]:
    """The numbers of images whose patient or study is not known."""
    found = []
    patients, studies = (int(images[column].isna().sum()) for column in ("patient_id", "study_id"))
    if patients:
        found.append(
            f"Images without a patient id: {patients:,} of {len(images):,}. Each counts as a patient of its own, so "
            "that intervals are too narrow if several of them are of one patient."
        )
    if 0 < studies < len(images):
        found.append(f"Images without a study id: {studies:,} of {len(images):,}. They are in no metric of studies.")
    return found


def _about(images: pd.DataFrame) -> list[str]:
    """The models, the calibration of the scores, and the heads that are absent."""
    absent = absent_heads(images)
    models = sorted(images["model_id"].dropna().unique())
    found = [f"The scores come from {'model' if len(models) == 1 else 'several models:'} {', '.join(models)}."]
    found = found if models else []
    found += [CALIBRATIONS.get(name, f"Scores: {name}.") for name in sorted(images["calibration"].dropna().unique())]
    if len(absent) == len(HEADS):
        return [*found, "No image has a score or a mask, so that the report can only count the images."]
    if absent:
        missing = " or ".join(HEADS[head] for head in absent)
        found.append(f"No image has {missing}: the metrics for them are left out.")
    return found
