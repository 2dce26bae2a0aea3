"""What follows a screen of ten million images, on tables of `tests.benchmarks.archive_of_rows`: seconds and memory.

`python -m tests.benchmarks.large_archive DIRECTORY STEP`, STEP one of queue, drift, drift-before (the code that held
the archive in memory), masks, monitor, compact. One process a step.
"""

import sys

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks import compaction
from comit_ray.config.monitor_config import MonitorConfig
from comit_ray.config.queue_config import QueueConfig
from comit_ray.evaluation.monitor import watch_report
from comit_ray.screening import drift, results_folder, run_screen
from comit_ray.screening.screen_tables import read_predictions
from comit_ray.storage import storage
from comit_ray.tables import parquet
from tests.benchmarks.measure import measured
from tests.screening.test_drift import known

POINT = OperatingPoint("specificity_0.90", {"covid": 0.35, "unhealthy": 0.6})
CONFIG = QueueConfig(capacity=20_000)


def _drift_before(directory: str) -> None:
    """Drift in memory, as it was first written."""
    predictions = read_predictions(f"{directory}/results")
    scored = predictions.select(drift.COLUMNS).to_pandas()
    scored = scored[scored["status"] == "ok"]
    manifest = parquet.read_table(f"{directory}/manifest", ["image_id", "dataset", "patient_id"]).to_pandas()
    images = scored.merge(manifest, on="image_id", how="left")
    drift.compare(drift.ScoredImages.of_frame(images), "m", known(), {})


def main() -> None:
    """One step."""
    directory, step = sys.argv[1:3]
    results = f"{directory}/results"
    with measured(step):
        if step == "drift-before":
            _drift_before(directory)
        elif step == "queue":
            results_folder.write_queue(results, f"{directory}/manifest", CONFIG, POINT)
        elif step == "drift":
            drift.write(results, f"{directory}/manifest", "m", known(), {})
        elif step == "masks":
            print(run_screen.masks_line(results, "flagged", 1.0))
        elif step == "monitor":
            print("\n".join(watch_report.write(MonitorConfig(results=results))[1][:3]))
        else:
            names = [entry.path for entry in storage.list_files(f"{results}/predictions", ".parquet")]
            compaction.compact(results, names, ["predictions"])


if __name__ == "__main__":
    main()
