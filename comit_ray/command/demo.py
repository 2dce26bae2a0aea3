"""Runs all steps on synthetic radiographs: archive, manifest, training, screening, report."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

from comit_ray.config.phantom_config import DemoConfig
from comit_ray.errors import ComitError, ConfigError
from comit_ray.storage import storage
from comit_ray.tables import parquet

STEPS = ("archive", "manifest", "training", "checkpoint", "results", "report")
STOPPED = 130
"""Exit status of a job that Ctrl-C ended. The terminal sends Ctrl-C to the demo too."""
QUEUE_COLUMNS = ["rank", "image_id", "reasons", "p_covid", "p_unhealthy", "status", "reason"]


def _run(job: str, *options: str) -> None:
    """Print the command of one job, and run it as a user would."""
    print(f"\n$ comit-ray {job} {' '.join(options)}", flush=True)
    started = time.monotonic()
    command = [sys.executable, "-m", "comit_ray.cli", job, *options]
    done = subprocess.run(command, check=False)  # noqa: S603 - our own jobs
    if done.returncode == STOPPED:
        raise KeyboardInterrupt
    if done.returncode:
        raise ComitError(f"comit-ray {job} ended with status {done.returncode}; its message is above")
    print(f"[{time.monotonic() - started:.0f} s]", flush=True)


def show(config: DemoConfig) -> None:
    """Run the demo. Everything goes to `config.output`; folders of an earlier demo are replaced.

    Raises:
        ConfigError: the output holds files that do not belong to a demo.
        ComitError: a job failed.
    """
    output = Path(storage.normalise(config.output))
    marker = output / ".comit-ray-demo"  # only folders of an earlier demo are replaced
    if output.exists() and any(output.iterdir()) and not marker.exists():
        raise ConfigError(f"{output} holds files that do not belong to a demo: give another --output")
    output.mkdir(parents=True, exist_ok=True)
    marker.touch()
    for step in STEPS:
        shutil.rmtree(output / step, ignore_errors=True)
    archive, manifest, training, checkpoint, results, report = (str(output / step) for step in STEPS)

    _run("phantom", "--output", archive, "--count", str(config.count), "--seed", str(config.seed))
    divided = ["--split.train", "0.6", "--split.val", "0.2", "--chunk_rows", "64"]  # 300 images need a larger val
    _run("manifest", "--source", "phantom", "--root", archive, "--output", manifest, *divided)
    _run("train", "--config", "demo", "--data", manifest, "--storage", training, "--name", "demo")
    shutil.copytree(Path(training) / "demo" / "best", checkpoint)
    # The archive has broken files on purpose, so a share of failures that fails a real screen is expected here.
    whole = ("--max_failed_share", "1")
    _run("screen", "--manifest", manifest, "--checkpoint", checkpoint, "--output", results, *whole)
    _run("evaluate", "--results", results, "--manifest", manifest, "--output", report)
    shutil.copy(Path(report) / "figures" / "sheet.png", output / "sheet.png")

    queue = parquet.read_table(f"{results}/review_queue", QUEUE_COLUMNS).to_pandas()
    print(f"\nThe first 10 of {len(queue)} images in the review queue (phantoms, not patients):")
    print(queue.head(10).to_string(index=False, float_format="%.2f", na_rep="-"))
    print(f"\nEverything is in {output}: manifest/ checkpoint/ results/ report/ sheet.png")
    print(f"Open the report in a browser: {output / 'report' / 'report.html'}")
