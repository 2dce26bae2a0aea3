"""Every variant of a study with one of them, on the same images: can they be told apart?

Both are taken over the seeds that both have, and the figure is averaged over these. The interval of the difference is
the bootstrap of `study_figures`; the p-value is that of `exchange.rank_test`, one method for all, for neither McNemar's
test (thresholds are from these images) nor DeLong's (several seeds, several images a patient) holds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from comit_ray.evaluation.study.study_metrics import AUROC, FloatArray, Key, Measured, or_none, sensitivity, weights
from comit_ray.evaluation.study.study_results import Study
from comit_ray.statistics.comparison import RANKS, Comparison, holm, rank_test
from comit_ray.statistics.intervals import Interval, bootstrap
from comit_ray.statistics.weighted import Rates

COMPARED = (sensitivity(0.90), AUROC)
"""What is compared: more figures would cost each comparison power, for all are corrected together."""
FIGURES: dict[Key, Callable[[Rates], FloatArray]] = {
    COMPARED[0]: lambda rates: rates.sensitivity(0.90),
    COMPARED[1]: Rates.auroc,
}
REFERENCES = ("All 4 tasks", "COMiT-Net")


@dataclass(frozen=True)
class Pair:
    """A variant beside the reference.

    Args:
        variant: that is compared.
        reference: with this one.
        key: the figure.
        seeds: that both have.
        result: first is the variant, second the reference.
    """

    variant: str
    reference: str
    key: Key
    seeds: tuple[int, ...]
    result: Comparison


def reference_of(study: Study, measured: Measured) -> str:
    """COMiT-Net with all its tasks where the study has it, else the first variant that was measured."""
    return next((name for name in REFERENCES if name in study.variants), measured.trials[0].variant)


def compare(study: Study, measured: Measured, draws: int, seed: int) -> list[Pair]:
    """Every measured variant with the reference in every figure of `COMPARED`, corrected by Holm's method over all.

    Args:
        study: as read.
        measured: of `study_figures.measure_covid`.
        draws: of the bootstrap, and of the test.
        seed: of both.
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
                why = "no seed of it and of the reference was scored in both"
                result = Comparison(None, None, None, None, None, None, None, RANKS, 0, why)
            pairs.append(Pair(variant, reference, key, seeds, result))
    adjusted = holm([pair.result for pair in pairs])
    return [replace(pair, result=result) for pair, result in zip(pairs, adjusted, strict=True)]


def _intervals(
    study: Study, measured: Measured, places: Mapping[str, tuple[Sequence[int], Sequence[int]]], draws: int, seed: int
) -> dict[str, Interval]:
    """Of the differences, by `_name`."""

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
) -> dict[Key, float]:
    """Of the images that all seeds of both have scored; none where these are of one class."""
    first, second = (np.stack([study.covid_scores(measured.trials[number]) for number in numbers]) for numbers in place)
    covid = study.images["covid"]
    rows = np.flatnonzero(covid.notna().to_numpy() & ~np.isnan(first).any(axis=0) & ~np.isnan(second).any(axis=0))
    positive = (covid == 1).to_numpy()[rows]
    if positive.all() or not positive.any():
        return {}
    patients = study.images["patient_id"].iloc[rows]
    return rank_test(first[:, rows], second[:, rows], positive, patients, FIGURES, draws, seed)


def _comparison(
    first: float | None, second: float | None, interval: Interval, p_value: float | None, n: int
) -> Comparison:
    difference = first - second if first is not None and second is not None else None
    reason = interval.reason if difference is not None else "undefined: the images have one class alone"
    return Comparison(first, second, difference, interval.low, interval.high, p_value, None, RANKS, n, reason)


def _name(variant: str, key: Key) -> str:
    return f"{key.metric} {key.at} {variant}"
