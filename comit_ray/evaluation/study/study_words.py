"""Sentences about a study: which conclusions its metrics allow. Also prints its metrics.

Shares are printed in percent, as in the paper, and areas as fractions.
"""

from collections.abc import Sequence

from comit_ray.evaluation.report import paper_values, printing
from comit_ray.evaluation.report.printing import points
from comit_ray.evaluation.study.study_metrics import AUROC, COMPARED, MetricKey, Pair, StudyRow, sensitivity
from comit_ray.evaluation.study.study_results import STATUSES, Study
from comit_ray.tables.vocabulary import Task, counted

UNDEFINED, NOTHING = "undefined", "-"


def percent(value: float | None) -> str:
    """Returns a fraction in percent with two digits, as in the paper; `undefined` for None."""
    return UNDEFINED if value is None else printing.number(100 * value, 2)


def fraction(value: float | None) -> str:
    """Returns a fraction with three digits; `undefined` for None."""
    return UNDEFINED if value is None else printing.number(value, 3)


def ends(low: float, high: float, in_percent: bool) -> str:
    """Returns the interval `[low, high]` of a fraction, rounded outward, with the digits of `percent` or `fraction`."""
    return printing.interval(100 * low, 100 * high, 2) if in_percent else printing.interval(low, high, 3)


def p_value(value: float | None) -> str:
    """Returns a p-value, rounded up to three digits; a dash for None."""
    return NOTHING if value is None else printing.p_value(value)


def metric_cell(row: StudyRow | None, in_percent: bool) -> str:
    """Returns the cell of a metric, `mean ± SD [interval]`, without absent parts; `undefined` for None."""
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
    """Returns the row of a metric of a variant; None if the metric is undefined for it."""
    return next((row for row in rows if row.variant == variant and row.key == key), None)


def seeds(study: Study, variant: str) -> str:
    """Returns the number of planned seeds that were scored, and why others were not: `2 of 3 (1 failed)`."""
    trials = study.of(variant)
    ok = len(study.ok(variant))
    others = [f"{sum(t.status == status for t in trials)} {status}" for status in ("stopped", "failed", "missing")]
    others = [text for text in others if not text.startswith("0 ")]
    return f"{ok} of {len(trials)}" + (f" ({', '.join(others)})" if others else "")


def rows_of(study: Study, tasks: set[Task]) -> list[str]:
    """Returns the variants that have a head for one of the tasks, or a trial without a row, whose heads are unknown."""
    return [
        variant
        for variant in study.variants
        if any(not trial.row or tasks & set(trial.row["tasks"]) for trial in study.of(variant))
    ]


def absent(study: Study, variants: Sequence[str]) -> str:
    """Returns a sentence for every trial of these variants that was not scored; empty if all were scored."""
    return " ".join(
        f"Not scored: {variant}, seed {trial.seed}: {trial.status} ({in_short(trial.detail)})."
        for variant in variants
        for trial in study.of(variant)
        if trial.status != "ok"
    )


def in_short(text: str | None, most: int = 160) -> str:
    """Returns a detail on one line of at most `most` characters."""
    if not text:
        return "no reason was recorded"
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def without_interval(rows: Sequence[StudyRow]) -> str:
    """Returns a sentence for every reason why a metric has no interval; empty if all metrics have one."""
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.interval.reason is not None:
            reasons.setdefault(row.interval.reason, []).append(f"{row.variant} ({in_words(row.key)})")
    return " ".join(f"There is no interval for {', '.join(names)}: {reason}." for reason, names in reasons.items())


def in_words(key: MetricKey) -> str:
    """Returns the name of a metric in words, such as `sensitivity at 90% specificity`."""
    if key.at is not None:
        return f"sensitivity at {key.at * 100:g}% specificity"
    name = {"auroc": "AUROC", "eer": "EER"}.get(key.metric, key.metric.replace("_", " "))
    return name if key.group == "all" else f"{name} inside {key.group.partition('=')[2]}"


SIGNIFICANT = 0.05
"""A difference counts as significant if its adjusted p-value is below this."""
NO_SINGLE_SOURCE = (
    "No dataset of the split has images both with and without COVID-19. These metrics cannot show whether the networks "
    "learned the disease or the source of the images."
)
OF_THESE_SEEDS = (
    "This holds for these trained networks, on other patients of the same kind. The spread over seeds shows whether "
    "other initial weights could reverse it."
)
THE_SOURCE = (
    "The networks may have learned the source of the images and not the disease: AUROC is above chance over several "
    "sources, but not shown to be above chance inside one of them."
)


def sentences(study: Study, rows: Sequence[StudyRow], pairs: Sequence[Pair], draws: int) -> list[str]:
    """Returns all sentences about a study, the most important first.

    Args:
        study: the study, as read.
        rows: result of `study_metrics.summarise` for COVID-19; empty if no trial has such a score.
        pairs: result of `study_metrics.compare`; empty if nothing is compared.
        draws: number of draws of the tests.
    """
    found = [_accounts(study)]
    if study.split == "val":
        found.append(
            "The metrics are measured on the validation split, on which epochs and thresholds were chosen: they look "
            "better than they are."
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
            f"The paper's values were measured on other data: a test split of {paper_values.COVID_IMAGES} images with "
            f"COVID-19 and {paper_values.OTHER_IMAGES:,} others, with networks of full width, ImageNet weights and 224 "
            "px. A difference from ours says nothing about either."
        )
    return found


