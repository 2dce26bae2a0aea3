import pytest

from comit_ray.config import ScreenConfig
from comit_ray.errors import ConfigError, NotFoundError
from comit_ray.screening import question
from comit_ray.training import checkpoint
from comit_ray.work import run_record
from tests.support import write_checkpoint

QUESTION = {"model_id": "m1", "manifest": "f1"}


def choose(tmp_path, points=None, name="specificity_0.90", **model):
    loaded = checkpoint.load(write_checkpoint(tmp_path / "checkpoint", threshold=0.4, **model))
    config = ScreenConfig(manifest="m", checkpoint="c", output="o", operating_point=name, operating_points=points)
    return question.choose_operating_point(config, loaded)


def test_the_checkpoints_operating_point_by_default(tmp_path):
    assert choose(tmp_path).thresholds["covid"] == 0.4


def test_a_sites_own_operating_point_replaces_it(tmp_path):
    file = tmp_path / "site.json"
    file.write_text('{"mine": {"covid": {"threshold": 0.2}, "unhealthy": {"threshold": 0.3}}}')
    assert choose(tmp_path, str(file), "mine").thresholds == {"covid": 0.2, "unhealthy": 0.3}


def test_unknown_names_list_the_known(tmp_path):
    with pytest.raises(ConfigError, match=r"no operating point 'spec90'.*known: specificity_0\.90"):
        choose(tmp_path, name="spec90")


def test_covid_needs_a_threshold(tmp_path):
    file = tmp_path / "site.json"
    file.write_text('{"mine": {"covid": {"threshold": null, "reason": "no positive image"}}}')
    with pytest.raises(ConfigError, match="no positive image"):
        choose(tmp_path, str(file), "mine")


def test_the_other_head_may_lack_one_its_flags_are_null(tmp_path):
    file = tmp_path / "site.json"
    file.write_text('{"mine": {"covid": {"threshold": 0.2}}}')
    assert choose(tmp_path, str(file), "mine").thresholds == {"covid": 0.2}


def test_without_a_covid_head_the_unhealthy_need_one(tmp_path):
    file = tmp_path / "site.json"
    file.write_text('{"mine": {"covid": {"threshold": 0.2}}}')
    with pytest.raises(ConfigError, match="no threshold for unhealthy"):
        choose(tmp_path, str(file), "mine", tasks=["health"])


def test_the_record_holds_the_operating_point(tmp_path):
    point = {"name": "specificity_0.90", "thresholds": {"covid": 0.25}}
    run_record.open_run(str(tmp_path), QUESTION | {"operating_point": point}, {}, "predictions")
    found = question.recorded_operating_point(str(tmp_path))
    assert (found.name, found.thresholds) == ("specificity_0.90", {"covid": 0.25})
    with pytest.raises(NotFoundError):
        question.recorded_operating_point(str(tmp_path / "elsewhere"))
