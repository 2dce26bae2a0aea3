"""Sentences about a study: what its metrics allow one to say.

How a study's figures are printed: in percent as the paper does, or as fractions.
"""

from collections.abc import Sequence

from comit_ray.evaluation.report import paper_values, printing
from comit_ray.evaluation.report.printing import points
from comit_ray.evaluation.study.study_metrics import AUROC, COMPARED, MetricKey, Pair, StudyRow, sensitivity
from comit_ray.evaluation.study.study_results import STATUSES, Study
from comit_ray.tables.vocabulary import Task

UNDEFINED, NOTHING = "undefined", "-"


def percent(value: float | None) -> str:
    """A fraction in percent, with the paper's two digits."""
    return UNDEFINED if value is None else printing.number(100 * value, 2)


def fraction(value: float | None) -> str:
    """A fraction with three digits."""
    return UNDEFINED if value is None else printing.number(value, 3)


def ends(low: float, high: float, in_percent: bool) -> str:
    """`[low, high]` of an interval, with the digits of `percent` or `fraction`."""
    return printing.interval(100 * low, 100 * high, 2) if in_percent else printing.interval(low, high, 3)


def paper_percent(value: float | None) -> str:
    """A number of the paper, in percent; a dash where it prints none."""
    return NOTHING if value is None else printing.number(100 * value, 2)


def paper_fraction(value: float | None) -> str:
    """A number of the paper as it prints it; a dash where it prints none."""
    return NOTHING if value is None else printing.number(value, 2)


def p_value(value: float | None) -> str:
    """A p-value; a dash where there is none."""
    return NOTHING if value is None else printing.p_value(value)


def figure(row: StudyRow | None, in_percent: bool) -> str:
    """`mean ± SD [interval]`, without the parts that do not exist."""
    if row is None:
        return UNDEFINED
    show = percent if in_percent else fraction
    text = show(row.spread.mean)
    if row.spread.deviation is not None:
        text += f" ± {show(row.spread.deviation)}"
    if row.interval.low is not None and row.interval.high is not None:
        text += f" {ends(row.interval.low, row.interval.high, in_percent)}"
    return text


def find_row(rows: Sequence[StudyRow], variant: str, key: MetricKey) -> StudyRow | None:
    """The row of this metric; None if it is undefined."""
    return next((row for row in rows if row.variant == variant and row.key == key), None)


def seeds(study: Study, variant: str) -> str:
    """How many of the planned seeds were scored: `2 of 3 (1 failed)`."""
    trials = study.of(variant)
    ok = len(study.ok(variant))
    others = [f"{sum(t.status == status for t in trials)} {status}" for status in ("stopped", "failed", "missing")]
    others = [text for text in others if not text.startswith("0 ")]
    return f"{ok} of {len(trials)}" + (f" ({', '.join(others)})" if others else "")


def rows_of(study: Study, tasks: set[Task]) -> list[str]:
    """The variants with one of these heads, and those of which none was scored and nothing is known."""
    return [
        variant
        for variant in study.variants
        if any(not trial.row or tasks & set(trial.row["tasks"]) for trial in study.of(variant))
    ]


def absent(study: Study, variants: Sequence[str]) -> str:
    """A sentence for every trial of these that was not scored; empty where all were."""
    return " ".join(
        f"Not scored: {variant}, seed {trial.seed}: {trial.status} ({in_short(trial.detail)})."
        for variant in variants
        for trial in study.of(variant)
        if trial.status != "ok"
    )


