"""The tables of a study's report: the paper's tables 4 and 5, section 4.1, figure 8, and every trial."""

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
    "Mean over the seeds ± their standard deviation (n - 1) [95% interval of the mean over these seeds, by a bootstrap "
    "over patients that takes the thresholds anew in each draw; what another initialisation would change is not in it]."
)
OTHER_DATA = "Columns of the paper are of other data, other sizes and full training: no target, and not comparable."
MASKS = (
    "Lung IoU is the mean over images, and pooled over all pixels; the disease figures are pooled over the pixels of "
    "images with a true disease mask, at the threshold 0.5. Painted on healthy: mean share of the frame that is called "
    "diseased in images without a finding. A model that paints everything has a TPR of 1."
)
SEGMENTED = (
    study_masks.LUNG_IOU,
    study_masks.LUNG_IOU_POOLED,
    study_masks.DISEASE_TPR,
    study_masks.DISEASE_PRECISION,
    study_masks.DISEASE_DICE,
    study_masks.PAINTED_ON_HEALTHY,
)
STABILITY = sensitivity(paper_values.AT_99)


def classification(study: Study, rows: Sequence[StudyRow], specificities: Sequence[float]) -> Table:
    """Table 4: sensitivities, EER and AUROC of COVID-19, the paper's beside them where it has the variant."""
    variants = cells.rows_of(study, {Task.COVID})
    keys = [*(sensitivity(at) for at in sorted(specificities, reverse=True)), EER, AUROC]
    keys += sorted({row.key for row in rows if row.key.group != AUROC.group}, key=lambda key: key.group)
    ours = {variant: paper_values.TABLE_4.get(variant) for variant in variants}
    beside = any(ours.values())
    columns = ["variant", "seeds"]
    for key in keys:
        columns.append(cells.in_words(key) + ("" if key.metric == "auroc" else " (%)"))
        if beside and _printed(key):
            columns.append(f"paper: {cells.in_words(key)} (%)")
    body = []
    for variant in variants:
        line = [variant, cells.seeds(study, variant)]
        for key in keys:
            line.append(_cell(study, rows, variant, key))
            if beside and _printed(key):
                line.append(cells.paper_percent(_paper(variant, key)))
        body.append(tuple(line))
    title = f"COVID-19 on the {study.split} split"
    notes = [READING, OTHER_DATA if beside else "", cells.absent(study, variants), cells.without_interval(rows)]
    return Table(f"Table 4: {title}" if beside else title, tuple(columns), tuple(body), _joined(notes))


def ablation(study: Study, rows: Sequence[StudyRow]) -> Table:
    """Table 5: sensitivity at 90% specificity with fewer tasks."""
    key = sensitivity(paper_values.AT_90)
    variants = cells.rows_of(study, {Task.COVID})
    body = tuple(
        (
            variant,
            cells.seeds(study, variant),
            _cell(study, rows, variant, key),
            cells.paper_percent(paper_values.TABLE_5.get(variant)),
        )
        for variant in variants
    )
    columns = ("tasks", "seeds", f"{cells.in_words(key)} (%)", "paper: sensitivity (%)")
    notes = [READING, OTHER_DATA, paper_values.TABLE_5_REMARK, cells.absent(study, variants)]
    return Table(f"Table 5: fewer tasks, {study.split} split", columns, body, _joined(notes))


def segmentation(study: Study, rows: Sequence[StudyRow], unreadable: int) -> Table:
    """Section 4.1: lung IoU and disease TPR, and what a TPR alone hides."""
    variants = cells.rows_of(study, {Task.LUNG, Task.DISEASE})
    beside = any(variant in paper_values.SEGMENTATION for variant in variants)
    columns = ["model", "seeds"]
    titles = dict(
        zip(
            SEGMENTED,
            ("lung IoU, mean", "lung IoU, pooled", "disease TPR", "precision", "Dice", "painted on healthy"),
            strict=True,
        )
    )
    printed = {study_masks.LUNG_IOU: "lung_iou", study_masks.DISEASE_TPR: "disease_tpr"}
    for key in SEGMENTED:
        columns += [titles[key], *([f"paper: {titles[key]}"] if beside and key in printed else [])]
    columns.append("images: lung, disease, healthy")
    body = []
    for variant in variants:
        line = [variant, cells.seeds(study, variant)]
        for key in SEGMENTED:
            line.append(_head_cell(study, rows, variant, key))
            if beside and key in printed:
                theirs = paper_values.SEGMENTATION.get(variant)
                line.append(cells.paper_fraction(getattr(theirs, printed[key]) if theirs else None))
        counted = (study_masks.LUNG_IOU, study_masks.DISEASE_TPR, study_masks.PAINTED_ON_HEALTHY)
        found = [cells.find_row(rows, variant, key) for key in counted]
        line.append(", ".join(f"{row.n:,}" if row else cells.NOTHING for row in found))
        body.append(tuple(line))
    notes = [
        READING,
        MASKS,
        OTHER_DATA if beside else "",
        f"True masks that could not be read: {unreadable:,}, left out." if unreadable else "",
        cells.absent(study, variants),
        cells.without_interval(rows),
    ]
    title = f"Segmentation on the {study.split} split"
    return Table(f"Section 4.1: {title}" if beside else title, tuple(columns), tuple(body), _joined(notes))


