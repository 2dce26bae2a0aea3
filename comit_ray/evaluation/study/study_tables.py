"""The tables of a study's report: classification, ablation, masks, comparisons, trials, the paper's values."""

from collections.abc import Sequence

from comit_ray.evaluation.report import paper_values
from comit_ray.evaluation.report.document import Table
from comit_ray.evaluation.study import study_masks
from comit_ray.evaluation.study import study_words as cells
from comit_ray.evaluation.study.study_metrics import AUROC, EER, MetricKey, Pair, StudyRow, sensitivity
from comit_ray.evaluation.study.study_results import Study
from comit_ray.statistics.comparison import RANKS
from comit_ray.tables.vocabulary import Task

READING = (
    "Each cell is the mean over the seeds ± their standard deviation (n - 1), then [the 95% interval of that mean]. "
    "The interval comes from bootstrap draws of patients, and every draw chooses its thresholds anew. It does not "
    "include what other initial weights would change."
)
OTHER_DATA = (
    "The paper measured other data, at other image sizes and with full training. Its values are no target, and they "
    "cannot be compared with ours."
)
MASKS = (
    "IoU (intersection over union), Dice, precision and TPR (true positive rate) run from 0 to 1. Lung IoU is given "
    "twice: as the mean over images, and pooled over the pixels of all images. The disease metrics are pooled over the "
    "pixels of images with an annotated disease mask, at the threshold 0.5. The last metric is the mean share of the "
    "frame outlined as disease in images labelled healthy. A model that outlines everything has a TPR of 1."
)
SEGMENTED = {
    study_masks.LUNG_IOU: "lung IoU, mean",
    study_masks.LUNG_IOU_POOLED: "lung IoU, pooled",
    study_masks.DISEASE_TPR: "disease TPR",
    study_masks.DISEASE_PRECISION: "disease precision",
    study_masks.DISEASE_DICE: "disease Dice",
    study_masks.PAINTED_ON_HEALTHY: "disease outlined on healthy images",
}
"""Metric of masks -> its name in a table, in the order of the columns."""
STABILITY = sensitivity(paper_values.AT_99)


def classification(study: Study, rows: Sequence[StudyRow], specificities: Sequence[float]) -> Table:
    """Returns our values of the paper's table 4: sensitivities, equal error rate and AUROC for COVID-19, per variant.

    Args:
        study: the study, as read.
        rows: result of `study_metrics.summarise` for COVID-19.
        specificities: specificities of the sensitivities, from 0 to 1.
    """
    variants = cells.rows_of(study, {Task.COVID})
    keys = [*(sensitivity(at) for at in sorted(specificities, reverse=True)), EER, AUROC]
    keys += sorted({row.key for row in rows if row.key.group != AUROC.group}, key=lambda key: key.group)
    columns = ("variant", "seeds", *(cells.in_words(key) + ("" if key.metric == "auroc" else " (%)") for key in keys))
    body = tuple(
        (variant, cells.seeds(study, variant), *(_cell(study, rows, variant, key) for key in keys))
        for variant in variants
    )
    notes = [READING, cells.absent(study, variants), cells.without_interval(rows)]
    return Table(f"COVID-19 on the {study.split} split", columns, body, _joined(notes))


def ablation(study: Study, rows: Sequence[StudyRow]) -> Table:
    """Returns our values of the paper's table 5: sensitivity at 90% specificity with fewer tasks.

    Args:
        study: the study, as read.
        rows: result of `study_metrics.summarise` for COVID-19.
    """
    key = sensitivity(paper_values.AT_90)
    variants = cells.rows_of(study, {Task.COVID})
    body = tuple((variant, cells.seeds(study, variant), _cell(study, rows, variant, key)) for variant in variants)
    columns = ("tasks", "seeds", f"{cells.in_words(key)} (%)")
    notes = [READING, cells.absent(study, variants)]
    return Table(f"Fewer tasks, on the {study.split} split", columns, body, _joined(notes))


def segmentation(study: Study, rows: Sequence[StudyRow], unreadable: int) -> Table:
    """Returns our values of the paper's section 4.1: lung IoU and disease TPR, and the metrics that a TPR alone hides.

    Args:
        study: the study, as read.
        rows: result of `study_metrics.summarise` for the masks.
        unreadable: number of annotated masks that could not be read.
    """
    variants = cells.rows_of(study, {Task.LUNG, Task.DISEASE})
    columns = ("model", "seeds", *SEGMENTED.values(), "images: lung, disease, healthy")
    body = []
    for variant in variants:
        counted = (study_masks.LUNG_IOU, study_masks.DISEASE_TPR, study_masks.PAINTED_ON_HEALTHY)
        found = [cells.find_row(rows, variant, key) for key in counted]
        images = ", ".join(f"{row.n:,}" if row else cells.NOTHING for row in found)
        values = (_head_cell(study, rows, variant, key) for key in SEGMENTED)
        body.append((variant, cells.seeds(study, variant), *values, images))
    notes = [
        READING,
        MASKS,
        f"Annotated masks left out because they could not be read: {unreadable:,}." if unreadable else "",
        cells.absent(study, variants),
        cells.without_interval(rows),
    ]
    return Table(f"Segmentation on the {study.split} split", columns, tuple(body), _joined(notes))


