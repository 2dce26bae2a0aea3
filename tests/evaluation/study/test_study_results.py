"""A study is read whole, or an error says what is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

from comit_ray.errors import ConfigError, ManifestError, NotFoundError, StorageError
from comit_ray.evaluation.study import study_results
from comit_ray.tables.manifest_schema import MANIFEST
from tests.evaluation.study_tree import Images, Outcome, write_study
from tests.support import manifest_row, write_rows

IMAGES = Images([1, 0, None, 0], patients=["p", "p", None, "q"], datasets=["b", "a", "a", "b"])


def test_trials_and_scores(tmp_path: Path) -> None:
    """In the order of the plan; scores in the order of the images; failed images and unknown labels stay."""
    variants: dict[str, list[Outcome]] = {
        "A": [[0.9, 0.1, 0.5, None], "failed", "missing"],
        "B": ["stopped", [0.4, 0.3, 0.2, 0.1]],
    }
    taken = study_results.read(*write_study(tmp_path, IMAGES, variants))
    assert (taken.name, taken.split, taken.variants) == ("made_up", "test", ["A", "B"])
    assert [(trial.variant, trial.seed, trial.status) for trial in taken.trials] == [
        ("A", 0, "ok"), ("A", 1, "failed"), ("A", 2, "missing"), ("B", 0, "stopped"), ("B", 1, "ok"),
    ]  # fmt: skip
    assert taken.trials[1].detail == "ValueError: loss is not finite"
    assert "--resume true" in (taken.trials[2].detail or "")
    assert taken.images["image_id"].tolist() == ["a/001", "a/002", "b/000", "b/003"]
    np.testing.assert_array_equal(taken.covid_scores(taken.ok("A")[0]), np.array([0.1, 0.5, 0.9, np.nan], np.float32))
    joined = taken.joined(taken.ok("B")[0])
    assert joined["image_id"].tolist() == taken.images["image_id"].tolist()
    assert joined["p_covid"].tolist() == pytest.approx([0.3, 0.2, 0.4, 0.1])
    assert taken.results(taken.ok("B")[0]).endswith("/study/results/04-s1")


def test_a_head_that_is_not_there_has_no_scores(tmp_path: Path) -> None:
    taken = study_results.read(*write_study(tmp_path, IMAGES, {"A": [[0.9] * 4]}, tasks={"A": ["lung"]}))
    assert np.isnan(taken.covid_scores(taken.trials[0])).all()


def test_no_study_there(tmp_path: Path) -> None:
    _, manifest = write_study(tmp_path, IMAGES, {"A": [[0.9] * 4]})
    with pytest.raises(NotFoundError, match=r"no study at .*/nowhere: expected the directory of one study"):
        study_results.read(str(tmp_path / "nowhere"), manifest)


def test_another_kind_of_output(tmp_path: Path) -> None:
    uri, manifest = write_study(tmp_path, IMAGES, {"A": [[0.9] * 4]})
    (Path(uri) / "run.json").write_text(json.dumps({"run_id": "r", "question": {"split": "test", "manifest": "m"}}))
    with pytest.raises(ConfigError, match=r"is not a study: its run.json has no study, trials"):
        study_results.read(uri, manifest)


def test_another_manifest(tmp_path: Path) -> None:
    """With another image; and with the same images, but another label."""
    uri, manifest = write_study(tmp_path, IMAGES, {"A": [[0.9] * 4]})
    other = write_rows(tmp_path / "other", [manifest_row("a/001", covid=1)], MANIFEST)
    with pytest.raises(ManifestError, match=r"is not the manifest that the study .* \(manifest: expected"):
        study_results.read(uri, other)
    rows = [row | {"covid": 1} for row in IMAGES.rows()]
    with pytest.raises(ManifestError, match=r"written again since \(training_hash: expected"):
        study_results.read(uri, write_rows(Path(manifest), rows, MANIFEST))


def test_no_scored_trial(tmp_path: Path) -> None:
    uri, manifest = write_study(tmp_path / "a", IMAGES, {"A": ["failed", "missing"]})
    with pytest.raises(NotFoundError, match=r"\(0 stopped, 1 failed, 1 missing; 00-s0: ValueError: loss is not finite"):
        study_results.read(uri, manifest)
    uri, manifest = write_study(tmp_path / "b", IMAGES, {"A": ["missing"]})
    with pytest.raises(NotFoundError, match="0 stopped, 0 failed, 1 missing"):
        study_results.read(uri, manifest)


def test_a_trial_that_was_not_planned(tmp_path: Path) -> None:
    uri, manifest = write_study(tmp_path, IMAGES, {"A": [[0.9] * 4], "B": ["failed"]})
    record = json.loads((Path(uri) / "run.json").read_text())
    del record["question"]["trials"][1]
    (Path(uri) / "run.json").write_text(json.dumps(record))
    with pytest.raises(
        StorageError, match=r"rows of planned trials alone in trials, got 1 of other trials, such as 01-s0"
    ):
        study_results.read(uri, manifest)


def test_predictions_that_are_not_whole(tmp_path: Path) -> None:
    uri, manifest = write_study(tmp_path, IMAGES, {"A": [[0.9] * 4]})
    short, _ = write_study(tmp_path / "short", Images([1, 0, 1], datasets=["b", "a", "a"]), {"A": [[0.9] * 3]})
    where = Path("predictions") / "00-s0.parquet"
    (Path(uri) / where).write_bytes((Path(short) / where).read_bytes())
    with pytest.raises(StorageError, match=r"each of the 4 images of the split, got 3 rows \(images without a row: 1"):
        study_results.read(uri, manifest)