def in_short(text: str | None, most: int = 160) -> str:
    """A detail in a sentence's length."""
    if not text:
        return "no reason was recorded"
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def without_interval(rows: Sequence[StudyRow]) -> str:
    """A sentence for every reason that a figure has no interval; empty where all have."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.interval.reason is not None:
            reasons.setdefault(row.interval.reason, []).append(f"{row.variant} ({in_words(row.key)})")
    return " ".join(f"No interval: {', '.join(names)}: {reason}." for reason, names in reasons.items())


def in_words(key: MetricKey) -> str:
    """The name of a metric in words."""
    if key.at is not None:
        return f"sensitivity at {key.at * 100:g}% specificity"
    name = {"auroc": "AUROC", "eer": "EER"}.get(key.metric, key.metric.replace("_", " "))
    return name if key.group == "all" else f"{name} inside {key.group.partition('=')[2]}"


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


def sentences(study: Study, rows: Sequence[StudyRow], pairs: Sequence[Pair], draws: int) -> list[str]:
    """All sentences about a study, the most important first.

    Args:
        study: the study, as read.
        rows: result of `study_metrics.summarise` for COVID-19; empty if no trial has such a score.
        pairs: result of `study_metrics.compare`; empty if nothing is compared.
        draws: number of draws of the tests.
    """
    found = [_accounts(study)]
    if study.split == "val":
        found.append(
            "The figures are of the validation split, on which epochs and thresholds were chosen: they flatter."
        )
    if rows_of(study, {Task.COVID}):
        found.append(_positives(study))
    if rows:
        found += [*telling_apart(pairs, draws), *_seeds(rows), *sources(study, rows)]
    if any(
        variant in {*paper_values.TABLE_4, *paper_values.TABLE_5, *paper_values.SEGMENTATION}
        for variant in study.variants
    ):
        found.append(
            f"The paper's values are of other data (its test split: {paper_values.COVID_IMAGES} images with COVID-19 "
            f"and {paper_values.OTHER_IMAGES:,} others; 224 px, full width, ImageNet weights): a difference "
            "from ours says nothing about either."
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
            f"With {draws:,} draws and {len(tested)} comparisons the smallest p cannot be below {p_value(least)} "
            f"after correction: that nothing differs is no finding. Give more than --draws {enough}."
        )
    return found


def _none(tested: Sequence[Pair]) -> str:
    reference, compared = tested[0].reference, {pair.variant for pair in tested}
    smallest = min(pair.result.adjusted for pair in tested if pair.result.adjusted is not None)
    subject = f"None of the {len(compared)} variants can" if len(compared) > 1 else "The one other variant cannot"
    return (
        f"{subject} be told from {reference} by {' or '.join(map(in_words, COMPARED))}, after correction for "
        f"{len(tested)} comparisons (smallest adjusted p {p_value(smallest)}): do not read the order of the rows "
        "as a ranking. That they are alike is not shown either."
    )


def _some(tested: Sequence[Pair], apart: Sequence[Pair]) -> list[str]:
    reference, compared = tested[0].reference, list(dict.fromkeys(pair.variant for pair in tested))
    names = list(dict.fromkeys(pair.variant for pair in apart))
    many = f"{len(names)} of {len(compared)} other variants"
    found = [f"After correction for {len(tested)} comparisons, {many} can be told from {reference}."]
    for key in COMPARED:
        mine = [_difference(pair) for pair in apart if pair.key == key]
        found += [f"By {in_words(key)}, compared with {reference}: {'; '.join(mine)}."] if mine else []
    rest = [variant for variant in compared if variant not in names]
    if rest:
        found.append(f"Not told from {reference}: {'; '.join(rest)}. Do not read the order of these rows as a ranking.")
    return [*found, OF_THESE_SEEDS]


def sources(study: Study, rows: Sequence[StudyRow]) -> list[str]:
    """Whether a high AUROC over several sources remains inside one of them."""
    if study.images["dataset"].nunique() < 2:
        return []
    inside = [row for row in rows if row.key.metric == AUROC.metric and row.key != AUROC]
    if not inside:
        return [NO_SINGLE_SOURCE]
    found = []
    for group in dict.fromkeys(row.key.group for row in inside):
        mine = [(row, find_row(rows, row.variant, AUROC)) for row in inside if row.key.group == group]
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
    if patients == len(images):
        who, one = f"{patients} patients with COVID-19", "one patient"
    else:
        who, one = f"{len(images)} images of {patients} patients with COVID-19", "one image"
    return f"With {who} in the {study.split} split, {one} is {points(len(images))} points of sensitivity."


def _difference(pair: Pair) -> str:
    """One difference that was found."""
    result = pair.result
    assert result.difference is not None
    show, unit = (fraction, "") if pair.key == AUROC else (percent, " points")
    interval = ""
    if result.low is not None and result.high is not None:
        interval = f"95% interval {ends(result.low, result.high, pair.key != AUROC)}, "
    return (
        f"{pair.variant}, {show(abs(result.difference))}{unit} {'lower' if result.difference < 0 else 'higher'} "
        f"({interval}adjusted p {p_value(result.adjusted)})"
    )


def _range(rows: Sequence[StudyRow]) -> str:
    """The values of several variants."""
    values = [row.spread.mean for row in rows if row.spread.mean is not None]
    low, high = fraction(min(values)), fraction(max(values))
    return low if low == high else f"{low} to {high}"


def _seeds(rows: Sequence[StudyRow]) -> list[str]:
    """Where a spread over seeds says less than it seems to."""
    chosen = [row for row in rows if row.key == sensitivity(paper_values.AT_99)]
    same = [row.variant for row in chosen if row.spread.n > 1 and row.spread.low == row.spread.high]
    one = [row.variant for row in chosen if row.spread.n == 1]
    found = []
    if same:
        found.append(
            f"All seeds give the same {in_words(sensitivity(paper_values.AT_99))} for {', '.join(same)}: where one "
            "image is worth so much, or a method draws nothing at random, that is no sign of stability."
        )
    if one:
        found.append(f"Of {', '.join(one)} there is one seed alone: nothing is known of its spread.")
    return found


def _above_chance(row: StudyRow) -> bool:
    return row.interval.low is not None and row.interval.low > 0.5