def stability(study: Study, rows: Sequence[StudyRow]) -> Table:
    """Figure 8: the spread of the sensitivity at 99% specificity over seeds."""
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
        "Standard deviation with n - 1; none for one seed. With three seeds the true one may be half as large or six "
        "times as large (95%, if values are normally distributed). The paper shows figure 8 without numbers."
    )
    title = f"Figure 8: {cells.in_words(STABILITY)} over seeds, {study.split} split"
    return Table(title, columns, tuple(body), _joined([note, cells.absent(study, variants)]))


def comparisons(pairs: Sequence[Pair], draws: int) -> Table:
    """Every variant with the reference on the same images."""
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
    columns = ("figure", "variant", "seeds", "variant's", "reference's", "difference", "95% interval", "p")
    note = (
        f"The reference is {reference}, on the same images and seeds; the figure is averaged over the seeds. p: "
        f"{RANKS} ({draws:,} draws, all images of a patient and all seeds together; the least p is "
        f"{cells.p_value(1 / (draws + 1))}). Adjusted: by Holm's method over the {len(pairs)} rows of this table. An "
        "interval is not adjusted. Both speak of these trained networks: other seeds may differ."
    )
    return Table(f"Every variant with {reference}", (*columns, "adjusted p", "remark"), tuple(body), note)


def trials(study: Study) -> Table:
    """Every planned trial and what became of it."""
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
    return Table(f"Trials of {study.name}", columns, body, "Seconds are those of the last attempt.")


def search(study: Study) -> Table:
    """The trials of a search, best first, by the figure that the search itself judged by."""
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
        f"Ranked by {judge} at each trial's best epoch, on the validation split; the test split has no say. A "
        "validation loss is the sum with the trial's own weights: of other weights it cannot be compared. The best of "
        "many is flattered by its luck: train it again and judge it on the test split once."
    )
    columns = ("rank", "variant", "seed", "status", "epochs", judge, "validation loss", "validation AUROC", "detail")
    return Table("Search", columns, body, note)


def _cell(study: Study, rows: Sequence[StudyRow], variant: str, key: MetricKey) -> str:
    if not study.ok(variant):
        return "not scored"
    return cells.figure(cells.find_row(rows, variant, key), in_percent=key.metric != "auroc")


def _head_cell(study: Study, rows: Sequence[StudyRow], variant: str, key: MetricKey) -> str:
    """As `_cell`, with a dash where the model has no such head."""
    ok = study.ok(variant)
    task = Task.LUNG if key.metric.startswith("lung") else Task.DISEASE
    if ok and task not in ok[0].row["tasks"]:
        return cells.NOTHING
    return cells.figure(cells.find_row(rows, variant, key), in_percent=False) if ok else "not scored"


def _printed(key: MetricKey) -> bool:
    """Whether table 4 prints this figure."""
    return key == EER or key in (sensitivity(paper_values.AT_99), sensitivity(paper_values.AT_90))


def _paper(variant: str, key: MetricKey) -> float | None:
    theirs = paper_values.TABLE_4.get(variant)
    if theirs is None:
        return None
    return theirs.eer if key == EER else theirs.sensitivity(key.at or 0.0)


def _joined(notes: Sequence[str]) -> str:
    return " ".join(note for note in notes if note)


def _text(value: float | None, digits: int = 0) -> str:
    return cells.NOTHING if value is None else f"{value:.{digits}f}"


def _seconds(value: float | None) -> str:
    return cells.NOTHING if value is None else f"{value:,.0f}"
