"""An archive that the model never saw: found, missed, not scored, and what readers saw."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import cohen_kappa_score

from comit_ray.errors import ManifestError
from comit_ray.evaluation.external import Outcome, consensus, kappas, metrics_of, outcomes, read_reviews
from comit_ray.statistics.measure import measure
from comit_ray.statistics.metric import Metric, ratios
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.review_schema import REVIEWS
from tests.support import manifest_row, write_rows


def archive() -> pd.DataFrame:
    """Of COVID images 3 found, 2 missed, 1 without a flag, 1 excluded, 2 failed, 1 left out; two others."""
    rows: list[tuple[str, int | None, str, str | None, bool | None]] = [
        ("p", 1, "ok", None, True),
        ("p", 1, "ok", None, False),
        ("q", 1, "ok", None, True),
        ("q", 1, "failed", "truncated", None),
        ("r", 1, "ok", None, False),
        ("s", 1, "failed", "missing", None),
        ("t", 1, "excluded", "lateral", None),
        ("u", 1, "excluded", "duplicate", None),
        ("v", 1, "ok", None, None),
        ("w", 1, "ok", None, True),
        ("x", 0, "ok", None, True),
        ("y", None, "ok", None, False),
    ]
    found = pd.DataFrame(rows, columns=["patient_id", "covid", "status", "reason", "covid_flag"])
    return found.assign(image_id=[f"i{number}" for number in range(len(rows))], study_id=None)


def measured(images: pd.DataFrame, point: str | None, verdicts: pd.DataFrame | None) -> dict[tuple[str, str], Metric]:
    blocks = [ratios(metrics_of(point, verdicts)(images))]
    found = measure(blocks, images["patient_id"], "all", "all", 50)
    return {(figure.metric, figure.level): figure for figure in found}


def test_what_became_of_every_positive() -> None:
    found = outcomes(archive())
    assert found.value_counts().to_dict() == {
        Outcome.FOUND: 3,
        Outcome.MISSED: 2,
        Outcome.WITHOUT_FLAG: 1,
        Outcome.EXCLUDED: 1,
        Outcome.FAILED: 2,
        Outcome.LEFT_OUT: 1,
    }
    assert set(found.index) == set(range(10))


def test_the_worst_case_counts_what_was_not_scored_as_missed() -> None:
    """3 of 9 images; of the patients p, q and w are found, r, s, t and v are not; u was left out on purpose."""
    found = measured(archive(), "point", None)
    image, patient = (found["sensitivity_with_unscored_missed", level] for level in ("image", "patient"))
    assert (image.value, image.n, image.at) == (3 / 9, 9, "point")
    assert (patient.value, patient.n, patient.interval) == (3 / 7, 7, "wilson")
    study = found["sensitivity_with_unscored_missed", "study"]
    assert (study.value, study.reason) == (None, "no positive study with an id")
    without = measured(archive(), None, None)["sensitivity_with_unscored_missed", "image"]
    assert (without.value, without.n) == (None, 0)


def test_what_readers_saw_in_the_missed() -> None:
    """Both missed images were read: one abnormal, one without abnormality; a found image's reading does not count."""
    readings = pd.DataFrame({"image_id": ["i0", "i1", "i4"], "reader": "a", "abnormal": [False, True, False]})
    found = measured(archive(), "point", consensus(readings))
    read, nothing = found["missed_read", "image"], found["missed_without_abnormality", "image"]
    assert (read.value, read.n) == (1, 2)
    assert (nothing.value, nothing.n) == (0.5, 2)
    one = measured(archive(), "point", consensus(readings.head(2)))
    assert (one["missed_read", "image"].value, one["missed_without_abnormality", "image"].value) == (0.5, 0)
    none = measured(archive(), "point", consensus(readings.head(1)))["missed_without_abnormality", "image"]
    assert (none.value, none.reason) == (None, "no missed image was read")


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ([True], True),
        ([False], False),
        ([None], None),
        ([True, False], None),
        ([False, None], None),
        ([False, False, None], False),
        ([True, True, False], True),
        ([True, False, None, False], None),
    ],
)
def test_consensus_is_more_than_half_of_the_readers(votes: list[bool | None], expected: bool | None) -> None:
    readings = pd.DataFrame({"image_id": "i", "reader": [f"r{n}" for n in range(len(votes))], "abnormal": votes})
    found = consensus(readings).to_dict("records")
    assert found == [{"image_id": "i", "abnormal": expected, "readers": len(votes)}]


