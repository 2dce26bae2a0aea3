"""The figures of a study: of every variant the mean over its seeds, their spread, and an interval over patients.

How seeds and patients combine: each bootstrap draw takes patients with replacement (all images of a patient together),
computes the figure anew for every seed on the drawn images, thresholds too, and averages over the seeds. The interval
is then the uncertainty that comes from the patients, for the mean over these very seeds. What another initialisation
would change is the standard deviation over seeds, which stands beside it and is in no interval.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comit_ray.evaluation.study.study_results import Study, Trial
from comit_ray.statistics.intervals import Interval, Spread, bootstrap, spread, varied
from comit_ray.statistics.weighted import RankedScores

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ALL = "all"


@dataclass(frozen=True)
class Key:
    """Which figure: its name, the specificity it is at, and the images it is over (`all`, or `dataset=NAME`)."""

    metric: str
    at: float | None = None
    group: str = ALL


def sensitivity(at: float) -> Key:
    """The sensitivity to COVID-19 at a specificity, the threshold taken from the scored images themselves."""
    return Key("sensitivity_at_specificity", at)


AUROC, EER = Key("auroc"), Key("eer")

Statistic = Callable[[IntArray], Mapping[Key, FloatArray]]
"""(N,) times that each image counts -> the figure of every trial, (T,), NaN where it is undefined."""


@dataclass(frozen=True)
class Measured:
    """What is measured of T trials on N images.

    Args:
        trials: in the order of the plan, so that those of a variant lie together.
        statistic: their figures.
        counts: figure -> (T,) images it is taken over (positives for a sensitivity).
    """

    trials: tuple[Trial, ...]
    statistic: Statistic
    counts: Mapping[Key, IntArray]


@dataclass(frozen=True)
class Row:
    """A figure of a variant over its seeds.

    Args:
        variant: in words.
        key: which figure.
        values: seed -> value; None where it is undefined. Only seeds that were scored.
        planned: seeds that were planned.
        spread: of the values.
        interval: of their mean, over patients.
        n: images it is taken over; the fewest of any seed.
    """

    variant: str
    key: Key
    values: Mapping[int, float | None]
    planned: int
    spread: Spread
    interval: Interval
    n: int


def measure_covid(study: Study, specificities: Sequence[float]) -> Measured | None:
    """AUROC, EER and sensitivities of COVID-19, and the AUROC inside each dataset that has both classes.

    Args:
        study: as read.
        specificities: at which sensitivity is given.

    Returns:
        None where no trial has a score for COVID-19.
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
    inside: dict[Key, tuple[npt.NDArray[np.int64], RankedScores]] = {}
    counts = {key: scored_TN.sum(axis=1) for key in (AUROC, EER)}
    counts |= {sensitivity(at): (scored_TN & positive_N).sum(axis=1) for at in specificities}
    for dataset in sorted(study.images["dataset"].unique()):
        rows = np.flatnonzero(study.images["dataset"] == dataset)
        if len(np.unique(positive_N[rows][known_N[rows]])) == 2:
            key = Key("auroc", group=f"dataset={dataset}")
            inside[key] = rows, RankedScores(scores_TN[:, rows], positive_N[rows])
            counts[key] = scored_TN[:, rows].sum(axis=1)

    def statistic(weights_N: IntArray) -> Mapping[Key, FloatArray]:
        rates = ranked.rates(weights_N)
        found = {AUROC: rates.auroc(), EER: rates.eer()}
        found |= {sensitivity(at): rates.sensitivity(at) for at in specificities}
        return found | {key: mine.rates(weights_N[rows]).auroc() for key, (rows, mine) in inside.items()}

    by_id = {trial.id: trial for trial in study.trials}
    return Measured(tuple(by_id[name] for name in tables), statistic, counts)


def summarise(study: Study, measured: Measured, draws: int, seed: int) -> list[Row]:
    """Every figure of every variant that has a value, with its spread and interval.

    Args:
        study: as read.
        measured: of its trials.
        draws: bootstrap draws.
        seed: of the draws.
    """
    whole = measured.statistic(np.ones(len(study.images), np.int64))
    places: dict[tuple[str, Key], IntArray] = {}
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
    study: Study, measured: Measured, whole: Mapping[Key, FloatArray], place: tuple[str, Key], interval: Interval
) -> Row:
    variant, key = place
    mine = [number for number, trial in enumerate(measured.trials) if trial.variant == variant]
    values = {measured.trials[number].seed: or_none(whole[key][number]) for number in mine}
    n = int(min(measured.counts[key][number] for number in mine))
    planned = len(study.of(variant))
    return Row(variant, key, values, planned, spread(list(values.values())), interval, n)


def weights(rows: npt.NDArray[np.int64], images: int) -> IntArray:
    """(N,) times that each image was drawn."""
    return np.bincount(rows, minlength=images)


def or_none(value: float) -> float | None:
    """None for NaN."""
    return None if np.isnan(value) else float(value)
