"""Metrics of a study: mean and spread over the seeds of a variant, and an interval over patients.

How seeds and patients combine: each bootstrap draw takes patients with replacement, each with all images. It computes
the metric for every seed on the drawn images, thresholds included, and averages over the seeds. So the interval gives
the uncertainty that comes from the patients, for the mean over exactly these seeds. The standard deviation over seeds
shows what other initial weights would change. It stands beside the interval and is not part of it.

Comparisons: every variant is compared with one reference on the same images. The comparison uses the seeds that both
have, and averages the metric over them. The interval of the difference comes from the same bootstrap. All p-values come
from `comit_ray.statistics.exchange.rank_test`. McNemar's test does not hold, because the thresholds come from these
images. DeLong's test does not hold either, because there are several seeds, and several images per patient.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from comit_ray.evaluation.report import paper_values
from comit_ray.evaluation.study.study_results import Study, Trial
from comit_ray.statistics.comparison import RANKS, Comparison, holm
from comit_ray.statistics.exchange import rank_test
from comit_ray.statistics.intervals import Interval, Spread, bootstrap, spread, varied
from comit_ray.statistics.weighted import RankedScores, Rates

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ALL = "all"


@dataclass(frozen=True)
class MetricKey:
    """Identifies a metric: its name, the specificity at which it holds, and the images (`all`, or `dataset=NAME`)."""

    metric: str
    at: float | None = None
    group: str = ALL


def sensitivity(at: float) -> MetricKey:
    """Returns the key of the sensitivity to COVID-19 at a specificity, with the threshold from the scored images."""
    return MetricKey("sensitivity_at_specificity", at)


AUROC, EER = MetricKey("auroc"), MetricKey("eer")

Statistic = Callable[[IntArray], Mapping[MetricKey, FloatArray]]
"""Number of times that each image counts, (N,) -> metric -> its value for each trial, (T,), NaN if undefined."""


@dataclass(frozen=True)
class Measured:
    """Measurements of T trials on N images.

    Args:
        trials: in the order of the plan, so that trials of one variant are neighbours.
        statistic: computes their metrics.
        counts: metric -> (T,) number of images it is computed from (positives for a sensitivity).
    """

    trials: tuple[Trial, ...]
    statistic: Statistic
    counts: Mapping[MetricKey, IntArray]


@dataclass(frozen=True)
class StudyRow:
    """A metric of a variant over its seeds.

    Args:
        variant: the variant, in words.
        key: which metric.
        values: seed -> value; None if undefined. Only seeds that were scored.
        planned: number of planned seeds.
        spread: spread of the values.
        interval: interval of their mean, over patients.
        n: number of images; the smallest of any seed.
    """

    variant: str
    key: MetricKey
    values: Mapping[int, float | None]
    planned: int
    spread: Spread
    interval: Interval
    n: int


def measure_covid(study: Study, specificities: Sequence[float]) -> Measured | None:
    """Measures AUROC, EER and sensitivities for COVID-19, and the AUROC inside each dataset that has both classes.

    Args:
        study: the study, as read.
        specificities: specificities at which sensitivity is reported, from 0 to 1.

    Returns:
        None if no trial has a score for COVID-19.
    """
    tables = {trial.id: study.covid_scores(trial) for variant in study.variants for trial in study.ok(variant)}
    tables = {name: scores for name, scores in tables.items() if not np.isnan(scores).all()}
    if not tables:
        return None
    scores_TN = np.stack(list(tables.values()))
    known_N = study.images["covid"].notna().to_numpy()
    positive_N = (study.images["covid"] == 1).to_numpy()
    scores_TN[:, ~known_N] = np.nan
    scored_TN = ~np.isnan(scores_TN)
    ranked = RankedScores(scores_TN, positive_N)
    inside: dict[MetricKey, tuple[npt.NDArray[np.int64], RankedScores]] = {}
    counts = {key: scored_TN.sum(axis=1) for key in (AUROC, EER)}
    counts |= {sensitivity(at): (scored_TN & positive_N).sum(axis=1) for at in specificities}
    for dataset in sorted(study.images["dataset"].unique()):
        rows = np.flatnonzero(study.images["dataset"] == dataset)
        if len(np.unique(positive_N[rows][known_N[rows]])) == 2:
            key = MetricKey("auroc", group=f"dataset={dataset}")
            inside[key] = rows, RankedScores(scores_TN[:, rows], positive_N[rows])
            counts[key] = scored_TN[:, rows].sum(axis=1)

    def statistic(weights_N: IntArray) -> Mapping[MetricKey, FloatArray]:
        rates = ranked.rates(weights_N)
        found = {AUROC: rates.auroc(), EER: rates.eer()}
        found |= {sensitivity(at): rates.sensitivity(at) for at in specificities}
        return found | {key: mine.rates(weights_N[rows]).auroc() for key, (rows, mine) in inside.items()}

    by_id = {trial.id: trial for trial in study.trials}
    return Measured(tuple(by_id[name] for name in tables), statistic, counts)


def summarise(study: Study, measured: Measured, draws: int, seed: int) -> list[StudyRow]:
    """Summarises every metric of every variant that has a value, with its spread over seeds and its interval.

    Args:
        study: the study, as read.
        measured: measurements of its trials.
        draws: number of bootstrap draws.
        seed: seed of the draws.
    """
    whole = measured.statistic(np.ones(len(study.images), np.int64))
    places: dict[tuple[str, MetricKey], IntArray] = {}
    for key, values_T in whole.items():
        for variant in study.variants:
            mine = [i for i, t in enumerate(measured.trials) if t.variant == variant and not np.isnan(values_T[i])]
            if mine:
                places[variant, key] = np.array(mine)
    names = {f"{number}": place for number, place in enumerate(places)}

    def means(rows: npt.NDArray[np.int64]) -> Mapping[str, float | None]:
        found = measured.statistic(weights(rows, len(study.images)))
        return {name: or_none(found[place[1]][places[place]].mean()) for name, place in names.items()}

    intervals = bootstrap(means, study.images["patient_id"], draws, seed)
    return [_row(study, measured, whole, place, varied(intervals[name])) for name, place in names.items()]


def _row(
    study: Study,
    measured: Measured,
    whole: Mapping[MetricKey, FloatArray],
    place: tuple[str, MetricKey],
    interval: Interval,
) -> StudyRow:
    variant, key = place
    mine = [number for number, trial in enumerate(measured.trials) if trial.variant == variant]
    values = {measured.trials[number].seed: or_none(whole[key][number]) for number in mine}
    n = int(min(measured.counts[key][number] for number in mine))
    planned = len(study.of(variant))
    return StudyRow(variant, key, values, planned, spread(list(values.values())), interval, n)


def weights(rows: npt.NDArray[np.int64], images: int) -> IntArray:
    """Returns (N,) number of times that each image was drawn."""
    return np.bincount(rows, minlength=images)


def or_none(value: float) -> float | None:
    """Returns the value, or None for NaN."""
    return None if np.isnan(value) else float(value)


COMPARED = (sensitivity(paper_values.AT_90), AUROC)
"""The metrics that are compared. All comparisons are corrected together, so that more metrics would cost power."""
COMPUTED: dict[MetricKey, Callable[[Rates], FloatArray]] = {
    COMPARED[0]: lambda rates: rates.sensitivity(paper_values.AT_90),
    COMPARED[1]: Rates.auroc,
}
"""Metric -> how it is computed from the rates of a table of scores."""
REFERENCES = ("All 4 tasks", "COMiT-Net")
"""Names of COMiT-Net with all tasks, in the ablation and among the baselines."""


@dataclass(frozen=True)
class Pair:
    """A variant compared with the reference in one metric.

    Args:
        variant: name of the variant.
        reference: name of the reference.
        key: the metric.
        seeds: the seeds that both have.
        result: the comparison; the variant is first and the reference second.
    """

    variant: str
    reference: str
    key: MetricKey
    seeds: tuple[int, ...]
    result: Comparison


def reference_of(study: Study, measured: Measured) -> str:
    """Returns the reference of a study: COMiT-Net with all tasks, or else the first variant that was measured."""
    return next((name for name in REFERENCES if name in study.variants), measured.trials[0].variant)


def compare(study: Study, measured: Measured, draws: int, seed: int) -> list[Pair]:
    """Compares every variant with the reference in every metric of `COMPARED`, with Holm's correction over all.

    Args:
        study: the study, as read.
        measured: result of `measure_covid`.
        draws: number of draws of the bootstrap and of the test.
        seed: seed of both.
    """
    reference = reference_of(study, measured)
    rows = {
        variant: {t.seed: i for i, t in enumerate(measured.trials) if t.variant == variant}
        for variant in study.variants
    }
    common = {
        variant: tuple(sorted(rows[variant].keys() & rows[reference].keys()))
        for variant in study.variants
        if variant != reference and rows[variant]
    }
    places = {
        variant: ([rows[variant][seed] for seed in seeds], [rows[reference][seed] for seed in seeds])
        for variant, seeds in common.items()
        if seeds
    }
    whole = measured.statistic(np.ones(len(study.images), np.int64))
    intervals = _intervals(study, measured, places, draws, seed)
    p_values = {variant: _p_values(study, measured, place, draws, seed) for variant, place in places.items()}
    pairs = []
    for key in COMPARED:
        for variant, seeds in common.items():
            if variant in places:
                first, second = (or_none(whole[key][place].mean()) for place in places[variant])
                p_value = p_values[variant].get(key)
                result = _comparison(first, second, intervals[_name(variant, key)], p_value, len(study.images))
            else:
                why = "no seed was scored both for this variant and for the reference"
                result = Comparison(None, None, None, None, None, None, None, RANKS, 0, why)
            pairs.append(Pair(variant, reference, key, seeds, result))
    adjusted = holm([pair.result for pair in pairs])
    return [replace(pair, result=result) for pair, result in zip(pairs, adjusted, strict=True)]


def _intervals(
    study: Study, measured: Measured, places: Mapping[str, tuple[Sequence[int], Sequence[int]]], draws: int, seed: int
) -> dict[str, Interval]:
    """Returns the intervals of the differences, by the names that `_name` gives."""

    def differences(rows: npt.NDArray[np.int64]) -> Mapping[str, float | None]:
        found = measured.statistic(weights(rows, len(study.images)))
        return {
            _name(variant, key): or_none(found[key][mine].mean() - found[key][theirs].mean())
            for variant, (mine, theirs) in places.items()
            for key in COMPARED
        }

    return bootstrap(differences, study.images["patient_id"], draws, seed) if places else {}


def _p_values(
    study: Study, measured: Measured, place: tuple[Sequence[int], Sequence[int]], draws: int, seed: int
) -> dict[MetricKey, float]:
    """Returns the p-values over the images that all seeds of both have scored; none if only one class occurs."""
    first, second = (np.stack([study.covid_scores(measured.trials[number]) for number in numbers]) for numbers in place)
    covid = study.images["covid"]
    rows = np.flatnonzero(covid.notna().to_numpy() & ~np.isnan(first).any(axis=0) & ~np.isnan(second).any(axis=0))
    positive = (covid == 1).to_numpy()[rows]
    if positive.all() or not positive.any():
        return {}
    patients = study.images["patient_id"].iloc[rows]
    return rank_test(first[:, rows], second[:, rows], positive, patients, COMPUTED, draws, seed)


def _comparison(
    first: float | None, second: float | None, interval: Interval, p_value: float | None, n: int
) -> Comparison:
    difference = first - second if first is not None and second is not None else None
    reason = interval.reason if difference is not None else "undefined: all images are of one class"
    return Comparison(first, second, difference, interval.low, interval.high, p_value, None, RANKS, n, reason)


def _name(variant: str, key: MetricKey) -> str:
    return f"{key.metric} {key.at} {variant}"