def telling_apart(pairs: Sequence[Pair], draws: int) -> list[str]:
    """Returns sentences on variants that differ significantly from the reference, corrected for all comparisons.

    Args:
        pairs: result of `study_metrics.compare`.
        draws: number of draws of the test.
    """
    if not pairs:
        return ["No variants were compared with each other: do not read the order of the rows as a ranking."]
    tested = [pair for pair in pairs if pair.result.adjusted is not None]
    if not tested:
        why = next((pair.result.reason for pair in pairs if pair.result.reason), "there is no p-value")
        return [f"No variant could be compared with {pairs[0].reference}: {why}."]
    apart = [pair for pair in tested if pair.result.adjusted is not None and pair.result.adjusted < SIGNIFICANT]
    found = _some(tested, apart) if apart else [_none(tested)]
    least = len(tested) / (draws + 1)
    if least >= SIGNIFICANT:
        enough = int(len(tested) / SIGNIFICANT)
        found.append(
            f"With {draws:,} draws and {counted(len(tested), 'comparison')}, p cannot fall below "
            f"{p_value(least)} after correction, so that no difference could have been found. Give more than --draws "
            f"{enough}."
        )
    return found


def _none(tested: Sequence[Pair]) -> str:
    reference, compared = tested[0].reference, {pair.variant for pair in tested}
    smallest = min(pair.result.adjusted for pair in tested if pair.result.adjusted is not None)
    subject = (
        f"None of the {len(compared)} variants differs"
        if len(compared) > 1
        else "The one other variant does not differ"
    )
    return (
        f"{subject} significantly from {reference} in {' or '.join(map(in_words, COMPARED))}, after correction for "
        f"{counted(len(tested), 'comparison')} (smallest adjusted p {p_value(smallest)}). Do not read the "
        "order of the rows as a ranking. This does not show that the variants are alike either."
    )


def _some(tested: Sequence[Pair], apart: Sequence[Pair]) -> list[str]:
    reference, compared = tested[0].reference, list(dict.fromkeys(pair.variant for pair in tested))
    names = list(dict.fromkeys(pair.variant for pair in apart))
    many = f"{len(names)} of {len(compared)} other variants {'differs' if len(names) == 1 else 'differ'}"
    found = [f"After correction for {counted(len(tested), 'comparison')}, {many} significantly from {reference}."]
    for key in COMPARED:
        mine = [_difference(pair) for pair in apart if pair.key == key]
        found += [f"In {in_words(key)}, compared with {reference}: {'; '.join(mine)}."] if mine else []
    rest = [variant for variant in compared if variant not in names]
    if rest:
        found.append(
            f"No difference from {reference} was found for: {'; '.join(rest)}. Do not read the order of these rows as "
            "a ranking."
        )
    return [*found, OF_THESE_SEEDS]


def sources(study: Study, rows: Sequence[StudyRow]) -> list[str]:
    """Returns sentences that say whether a high AUROC over several sources also holds inside one of them.

    Args:
        study: the study, as read.
        rows: result of `study_metrics.summarise` for COVID-19.
    """
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
                f"{THE_SOURCE} AUROC is {_range([whole for _, whole in suspects])} over all sources, and "
                f"{_range([row for row, _ in suspects])} inside {group.partition('=')[2]} alone "
                f"(n={min(row.n for row, _ in suspects)}), where its interval reaches down to 0.5 (chance) or does not "
                f"exist. This concerns {names}."
            )
    return found


def _accounts(study: Study) -> str:
    counts = {status: sum(trial.status == status for trial in study.trials) for status in STATUSES}
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    more = "" if counts["ok"] == len(study.trials) else ". The tables give the reason for every trial that is not ok"
    return f"Outcome of {counted(len(study.trials), 'planned trial')}: {told}{more}."


def _positives(study: Study) -> str:
    """Returns how many percentage points of sensitivity one positive patient or image is worth."""
    images = study.images[study.images["covid"] == 1]
    others = int((study.images["covid"] == 0).sum())
    if images.empty or not others:
        return (
            f"The {study.split} split has {counted(len(images), 'image')} with COVID-19 and {others} without: "
            "no metric of COVID-19 is defined."
        )
    patients = images["patient_id"].nunique() + int(images["patient_id"].isna().sum())
    people = f"{counted(patients, 'patient')} with COVID-19"
    if patients == len(images):
        who, one = people, "one patient"
    else:
        who, one = f"{counted(len(images), 'image')} of {people}", "one image"
    return f"The {study.split} split has {who}: {one} is worth {points(len(images))} percentage points of sensitivity."


def _difference(pair: Pair) -> str:
    """Returns one significant difference, with its interval and p-value."""
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
    """Returns the range of the values of several variants, such as `0.712 to 0.845`."""
    values = [row.spread.mean for row in rows if row.spread.mean is not None]
    low, high = fraction(min(values)), fraction(max(values))
    return low if low == high else f"{low} to {high}"


def _seeds(rows: Sequence[StudyRow]) -> list[str]:
    """Returns sentences about spreads over seeds that show less than they seem to."""
    chosen = [row for row in rows if row.key == sensitivity(paper_values.AT_99)]
    same = [row.variant for row in chosen if row.spread.n > 1 and row.spread.low == row.spread.high]
    one = [row.variant for row in chosen if row.spread.n == 1]
    found = []
    if same:
        found.append(
            f"All seeds give the same {in_words(sensitivity(paper_values.AT_99))} for {', '.join(same)}. This is no "
            "sign of stability if one image is worth many points, or if the method draws nothing at random."
        )
    if one:
        found.append(f"Only one seed was scored for {', '.join(one)}: the spread over seeds is not known.")
    return found


def _above_chance(row: StudyRow) -> bool:
    return row.interval.low is not None and row.interval.low > 0.5