def test_no_readings_no_consensus() -> None:
    assert consensus(pd.DataFrame(columns=["image_id", "reader", "abnormal"])).empty


def write_reviews(root: Path, rows: list[dict[str, Any]]) -> tuple[str, str]:
    """URIs of the readings, and of a manifest of a/1 to a/4."""
    manifest = write_rows(root / "manifest", [manifest_row(f"a/{n}") for n in range(1, 5)], MANIFEST)
    return write_rows(root / "reviews", rows, REVIEWS), manifest


def reading(image_id: str, reader: str, abnormal: bool | None, day: int | None = None) -> dict[str, Any]:
    read_at = None if day is None else datetime(2026, 1, day, tzinfo=UTC)
    return {"image_id": image_id, "reader": reader, "abnormal": abnormal, "covid": None, "read_at": read_at}


def test_the_last_reading_of_a_reader_counts(tmp_path: Path) -> None:
    """By its time, wherever it stands; one without a time is older than one with; without times the later row."""
    rows = [
        reading("a/1", "r", False, 9),
        reading("a/1", "r", True, 3),
        reading("a/1", "s", True, 1),
        reading("a/2", "r", False, 2),
        reading("a/2", "r", True),
        reading("a/3", "r", True),
        reading("a/3", "r", False),
    ]
    found = read_reviews(*write_reviews(tmp_path, rows)).set_index(["image_id", "reader"])["abnormal"].to_dict()
    assert found == {("a/1", "r"): False, ("a/1", "s"): True, ("a/2", "r"): False, ("a/3", "r"): False}


def test_readings_of_other_images_are_refused(tmp_path: Path) -> None:
    reviews = write_reviews(tmp_path, [reading("a/1", "r", True), reading("b/7", "r", True)])
    with pytest.raises(ManifestError, match=r"but 1 of 2 are of other images, such as b/7"):
        read_reviews(*reviews)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"image_id": ["a/1"], "reader": ["r"]}, "it lacks the columns abnormal"),
        ({"image_id": ["a/1"], "reader": ["r"], "abnormal": ["yes"]}, "expected bool in abnormal, got string"),
        ({"image_id": ["a/1"], "reader": [None], "abnormal": [True]}, "expected string in reader, got null"),
    ],
)
def test_what_is_no_table_of_readings_is_refused(tmp_path: Path, table: dict[str, list], message: str) -> None:
    _, manifest = write_reviews(tmp_path, [])
    parquet.write_table(str(tmp_path / "wrong.parquet"), pa.table(table))
    with pytest.raises(ManifestError, match=message):
        read_reviews(str(tmp_path / "wrong.parquet"), manifest)


def test_kappa_of_every_two_readers() -> None:
    """50 images judged by two, 20 yes and 15 no alike: kappa 0.4, the textbook's example; and scikit-learn's."""
    both = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10 + [(False, False)] * 15
    rows = [
        {"image_id": f"i{n}", "reader": reader, "abnormal": answer}
        for n, pair in enumerate(both)
        for reader, answer in zip("ab", pair, strict=True)
    ]
    alone = [{"image_id": "i99", "reader": "c", "abnormal": True}, {"image_id": "i98", "reader": "a", "abnormal": None}]
    same = [{"image_id": f"j{n}", "reader": reader, "abnormal": True} for n in range(3) for reader in "de"]
    found = kappas(pd.DataFrame([*rows, *alone, *same]))
    assert [one[:4] for one in found] == [("a", "b", 50, 35), ("d", "e", 3, 3)]
    assert found[0][4] == pytest.approx(0.4)
    first, second = np.array(both).T
    assert found[0][4] == pytest.approx(cohen_kappa_score(first, second))
    assert found[1][4] is None
