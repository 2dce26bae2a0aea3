import numpy as np
import pyarrow.parquet as pq
import pytest

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks.accounts import Accounts
from comit_ray.config.screen_config import QueueConfig
from comit_ray.screening.results_folder import write_queue
from comit_ray.screening.run_screen import scores_line, summary
from comit_ray.tables.schema import REVIEW_QUEUE
from tests.support import manifest_row, prediction_row, write_results

POINT = OperatingPoint("specificity_0.90", {"covid": 0.5, "unhealthy": 0.5})


def test_the_queue_is_written_only_where_it_differs(tmp_path):
    manifest = [manifest_row(f"a/{i}") for i in range(9)]
    predictions = [prediction_row(f"a/{i}", i / 10) for i in range(9)]
    results, uri = write_results(tmp_path, manifest, predictions, [])
    config = QueueConfig(random_negatives=0)
    file = tmp_path / "results" / "review_queue" / "queue.parquet"
    assert write_queue(results, uri, config, POINT)
    queue = pq.read_table(file)
    assert queue.schema.equals(REVIEW_QUEUE)
    assert queue["image_id"].to_pylist()[:2] == ["a/8", "a/7"]
    assert not write_queue(results, uri, config, POINT)
    assert write_queue(results, uri, config.model_copy(update={"capacity": 2}), POINT)
    assert pq.read_table(file).num_rows == 2
    assert not write_queue(results, uri, config.model_copy(update={"capacity": 2}), POINT)


def test_a_broken_queue_or_another_label_is_written_again(tmp_path):
    manifest = [manifest_row("a/0"), manifest_row("a/1")]
    predictions = [prediction_row("a/0", 0.9), prediction_row("a/1", 0.1)]
    config = QueueConfig(random_negatives=0)
    results, uri = write_results(tmp_path, manifest, predictions, [])
    write_queue(results, uri, config, POINT)
    (tmp_path / "results" / "review_queue" / "queue.parquet").write_bytes(b"PAR1")
    assert write_queue(results, uri, config, POINT)
    write_results(tmp_path, [manifest_row("a/0"), manifest_row("a/1", covid=1)], predictions, [])
    assert write_queue(results, uri, config, POINT)


def test_tables_older_than_a_column_still_make_a_queue(tmp_path):
    results, uri = write_results(tmp_path, [manifest_row("a/0")], [prediction_row("a/0", 0.9)], [])
    file = tmp_path / "results" / "predictions" / "part-00000.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["calibration"]), file)
    assert write_queue(results, uri, QueueConfig(), POINT)
    queue = pq.read_table(tmp_path / "results" / "review_queue" / "queue.parquet")
    assert queue["calibration"].to_pylist() == [None]
    assert queue["p_covid"].to_pylist() == [np.float32(0.9)]


@pytest.mark.parametrize(
    ("scores", "temperatures", "expected"),
    [
        ((), {}, "the model has no score"),
        (("covid",), {}, "not calibrated (--temperature off)"),
        (("covid", "other"), {"covid": 1.7345, "other": 0.5}, "log-odds of covid by 1.73, other by 0.5"),
    ],
)
def test_the_screen_says_what_its_scores_are(scores, temperatures, expected):
    assert expected in scores_line(scores, temperatures)


ACCOUNTS = Accounts(
    asked=1205,
    by_status={"ok": 1170, "excluded": 35},
    by_reason={("ok", ""): 1170, ("excluded", "lateral"): 12, ("excluded", "wrong_modality"): 23},
    flagged=150,
    problems=(),
)


def test_the_summary_counts_every_image_and_says_where_the_tables_are():
    text = summary(ACCOUNTS, "/out", 1205, 10.0)
    assert ACCOUNTS.balanced
    for part in ("1,205 images in the manifest", "1,170 ok", "23 wrong_modality", "120.5 images/s", "/out/predictions"):
        assert part in text
    assert "not flagged is not normal" in text


def test_an_unbalanced_summary_says_so():
    broken = Accounts(10, {"ok": 9}, {("ok", ""): 9}, 0, ("chunk file x is absent",))
    text = summary(broken, "/out", 0, 1.0)
    assert "PROBLEM: chunk file x is absent" in text
    assert "do NOT balance" in text
