import json

import pytest

from comit_ray.chunks.run_record import open_run, read, sign
from comit_ray.errors import ConfigError, StorageError

QUESTION = {"model_id": "m1", "manifest": "f1"}


def test_the_same_question_goes_on_with_the_same_run(tmp_path):
    first = open_run(str(tmp_path), QUESTION, {"batch_size": 4}, "predictions")
    assert open_run(str(tmp_path), QUESTION, {"batch_size": 8}, "predictions") == first
    assert json.loads((tmp_path / "run.json").read_text())["settings"] == {"batch_size": 4}


def test_another_question_is_refused_and_named(tmp_path):
    open_run(str(tmp_path), QUESTION, {}, "predictions")
    with pytest.raises(ConfigError, match=r"model_id was 'm1', now 'm2'.*another --output"):
        open_run(str(tmp_path), QUESTION | {"model_id": "m2"}, {}, "predictions")


def test_results_without_a_record_are_refused(tmp_path):
    (tmp_path / "predictions").mkdir()
    with pytest.raises(ConfigError, match=r"predictions but no run\.json"):
        open_run(str(tmp_path), QUESTION, {}, "predictions")


def test_a_broken_record_says_so(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(StorageError, match=r"run\.json is not the"):
        open_run(str(tmp_path), QUESTION, {}, "predictions")


@pytest.mark.parametrize("value", [False, [], None])
def test_what_an_older_version_did_not_know_was_not_asked_for(tmp_path, value):
    first = open_run(str(tmp_path), QUESTION, {}, "predictions")
    assert open_run(str(tmp_path), QUESTION | {"gradcam": value}, {}, "predictions") == first
    with pytest.raises(ConfigError, match="gradcam was None, now True"):
        open_run(str(tmp_path), QUESTION | {"gradcam": True}, {}, "predictions")


def test_who_works_on_a_run_is_added_to_its_record(tmp_path):
    first = open_run(str(tmp_path), QUESTION, {"batch_size": 4}, "predictions")
    sign(str(tmp_path), {"batch_size": 4})
    sign(str(tmp_path), {"batch_size": 8})
    record = read(str(tmp_path))
    assert (record["run_id"], record["question"]) == (first, QUESTION)
    assert [process["settings"]["batch_size"] for process in record["processes"]] == [4, 8]
    assert all(process["code"]["sources"] for process in record["processes"])


def test_a_training_has_no_other_record_to_sign(tmp_path):
    sign(str(tmp_path), {"name": "first"})
    assert json.loads((tmp_path / "run.json").read_text()).keys() == {"processes"}


def test_what_is_no_record_is_not_signed(tmp_path):
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(StorageError, match=r"run\.json is not the"):
        sign(str(tmp_path), {})
