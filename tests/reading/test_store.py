import threading
import uuid
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from pydantic import ValidationError

from comit_ray.errors import ConfigError, NotFoundError, StorageError
from comit_ray.evaluation.external import read_reviews
from comit_ray.reading import events, store
from comit_ray.reading.store import Reviews, Verdict, check_reader, read_current
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.review_schema import REVIEWS
from tests.support import manifest_row, write_rows

FACTS = {"role": "first", "blinded": False, "model_id": "m", "run_id": "r"}


def verdict(image_id: str = "a/1", said: str = "abnormal", **more) -> Verdict:
    values = {"image_id": image_id, "submission": uuid.uuid4().hex, "verdict": said} | more
    return Verdict(**values)


@pytest.fixture(params=["local", "s3"])
def results(request, tmp_path) -> str:
    return str(tmp_path / "results") if request.param == "local" else request.getfixturevalue("bucket") + "/results"


def test_a_later_verdict_supersedes_and_both_stay(results):
    reviews = Reviews(results)
    reviews.put("anna", verdict(), FACTS)
    reviews.put("anna", verdict(said="normal", comment="  on second thought ", zones=(0, 0, 1, None, 0, 3)), FACTS)
    reviews.put("ben", verdict(said="cannot_tell"), FACTS)
    again = Reviews(results)
    for seen in (reviews, again):
        assert {key: row["verdict"] for key, row in seen.current().items()} == {
            ("a/1", "anna"): "normal", ("a/1", "ben"): "cannot_tell",
        }  # fmt: skip
    first, second = again.of_image("anna", "a/1")
    assert (first["revision"], second["revision"]) == (1, 2)
    assert second["read_at"] > first["read_at"]
    assert (second["comment"], second["zones"], second["abnormal"]) == (
        "on second thought",
        [0, 0, 1, None, 0, 3],
        False,
    )
    assert len(list(storage.list_files(storage.join(results, "reviews")))) == 3


def test_a_verdict_sent_twice_is_stored_once(results):
    """Also to another server, which has not seen the first."""
    one, other = Reviews(results), Reviews(results)
    sent = verdict()
    first = one.put("anna", sent, FACTS)
    assert one.put("anna", sent, FACTS) == first
    assert other.put("anna", sent, FACTS)["read_at"] == first["read_at"]
    assert len(list(storage.list_files(storage.join(results, "reviews")))) == 1


def test_several_servers_number_one_readers_verdicts_without_a_gap(results):
    servers = [Reviews(results) for _ in range(3)]
    sent = [verdict(said=said) for said in ("abnormal", "normal") * 3]

    def work(server: Reviews) -> None:
        for one in sent:  # every server gets every verdict, as a page would that retries
            server.put("anna", one, FACTS)

    threads = [threading.Thread(target=work, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = Reviews(results).of_image("anna", "a/1")
    assert [row["revision"] for row in found] == list(range(1, 7))
    assert {row["submission"] for row in found} == {one.submission for one in sent}


def test_a_withdrawn_verdict_counts_nowhere(tmp_path):
    reviews = Reviews(str(tmp_path))
    for said in ("abnormal", "withdrawn"):
        reviews.put("anna", verdict(said=said), FACTS)
    reviews.put("ben", verdict(said="normal", category="negative"), FACTS)
    assert [row["reader"] for row in reviews.current().values()] == ["ben"]
    assert read_current(str(tmp_path))["covid"].tolist() == [False]
    manifest = write_rows(tmp_path / "manifest", [manifest_row("a/1")], MANIFEST)
    assert read_reviews(reviews.uri, manifest)[["reader", "abnormal"]].to_numpy().tolist() == [["ben", False]]


def test_the_order_of_verdicts_is_not_the_clocks(tmp_path):
    reviews = Reviews(str(tmp_path))
    reviews.put("anna", verdict(), FACTS)
    name = store.file_name("anna", "a/1", 1)
    row = parquet.read_part(f"{reviews.uri}/{name}").to_pylist()[0]
    future = datetime.now(UTC) + timedelta(hours=2)
    parquet.write_table(f"{reviews.uri}/{name}", pa.Table.from_pylist([row | {"read_at": future}], schema=REVIEWS))
    later = Reviews(str(tmp_path)).put("anna", verdict(said="normal"), FACTS)
    assert later["read_at"] > future - timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("category", "suspected"), [("typical", True), ("indeterminate", None), ("negative", False), (None, None)]
)
def test_only_a_typical_radiograph_is_suspected(tmp_path, category, suspected):
    assert Reviews(str(tmp_path)).put("anna", verdict(category=category), FACTS)["covid"] is suspected


@pytest.mark.parametrize(
    "wrong",
    [{"verdict": "sick"}, {"zones": (1, 2)}, {"zones": (4,) * 6}, {"confidence": 0}, {"submission": "../x"},
     {"verdict": "normal", "category": "typical"}, {"reader": "ben"}],
)  # fmt: skip
def test_what_is_no_verdict_is_refused(wrong):
    with pytest.raises(ValidationError):
        verdict(**{"said": wrong.pop("verdict", "abnormal"), **wrong})


def test_a_readers_name_cannot_be_a_path():
    assert check_reader("dr_2") == "dr_2"
    for name in ("", "../x", "a/b", "A", "a-b", "a" * 33, "_x"):
        with pytest.raises(ConfigError, match="expected a reader's name"):
            check_reader(name)


def test_a_verdict_that_cannot_be_stored_is_not_acknowledged(tmp_path):
    reviews = Reviews(str(tmp_path))
    (tmp_path / "reviews").write_text("a file where the directory should be")
    with pytest.raises(StorageError, match="cannot write"):
        reviews.put("anna", verdict(), FACTS)
    assert not reviews.current()


def test_a_foreign_file_is_an_error_not_a_verdict(tmp_path):
    name = store.file_name("anna", "a/1", 1)
    parquet.write_table(str(tmp_path / "reviews" / name), pa.table({"image_id": ["a/1"]}))
    with pytest.raises(StorageError, match="expected one verdict"):
        Reviews(str(tmp_path))
    with pytest.raises(NotFoundError, match="no verdict in"):
        read_current(str(tmp_path / "other"))


def test_events_come_back_in_order(results):
    log = events.EventLog(results, {"model_id": "m", "run_id": "r"})
    log.write("entered", "anna")
    log.write("image_sent", "anna", image_id="a/1")
    found = events.read(results)
    assert [(event["event"], event["reader"], event.get("image_id")) for event in found] == [
        ("entered", "anna", None), ("image_sent", "anna", "a/1"),
    ]  # fmt: skip
    assert all(event["model_id"] == "m" and event["code"] for event in found)