def paper(study: Study, rows: Sequence[StudyRow]) -> Table | None:
    """Returns the values that the paper prints for the variants of the study, beside the same metric here.

    Args:
        study: the study, as read.
        rows: results of `study_metrics.summarise`, for COVID-19 and the masks.

    Returns:
        None if the paper has none of the variants.
    """
    covid, masks = cells.rows_of(study, {Task.COVID}), cells.rows_of(study, {Task.LUNG, Task.DISEASE})
    printed: list[tuple[str, MetricKey, str, str]] = []
    for variant in covid:
        if (row := paper_values.TABLE_4.get(variant)) is not None:
            shares = {sensitivity(paper_values.AT_99): row.at_99, sensitivity(paper_values.AT_90): row.at_90}
            shares |= {EER: row.eer}
            printed += [(variant, key, f"{cells.percent(share)}%", "table 4") for key, share in shares.items()]
    for variant in covid:
        if (share := paper_values.TABLE_5.get(variant)) is not None:
            key = sensitivity(paper_values.AT_90)
            printed.append((variant, key, f"{cells.percent(share)}%", "table 5"))
    for variant in masks:
        if (theirs := paper_values.SEGMENTATION.get(variant)) is not None:
            fractions = {study_masks.LUNG_IOU: theirs.lung_iou, study_masks.DISEASE_TPR: theirs.disease_tpr}
            printed += [
                (variant, key, f"{share:.2f}", "section 4.1") for key, share in fractions.items() if share is not None
            ]
    if not printed:
        return None
    body = tuple(
        (variant, SEGMENTED.get(key) or cells.in_words(key), value, _ours(study, rows, variant, key), place)
        for variant, key, value, place in printed
    )
    columns = ("variant", "metric", "paper (other data)", "here", "where the paper prints it")
    remark = paper_values.TABLE_5_REMARK if any(row[-1] == "table 5" for row in body) else ""
    return Table("The paper's values, from other data", columns, body, _joined([OTHER_DATA, remark]))


def stability(study: Study, rows: Sequence[StudyRow]) -> Table:
    """Returns the spread over seeds of the sensitivity at 99% specificity, as in the paper's figure 8.

    Args:
        study: the study, as read.
        rows: result of `study_metrics.summarise` for COVID-19.
    """
    variants = cells.rows_of(study, {Task.COVID})
    body = []
    for variant in variants:
        row = cells.find_row(rows, variant, STABILITY)
        spread = row.spread if row else None
        deviation = spread.deviation if spread else None
        body.append(
            (
                variant,
                cells.seeds(study, variant),
                cells.percent(spread.mean if spread else None),
                cells.NOTHING if deviation is None else cells.percent(deviation),
                cells.percent(spread.low if spread else None),
                cells.percent(spread.high if spread else None),
            )
        )
    columns = ("variant", "seeds", "mean (%)", "standard deviation (points)", "lowest (%)", "highest (%)")
    note = (
        "The standard deviation is taken with n - 1; one seed has none. With three seeds the true deviation may be "
        "half as large or six times as large (95%, if values are normally distributed). The paper shows this spread in "
        "its figure 8, without numbers."
    )
    title = f"Spread over seeds: {cells.in_words(STABILITY)}, {study.split} split"
    return Table(title, columns, tuple(body), _joined([note, cells.absent(study, variants)]))


