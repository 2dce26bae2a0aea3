import numpy as np
import pyarrow.parquet as pq

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.config.queue_config import QueueConfig
from comit_ray.screening.results_folder import write_queue
from comit_ray.screening.run_screen import masks_line
from comit_ray.tables import seal
from comit_ray.tables.schema import PREDICTIONS, REVIEW_QUEUE
from tests.support import manifest_row, prediction_row, write_results, write_rows

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
    older = pq.read_table(file).drop_columns(["calibration"])  # no version wrote that table with a seal
    metadata = {key: value for key, value in older.schema.metadata.items() if key != seal.KEY}
    pq.write_table(older.replace_schema_metadata(metadata), file)
    assert write_queue(results, uri, QueueConfig(), POINT)
    queue = pq.read_table(tmp_path / "results" / "review_queue" / "queue.parquet")
    assert queue["calibration"].to_pylist() == [None]
    assert queue["p_covid"].to_pylist() == [np.float32(0.9)]


def test_how_many_masks_were_not_made(tmp_path):
    rows = [prediction_row(f"a/{i}", 0.5, lung_area=0.3 if i < 2 else None, disease_area=None) for i in range(5)]
    write_rows(tmp_path / "predictions", rows, PREDICTIONS)
    assert masks_line(str(tmp_path), "flagged", 0.25) == (
        "        3 of 5 scored images without masks (--masks flagged): no_lungs_found and "
        "disease_outside_lungs were not judged for these"
    )
    write_rows(tmp_path / "predictions", [], PREDICTIONS)
    assert masks_line(str(tmp_path), "none", 0.25).startswith("        0 of 0 scored images")


def test_no_mask_is_no_reason_to_read(tmp_path):
    """Null areas are not small ones: `no_lungs_found` was not judged."""
    rows = [prediction_row("a/0", 0.001, unhealthy_flag=False, lung_area=None, disease_area=None)]
    results, uri = write_results(tmp_path, [manifest_row("a/0")], rows, [])
    write_queue(results, uri, QueueConfig(random_negatives=0), POINT)
    assert pq.read_table(tmp_path / "results" / "review_queue" / "queue.parquet").num_rows == 0
