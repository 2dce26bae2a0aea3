"""What a study's figures allow to be said, in plain sentences computed from them."""

from collections.abc import Sequence

from comit_ray.evaluation import study_cells as cells
from comit_ray.evaluation.report import paper_values
from comit_ray.evaluation.study.study_metrics import AUROC, Row, sensitivity
from comit_ray.evaluation.study.study_results import STATUSES, Study
from comit_ray.evaluation.study_comparisons import COMPARED, Pair
from comit_ray.tables.vocabulary import Task

SIGNIFICANT = 0.05
"""Of the adjusted p."""
NO_SINGLE_SOURCE = (
    "No dataset of the split has images with COVID-19 and images without: these figures cannot tell whether the "
    "disease was learned or the source."
)
OF_THESE_SEEDS = (
    "This holds for these trained networks on other patients of the same kind; whether another initialisation would "
    "turn it round, see the spread over seeds."
)
THE_SOURCE = (
    "What was learned may be the source and not the disease: AUROC is above chance over several sources, and cannot be "
    "told from chance inside one."
)


def sentences(study: Study, rows: Sequence[Row], pairs: Sequence[Pair], draws: int) -> list[str]:
    """Everything that can be said, most important first.

    Args:
        study: as read.
        rows: of `study_figures.summarise` for COVID-19; none where no trial has such a score.
        pairs: of `study_comparisons.compare`; none where nothing is compared.
        draws: of the tests.
    """
    found = [_accounts(study)]
    if study.split == "val":
        found.append(
            "The figures are of the validation split, on which epochs and thresholds were chosen: they flatter."
        )
    if cells.concerned(study, {Task.COVID}):
        found.append(_positives(study))
    if rows:
        found += [*telling_apart(pairs, draws), *_seeds(rows), *sources(study, rows)]
    if any(
        variant in {*paper_values.TABLE_4, *paper_values.TABLE_5, *paper_values.SEGMENTATION}
        for variant in study.variants
    ):
        found.append(
            f"The paper's values are of other data (its test split: {paper_values.COVID_IMAGES} images with COVID-19 and "
            f"{paper_values.OTHER_IMAGES:,} others; 224 px, full width, ImageNet weights): a difference from ours says "
            "nothing about either."
        )
    return found


def telling_apart(pairs: Sequence[Pair], draws: int) -> list[str]:
    """Whether the variants can be told from the reference after correction, and which."""
    if not pairs:
        return ["No two variants were compared: do not read the order of the rows as a ranking."]
    tested = [pair for pair in pairs if pair.result.adjusted is not None]
    if not tested:
        why = next((pair.result.reason for pair in pairs if pair.result.reason), "no p-value")
        return [f"No variant could be compared with {pairs[0].reference}: {why}."]
    apart = [pair for pair in tested if pair.result.adjusted is not None and pair.result.adjusted < SIGNIFICANT]
    found = _some(tested, apart) if apart else [_none(tested)]
    least = len(tested) / (draws + 1)
    if least >= SIGNIFICANT:
        enough = int(len(tested) / SIGNIFICANT)
        found.append(
            f"With {draws:,} draws and {len(tested)} comparisons the smallest p cannot be below {cells.p_value(least)} "
            f"after correction: that nothing differs is no finding. Give more than --draws {enough}."
        )
    return found


def _none(tested: Sequence[Pair]) -> str:
    reference, compared = tested[0].reference, {pair.variant for pair in tested}
    smallest = min(pair.result.adjusted for pair in tested if pair.result.adjusted is not None)
    subject = f"None of the {len(compared)} variants can" if len(compared) > 1 else "The one other variant cannot"
    return (
        f"{subject} be told from {reference} by {' or '.join(map(cells.words, COMPARED))}, after correction for "
        f"{len(tested)} comparisons (smallest adjusted p {cells.p_value(smallest)}): do not read the order of the rows "
        "as a ranking. That they are alike is not shown either."
    )