def comparisons(pairs: Sequence[Pair], draws: int) -> Table:
    """Returns the comparison of every variant with the reference on the same images, a row per metric and variant.

    Args:
        pairs: result of `study_metrics.compare`, at least one.
        draws: number of draws of the bootstrap and of the test.
    """
    body = []
    for pair in pairs:
        result, show = pair.result, cells.fraction if pair.key == AUROC else cells.percent
        interval = cells.NOTHING
        if result.low is not None and result.high is not None:
            interval = cells.ends(result.low, result.high, pair.key != AUROC)
        body.append(
            (
                cells.in_words(pair.key) + (" (%)" if pair.key.at else ""),
                pair.variant,
                ", ".join(map(str, pair.seeds)) or cells.NOTHING,
                show(result.first),
                show(result.second),
                show(result.difference),
                interval,
                cells.p_value(result.p_value),
                cells.p_value(result.adjusted),
                result.reason or "",
            )
        )
    reference = pairs[0].reference
    columns = ("metric", "variant", "seeds", "value, variant", "value, reference", "difference", "95% interval", "p")
    note = (
        f"The reference is {reference}, on the same images and seeds; each metric is averaged over the seeds. p comes "
        f"from the {RANKS}: {draws:,} draws exchange all images of a patient and all seeds together, so that the "
        f"smallest possible p is {cells.p_value(1 / (draws + 1))}. The adjusted p is corrected by Holm's method over "
        f"the {len(pairs)} rows of this table; the intervals are not corrected. Both hold for these trained networks: "
        "other seeds may differ."
    )
    return Table(f"Every variant compared with {reference}", (*columns, "adjusted p", "remark"), tuple(body), note)


def trials(study: Study) -> Table:
    """Returns every planned trial and its outcome, with the reason if it was not scored.

    Args:
        study: the study, as read.
    """
    body = tuple(
        (
            trial.id,
            trial.variant,
            str(trial.seed),
            trial.status,
            _text(trial.row.get("epochs")),
            _text(trial.row.get("best_epoch")),
            _text(trial.row.get("attempts")),
            _seconds(trial.row.get("seconds")),
            "" if trial.status == "ok" else cells.in_short(trial.detail),
        )
        for trial in study.trials
    )
    columns = ("trial", "variant", "seed", "status", "epochs", "best epoch", "attempts", "seconds", "detail")
    return Table(f"Trials of {study.name}", columns, body, "The seconds are those of the last attempt.")


def search(study: Study) -> Table:
    """Returns the trials of a search, best first, ranked by the metric that the search itself used.

    Args:
        study: a study with `judge`.
    """
    judge = study.judge
    assert judge is not None, "it is a search"
    sign = 1 if judge.startswith("val_loss") else -1
    known = [trial for trial in study.trials if trial.row.get("val_judged") is not None]
    known.sort(key=lambda trial: (sign * trial.row["val_judged"], trial.id))
    others = [trial for trial in study.trials if trial not in known]
    body = tuple(
        (
            str(rank) if trial in known else cells.NOTHING,
            trial.variant,
            str(trial.seed),
            trial.status,
            _text(trial.row.get("epochs")),
            _text(trial.row.get("val_judged"), 5),
            _text(trial.row.get("val_loss"), 5),
            _text(trial.row.get("val_auroc"), 3),
            "" if trial.status == "ok" else cells.in_short(trial.detail),
        )
        for rank, trial in enumerate([*known, *others], start=1)
    )
    note = (
        f"Ranked by {judge} at each trial's best epoch, on the validation split; the test split is not used. A "
        "validation loss is summed with the trial's own weights: do not compare it between trials with other weights. "
        "The best of many trials looks better than it is, by luck: train it again and evaluate it once on the test "
        "split."
    )
    columns = ("rank", "variant", "seed", "status", "epochs", judge, "validation loss", "validation AUROC", "detail")
    return Table("Search", columns, body, note)


def _cell(study: Study, rows: Sequence[StudyRow], variant: str, key: MetricKey) -> str:
    if not study.ok(variant):
        return "not scored"
    return cells.metric_cell(cells.find_row(rows, variant, key), in_percent=key.metric != "auroc")


def _head_cell(study: Study, rows: Sequence[StudyRow], variant: str, key: MetricKey) -> str:
    """Returns the value of a metric of masks; a dash if the model has no such head."""
    ok = study.ok(variant)
    task = Task.LUNG if key.metric.startswith("lung") else Task.DISEASE
    if ok and task not in ok[0].row["tasks"]:
        return cells.NOTHING
    return cells.metric_cell(cells.find_row(rows, variant, key), in_percent=False) if ok else "not scored"


def _ours(study: Study, rows: Sequence[StudyRow], variant: str, key: MetricKey) -> str:
    """Returns our value beside the paper's, with its unit."""
    if key in SEGMENTED:
        return _head_cell(study, rows, variant, key)
    text = _cell(study, rows, variant, key)
    return f"{text} (%)" if text[0].isdigit() else text


def _joined(notes: Sequence[str]) -> str:
    return " ".join(note for note in notes if note)


def _text(value: float | None, digits: int = 0) -> str:
    return cells.NOTHING if value is None else f"{value:.{digits}f}"


def _seconds(value: float | None) -> str:
    return cells.NOTHING if value is None else f"{value:,.0f}"
