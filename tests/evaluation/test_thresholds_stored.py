"""The threshold of the frozen operating point, from the screen's record or from its flags."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comit_ray.errors import StorageError
from comit_ray.evaluation.thresholds import FROM_FLAGS, RECORDED, chosen_where, stored_operating_point
from tests.evaluation.support import scored_images

SCORES = np.array([0.1, 0.2, 0.4, 0.6, 0.9], np.float32)


def images(flags: list[Any], **columns: Any):
    return scored_images(5, covid=[0.0, 0, 1, 1, 1], p_covid=SCORES, **{"covid_flag": flags} | columns)


def record(root: Path, threshold: Any, name: str = "specificity_0.90") -> str:
    question = {"operating_point": {"name": name, "thresholds": {"covid": threshold}}}
    (root / "run.json").write_text(json.dumps({"run_id": "r", "question": question}))
    return str(root)


def test_the_recorded_threshold_is_taken_where_it_gives_the_flags(tmp_path: Path) -> None:
    flags = [False, False, True, True, True]
    found = stored_operating_point(images(flags), "covid", record(tmp_path, 0.3))
    assert (found.name, found.threshold, found.origin) == ("specificity_0.90", float(np.float32(0.3)), RECORDED)
    for threshold, name in ((0.5, "specificity_0.90"), (0.3, "another")):
        other = stored_operating_point(images(flags), "covid", record(tmp_path, threshold, name))
        assert (other.threshold, other.origin) == (float(np.float32(0.4)), FROM_FLAGS)


def test_without_a_record_it_is_the_lowest_flagged_score(tmp_path: Path) -> None:
    flags = [False, False, True, True, True]
    for results in (None, str(tmp_path)):
        found = stored_operating_point(images(flags), "covid", results)
        assert (found.threshold, found.origin) == (float(np.float32(0.4)), FROM_FLAGS)


def test_a_null_flag_and_an_unscored_image_say_nothing() -> None:
    flags = [False, None, True, True, False]
    found = stored_operating_point(images(flags, status=["ok"] * 4 + ["failed"]), "covid", None)
    assert found.threshold == float(np.float32(0.4))


def test_where_nothing_is_flagged_it_lies_above_all_scores() -> None:
    found = stored_operating_point(images([False] * 5), "covid", None)
    assert found.threshold > SCORES.max()
    assert stored_operating_point(images([True] * 5), "covid", None).threshold == float(SCORES.min())


def test_flags_that_no_threshold_gives_have_no_point() -> None:
    assert stored_operating_point(images([False, True, False, True, True]), "covid", None) is None
    several = images([False, False, True, True, True], operating_point=["a", "b", "a", "b", "a"])
    assert stored_operating_point(several, "covid", None) is None
    assert stored_operating_point(images([None] * 5), "covid", None) is None


def test_a_record_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(StorageError, match=r"is not the run\.json of a run"):
        stored_operating_point(images([False, False, True, True, True]), "covid", str(tmp_path))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"checkpoint": "c", "operating_points": None}, "chosen on the validation split in training"),
        (
            {"checkpoint": "c", "operating_points": "s3://site/points.json"},
            "from the site's own file s3://site/points.json; it is not recorded on which images it was chosen",
        ),
        ({}, "it is not recorded where it was chosen"),
        (None, "it is not recorded where it was chosen"),
    ],
)
def test_a_sites_own_threshold_is_not_called_that_of_training(
    tmp_path: Path, settings: dict[str, Any] | None, said: str
) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"run_id": "r", "question": {}, "settings": settings}))
    assert chosen_where(str(tmp_path)) == said


def test_a_table_without_a_record_says_so(tmp_path: Path) -> None:
    assert chosen_where(None) == chosen_where(str(tmp_path)) == "it is not recorded where it was chosen"
