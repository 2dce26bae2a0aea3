import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from comit_ray.chunks import run_record
from comit_ray.chunks.run_record import open_run, read, sign
from comit_ray.errors import ConfigError, NotFoundError, StorageError
from comit_ray.storage import storage

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
    sign(str(tmp_path), {"name": "first"}, begins=True)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record.keys() == {"settings", "processes"}
    assert record["settings"] == {"name": "first"}


def test_no_record_is_made_without_run_settings(tmp_path, monkeypatch):
    """A run.json that is not to be seen just after its PUT once became one without a question."""
    monkeypatch.setattr(run_record, "VISIBLE_S", (0.0,))
    with pytest.raises(StorageError, match="it has disappeared"):
        sign(str(tmp_path), {"name": "first"})
    assert not (tmp_path / "run.json").exists()


def late(monkeypatch, looks):
    """Files are not to be seen for the first looks."""
    left, real = [looks], storage.read_bytes

    def read_bytes(uri, at_most=None):
        left[0] -= 1
        if left[0] >= 0:
            raise NotFoundError(f"no file at {uri}")
        return real(uri, at_most)

    monkeypatch.setattr(storage, "read_bytes", read_bytes)
    monkeypatch.setattr(run_record, "VISIBLE_S", (0.0, 0.0))


def test_a_record_that_is_seen_late_is_waited_for(tmp_path, monkeypatch):
    late(monkeypatch, 2)
    first = open_run(str(tmp_path), QUESTION, {}, "predictions")
    late(monkeypatch, 2)
    sign(str(tmp_path), {"batch_size": 4})
    record = read(str(tmp_path))
    assert (record["run_id"], record["question"], len(record["processes"])) == (first, QUESTION, 1)


@pytest.mark.parametrize("place", ["local", "s3"])
def test_of_different_settings_that_begin_at_once_exactly_one_is_let_in(place, tmp_path, request, monkeypatch):
    """Each sees no record before any has written one, as two drivers on two machines may."""
    root = str(tmp_path) if place == "local" else request.getfixturevalue("bucket")
    both, real = Barrier(2), storage.create

    def create(uri, data):
        both.wait(10)
        return real(uri, data)

    monkeypatch.setattr(storage, "create", create)

    def begin(output, model):
        try:
            return open_run(output, QUESTION | {"model_id": model}, {}, "predictions")
        except ConfigError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        for number in range(10):
            output = f"{root}/{number}"
            answers = list(pool.map(lambda model, output=output: begin(output, model), ("m1", "m2")))
            record = read(output)
            winner = ("m1", "m2").index(record["question"]["model_id"])
            assert answers[winner] == record["run_id"]
            assert "was made with other settings (model_id" in answers[1 - winner]


def test_what_is_no_record_is_not_signed(tmp_path):
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(StorageError, match=r"run\.json is not the"):
        sign(str(tmp_path), {})
