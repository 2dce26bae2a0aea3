"""What follows a screen of ten million images, on tables of `tests.benchmarks.archive_of_rows`: seconds and memory.

`python -m tests.benchmarks.large_archive DIRECTORY STEP`, STEP one of

    queue         up to a capacity of 20,000
    queue-whole   without a capacity: every image with a reason
    drift
    accounts      what became of every image, from the chunks' files
    summary       the lines after a screen, but for the counts of `accounts`
    report        `evaluate` of an archive without labels, without pictures
    evaluate      `evaluate` of labelled images, with 100 draws (or the number given as a third argument); radiographs
                  are not loaded, because there are none
    masks         the line that counts images without masks
    monitor
    compact
    queue-before, drift-before, report-before
                  tables in pandas in memory, as it was first written

One process a step.
"""

import sys
import tempfile
from dataclasses import replace
from unittest import mock

import pandas as pd

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.checkpoint.reference import Reference
from comit_ray.chunks import accounts, compaction
from comit_ray.chunks.plan import make_plan
from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.config.monitor_config import MonitorConfig
from comit_ray.config.queue_config import QueueConfig
from comit_ray.errors import Reason
from comit_ray.evaluation import archive_report, screen_metrics, screen_report
from comit_ray.evaluation.monitor import watch_report
from comit_ray.evaluation.pictures import radiographs
from comit_ray.screening import drift, results_folder, review_queue, run_screen, screen_summary
from comit_ray.screening.screen_tables import layout, read_predictions
from comit_ray.storage import storage
from comit_ray.tables import parquet
from tests.benchmarks.measure import measured
from tests.screening import queue_in_pandas

POINT = OperatingPoint("specificity_0.90", {"covid": 0.35, "unhealthy": 0.6})
CAPACITY = 20_000


def _queue_before(directory: str) -> None:
    """The queue and the unread images in memory, as they were first made."""
    predictions = read_predictions(f"{directory}/results")
    names = [*review_queue.MANIFEST_COLUMNS, "dataset", "site", "acquired_on", "added_on"]
    rows = parquet.read_table(f"{directory}/manifest", names)
    points = dict.fromkeys(predictions["model_id"].unique().to_pylist(), POINT)
    queue, whole = (
        queue_in_pandas.build_nights(predictions, rows, QueueConfig(capacity=capacity), points)
        for capacity in (CAPACITY, None)
    )
    unread = queue_in_pandas.unread_images(predictions, rows, queue, whole)
    print(f"{queue.num_rows:,} in the queue, {unread.num_rows:,} unread")


def _known() -> Reference:
    """What a checkpoint remembers of its training; PyTorch is imported with it, which the driver of a screen is not."""
    from tests.screening.test_drift import known

    return known()


def _drift_before(directory: str) -> None:
    """Drift in memory, as it was first written."""
    predictions = read_predictions(f"{directory}/results")
    scored = predictions.select(drift.COLUMNS).to_pandas()
    scored = scored[scored["status"] == "ok"]
    rows = parquet.read_table(f"{directory}/manifest", ["image_id", "dataset", "patient_id"]).to_pandas()
    images = scored.merge(rows, on="image_id", how="left")
    drift.compare(drift.ScoredImages.of_frame(images), "m", _known(), {})


def _report_before(directory: str) -> None:
    """What the report of an archive held in memory before it counted anything."""
    labels = parquet.read_table(f"{directory}/manifest", [*screen_metrics.LABELS, "acquired_on"]).to_pandas()
    joined = labels.merge(read_predictions(f"{directory}/results").to_pandas(), on="image_id", how="left")
    print(f"{len(joined):,} rows")


def _accounts(directory: str) -> None:
    tables = replace(layout(embeddings=False), sides=())
    taken = accounts.take(make_plan(f"{directory}/manifest", "all"), f"{directory}/results", tables)
    assert taken.balanced, taken.problems[:3]
    print("\n".join(screen_summary.account_lines(taken, POINT)))


def _report(directory: str) -> None:
    with tempfile.TemporaryDirectory() as made:
        options = {"results": f"{directory}/results", "manifest": f"{directory}/manifest", "sheet_images": 0}
        text = archive_report.write(EvaluateConfig(**options, output=made))
    print(text.split("## ")[0])


def _none_readable(images: pd.DataFrame, *_: object) -> list[radiographs.Unreadable]:
    """Images without files, which would be asked for in an object storage."""
    return [radiographs.Unreadable(row, Reason.MISSING) for row in images.to_dict("records")]


def _evaluate(directory: str, draws: int) -> None:
    options = {"results": f"{directory}/results", "manifest": f"{directory}/manifest", "sheet_images": 0}
    with tempfile.TemporaryDirectory() as made, mock.patch.object(radiographs, "load", _none_readable):
        text = screen_report.write(EvaluateConfig(**options, draws=draws, output=made))
    print(text.split("## ")[0])


def main() -> None:
    """One step."""
    directory, step = sys.argv[1:3]
    results, rows = f"{directory}/results", f"{directory}/manifest"
    with measured(step):
        if step in ("queue", "queue-whole"):
            capacity = CAPACITY if step == "queue" else None
            results_folder.write_queue(results, rows, QueueConfig(capacity=capacity), POINT)
        elif step == "drift":
            drift.write(results, rows, "m", _known(), {})
        elif step == "summary":
            nothing = accounts.Accounts(0, {}, {}, 0, ())
            print("\n".join(screen_summary.summary(nothing, results, rows, QueueConfig(), POINT)))
        elif step == "masks":
            print(run_screen.masks_line(results, "flagged", 1.0))
        elif step == "monitor":
            print("\n".join(watch_report.write(MonitorConfig(results=results))[1][:3]))
        elif step == "compact":
            names = [entry.path for entry in storage.list_files(f"{results}/predictions", ".parquet")]
            compaction.compact(results, names, ["predictions"])
        elif step == "evaluate":
            _evaluate(directory, int(sys.argv[3]) if len(sys.argv) > 3 else 100)
        else:
            steps = {"accounts": _accounts, "report": _report, "queue-before": _queue_before}
            (steps | {"drift-before": _drift_before, "report-before": _report_before})[step](directory)


if __name__ == "__main__":
    main()
