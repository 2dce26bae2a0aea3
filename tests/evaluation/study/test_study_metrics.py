"""Figures over seeds: against means and deviations by hand, and intervals against the slow way."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from comit_ray.evaluation.study import study_results
from comit_ray.evaluation.study.study_metrics import AUROC, EER, MetricKey, measure_covid, sensitivity, summarise
from comit_ray.statistics import roc
from comit_ray.statistics.intervals import bootstrap
from tests.evaluation.study_tree import Images, Outcome, write_study

AT_90 = sensitivity(0.9)


def test_mean_and_deviation_by_hand(tmp_path: Path) -> None:
    """AUROC 1, 0.5, 0.5: mean 2/3, deviation sqrt(1/12). Sensitivity 1, 0.5, 0: mean and deviation 0.5."""
    variants: dict[str, list[Outcome]] = {
        "A": [[0.9, 0.8, 0.2, 0.1], [0.9, 0.1, 0.5, 0.2], [0.5, 0.5, 0.5, 0.5]],
        "B": [[0.9, 0.8, 0.2, 0.1], "failed", "missing"],
        "C": ["failed", "failed", "failed"],
        "lungs alone": [[0.9, 0.8, 0.2, 0.1]],
    }
    taken = study_results.read(*write_study(tmp_path, Images([1, 1, 0, 0]), variants, tasks={"lungs alone": ["lung"]}))
    measured = measure_covid(taken, [0.9])
    assert measured is not None
    assert [trial.id for trial in measured.trials] == ["00-s0", "01-s1", "02-s2", "03-s0"]
    rows = {(row.variant, row.key): row for row in summarise(taken, measured, 20, 0)}
    assert {variant for variant, _ in rows} == {"A", "B"}
    row = rows["A", AUROC]
    assert row.values == {0: 1.0, 1: 0.5, 2: 0.5}
    assert row.spread.mean == pytest.approx(2 / 3)
    assert row.spread.deviation == pytest.approx((1 / 12) ** 0.5)
    assert (row.n, row.planned) == (4, 3)
    row = rows["A", AT_90]
    assert row.values == {0: 1.0, 1: 0.5, 2: 0.0}
    assert (row.spread.mean, row.spread.deviation) == pytest.approx((0.5, 0.5))
    assert row.n == 2
    row = rows["B", EER]
    assert row.values == {0: 0.0}
    assert row.spread.deviation is None
    assert (row.spread.n, row.planned) == (1, 3)


def test_the_interval_is_that_of_every_seed_computed_anew(tmp_path: Path) -> None:
    """Patients with several images, images without a patient or a score, unknown labels."""
    rng = np.random.default_rng(3)
    covid = (rng.random(80) < 0.4).astype(int)
    tables = [(rng.random(80) * 0.7 + 0.3 * covid).astype(np.float32).tolist() for _ in range(3)]
    seeds = [[None if number == 7 else score for number, score in enumerate(table)] for table in tables]
    labels = [None if number == 11 else int(label) for number, label in enumerate(covid)]
    patients = [None if number % 9 == 0 else f"p{number // 3}" for number in range(80)]
    taken = study_results.read(*write_study(tmp_path, Images(labels, patients), {"A": seeds}))
    known = np.array([number not in (7, 11) for number in range(80)])

    def slowly(rows: npt.NDArray[np.int64]) -> Mapping[str, float | None]:
        rows = rows[known[rows]]
        values = {
            "auroc": [roc.auroc(np.array(table)[rows], covid[rows]) for table in tables],
            "eer": [roc.eer(np.array(table)[rows], covid[rows]) for table in tables],
            "at 90": [roc.sensitivity_at_specificity(np.array(table)[rows], covid[rows], 0.9) for table in tables],
        }
        return {name: float(np.mean([value for value in of if value is not None])) for name, of in values.items()}

    expected = bootstrap(slowly, taken.images["patient_id"], 200, 5)
    measured = measure_covid(taken, [0.9])
    assert measured is not None
    found = {row.key: row.interval for row in summarise(taken, measured, 200, 5)}
    for key, name in ((AUROC, "auroc"), (EER, "eer"), (AT_90, "at 90")):
        assert found[key].low == pytest.approx(expected[name].low)
        assert found[key].high == pytest.approx(expected[name].high)
        assert (found[key].low or 0) < (found[key].high or 0)


def test_auroc_inside_each_dataset_with_both_classes(tmp_path: Path) -> None:
    images = Images([1, 0, 1, 0, 0], datasets=["a", "a", "a", "a", "b"])
    taken = study_results.read(*write_study(tmp_path, images, {"A": [[0.9, 0.8, 0.7, 0.1, 0.0]]}))
    measured = measure_covid(taken, [0.9])
    assert measured is not None
    rows = {row.key: row for row in summarise(taken, measured, 20, 0)}
    assert {key.group for key in rows} == {"all", "dataset=a"}
    assert rows[MetricKey("auroc", group="dataset=a")].values == {0: 0.75}
    assert rows[MetricKey("auroc", group="dataset=a")].n == 4
    assert rows[AUROC].values == {0: pytest.approx(5 / 6)}


def test_one_class_has_no_row(tmp_path: Path) -> None:
    taken = study_results.read(*write_study(tmp_path, Images([0, 0, 0]), {"A": [[0.1, 0.2, 0.3]]}))
    measured = measure_covid(taken, [0.9])
    assert measured is not None
    assert summarise(taken, measured, 20, 0) == []


def test_no_trial_with_the_head(tmp_path: Path) -> None:
    made = write_study(tmp_path, Images([1, 0]), {"A": [[0.1, 0.2]]}, tasks={"A": ["lung"]})
    assert measure_covid(study_results.read(*made), [0.9]) is None