def _some(tested: Sequence[Pair], apart: Sequence[Pair]) -> list[str]:
    reference, compared = tested[0].reference, list(dict.fromkeys(pair.variant for pair in tested))
    names = list(dict.fromkeys(pair.variant for pair in apart))
    many = f"{len(names)} of {len(compared)} other variants"
    found = [f"After correction for {len(tested)} comparisons, {many} can be told from {reference}."]
    for key in COMPARED:
        mine = [_difference(pair) for pair in apart if pair.key == key]
        found += [f"By {cells.words(key)}, compared with {reference}: {'; '.join(mine)}."] if mine else []
    rest = [variant for variant in compared if variant not in names]
    if rest:
        found.append(f"Not told from {reference}: {'; '.join(rest)}. Do not read the order of these rows as a ranking.")
    return [*found, OF_THESE_SEEDS]


def sources(study: Study, rows: Sequence[Row]) -> list[str]:
    """Whether a high AUROC over several sources is left inside one of them."""
    if study.images["dataset"].nunique() < 2:
        return []
    inside = [row for row in rows if row.key.metric == AUROC.metric and row.key != AUROC]
    if not inside:
        return [NO_SINGLE_SOURCE]
    found = []
    for group in dict.fromkeys(row.key.group for row in inside):
        mine = [(row, cells.find(rows, row.variant, AUROC)) for row in inside if row.key.group == group]
        suspects = [(row, whole) for row, whole in mine if whole and _above_chance(whole) and not _above_chance(row)]
        if suspects:
            names = "all variants" if len(suspects) == len(mine) else "; ".join(row.variant for row, _ in suspects)
            found.append(
                f"{THE_SOURCE} Over all sources {_range([whole for _, whole in suspects])}, inside "
                f"{group.partition('=')[2]} alone {_range([row for row, _ in suspects])} "
                f"(n={min(row.n for row, _ in suspects)}), with an interval not above 0.5, or without one: "
                f"{names}."
            )
    return found


def _accounts(study: Study) -> str:
    counts = {status: sum(trial.status == status for trial in study.trials) for status in STATUSES}
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    more = "" if counts["ok"] == len(study.trials) else "; what is not ok stands in the tables with its reason"
    return f"Of {len(study.trials)} planned trials: {told}{more}."


def _positives(study: Study) -> str:
    """What one positive is worth."""
    images = study.images[study.images["covid"] == 1]
    others = int((study.images["covid"] == 0).sum())
    if images.empty or not others:
        return (
            f"The {study.split} split has {len(images)} images with COVID-19 and {others} without: no figure of "
            "COVID-19 is defined."
        )
    patients = images["patient_id"].nunique() + int(images["patient_id"].isna().sum())
    points = f"{1_000 // len(images) / 10:.1f}"
    if patients == len(images):
        who, one = f"{patients} patients with COVID-19", "one patient"
    else:
        who, one = f"{len(images)} images of {patients} patients with COVID-19", "one image"
    return f"With {who} in the {study.split} split, {one} is {points} points of sensitivity."


def _difference(pair: Pair) -> str:
    """One difference that was found."""
    result = pair.result
    assert result.difference is not None
    show, unit = (cells.fraction, "") if pair.key == AUROC else (cells.percent, " points")
    interval = f"95% interval {show(result.low)} to {show(result.high)}, " if result.low is not None else ""
    return (
        f"{pair.variant}, {show(abs(result.difference))}{unit} {'lower' if result.difference < 0 else 'higher'} "
        f"({interval}adjusted p {cells.p_value(result.adjusted)})"
    )


def _range(rows: Sequence[Row]) -> str:
    """The values of several variants."""
    values = [row.spread.mean for row in rows if row.spread.mean is not None]
    low, high = cells.fraction(min(values)), cells.fraction(max(values))
    return low if low == high else f"{low} to {high}"


def _seeds(rows: Sequence[Row]) -> list[str]:
    """Where a spread over seeds says less than it seems to."""
    chosen = [row for row in rows if row.key == sensitivity(0.99)]
    same = [row.variant for row in chosen if row.spread.n > 1 and row.spread.low == row.spread.high]
    one = [row.variant for row in chosen if row.spread.n == 1]
    found = []
    if same:
        found.append(
            f"All seeds give the same {cells.words(sensitivity(0.99))} for {', '.join(same)}: where one image is worth "
            "so much, or a method draws nothing at random, that is no sign of stability."
        )
    if one:
        found.append(f"Of {', '.join(one)} there is one seed alone: nothing is known of its spread.")
    return found


def _above_chance(row: Row) -> bool:
    return row.interval.low is not None and row.interval.low > 0.5
