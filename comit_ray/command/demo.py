"""Runs all steps on synthetic radiographs: archive, manifest, training, screening, report.

All jobs run in this process and on one Ray. With a process for each job, PyTorch would be imported and Ray started
again, which takes longer than some of the jobs.
"""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from comit_ray.config.phantom_config import DemoConfig
from comit_ray.errors import ComitError, ConfigError
from comit_ray.storage import storage
from comit_ray.tables import parquet

STEPS = ("archive", "manifest", "training", "checkpoint", "results", "report")
Work = Callable[[str, Sequence[str]], int]
"""Runs the job of a name with words of a command line, and gives its exit status."""
QUEUE_COLUMNS = ["rank", "image_id", "reasons", "p_covid", "p_unhealthy", "status", "reason"]


def _run(work: Work, name: str, *words: str) -> None:
    """Run one job with the options that a user would give, and show its command."""
    print(f"\n$ comit-ray {name} {' '.join(words)}", flush=True)
    started = time.monotonic()
    status = work(name, words)
    if status:
        raise ComitError(f"comit-ray {name} ended with status {status}; what it printed says why")
    print(f"[{time.monotonic() - started:.0f} s]", flush=True)


def show(config: DemoConfig, work: Work) -> None:
    """Run the demo. Everything goes to `config.output`; folders of an earlier demo are replaced.

    Args:
        config: of the demo.
        work: runs a job.

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

    _run(work, "phantom", "--output", archive, "--count", str(config.count), "--seed", str(config.seed))
    divided = ["--split.train", "0.6", "--split.val", "0.2", "--chunk_rows", "64"]  # 300 images need a larger val
    _run(work, "manifest", "--source", "phantom", "--root", archive, "--output", manifest, *divided)
    trained = ["--data", manifest, "--storage", training, "--name", "demo"]
    fewer = [] if config.epochs is None else ["--train.epochs", str(config.epochs)]
    _run(work, "train", "--config", "demo", *trained, *fewer)
    shutil.copytree(Path(training) / "demo" / "best", checkpoint)
    # The archive has broken files on purpose, so a share of failures that fails a real screen is expected here.
    whole = ("--max_failed_share", "1")
    _run(work, "screen", "--manifest", manifest, "--checkpoint", checkpoint, "--output", results, *whole)
    _run(work, "evaluate", "--results", results, "--manifest", manifest, "--output", report)
    shutil.copy(Path(report) / "figures" / "sheet.png", output / "sheet.png")

    queue = parquet.read_table(f"{results}/review_queue", QUEUE_COLUMNS).to_pandas()
    print(f"\nThe first 10 of {len(queue)} images in the review queue (phantoms, not patients):")
    print(queue.head(10).to_string(index=False, float_format="%.2f", na_rep="-"))
    print(f"\nEverything is in {output}: manifest/ checkpoint/ results/ report/ sheet.png")
    print(f"Open the report in a browser: {output / 'report' / 'report.html'}")
