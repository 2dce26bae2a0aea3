"""The whole way on phantoms: archive, manifest, training, screening, report; runs the real jobs one by one."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

from comit_ray import cli
from comit_ray.config.data_config import DemoConfig
from comit_ray.errors import ComitError, ConfigError
from comit_ray.storage import storage
from comit_ray.tables import parquet

JOBS = Path(__file__).resolve().parent
STEPS = ("archive", "manifest", "training", "checkpoint", "results", "report")
QUEUE_COLUMNS = ["rank", "image_id", "reasons", "p_covid", "p_unhealthy", "status", "reason"]


def run(script: str, *options: str) -> None:
    """Run one job as a user would, and show its command."""
    print(f"\n$ python jobs/{script} {' '.join(options)}", flush=True)
    started = time.monotonic()
    done = subprocess.run([sys.executable, str(JOBS / script), *options], check=False)  # noqa: S603 - our own jobs
    if done.returncode:
        raise ComitError(f"jobs/{script} ended with status {done.returncode}; its message is above")
    print(f"[{time.monotonic() - started:.0f} s]", flush=True)


def job(config: DemoConfig) -> int:
    """Everything ends in `config.output`; an earlier demo's folders there are replaced."""
    output = Path(storage.normalise(config.output))
    marker = output / ".comit-ray-demo"  # only folders of our own are ever replaced
    if output.exists() and any(output.iterdir()) and not marker.exists():
        raise ConfigError(f"{output} is not empty and not an earlier demo's: give another --output")
    output.mkdir(parents=True, exist_ok=True)
    marker.touch()
    for step in STEPS:
        shutil.rmtree(output / step, ignore_errors=True)
    archive, manifest, training, checkpoint, results, report = (str(output / step) for step in STEPS)

    run("phantom.py", "--output", archive, "--count", str(config.count), "--seed", str(config.seed))
    divided = ["--split.train", "0.6", "--split.val", "0.2", "--chunk_rows", "64"]  # 300 images need a larger val
    run("manifest.py", "--source", "phantom", "--root", archive, "--output", manifest, *divided)
    demo_config = ["--config", str(JOBS / "configs" / "demo.yaml")]
    run("train.py", *demo_config, "--data", manifest, "--storage", training, "--name", "demo")
    shutil.copytree(Path(training) / "demo" / "best", checkpoint)
    run("screen.py", "--manifest", manifest, "--checkpoint", checkpoint, "--output", results)
    run("evaluate.py", "--results", results, "--manifest", manifest, "--output", report)
    shutil.copy(Path(report) / "figures" / "sheet.png", output / "sheet.png")

    queue = parquet.read_table(f"{results}/review_queue", QUEUE_COLUMNS).to_pandas()
    print(f"\nThe first 10 of {len(queue)} images in the review queue (phantoms, not patients):")
    print(queue.head(10).to_string(index=False, float_format="%.2f", na_rep="-"))
    print(f"\nEverything is in {output}: manifest/ checkpoint/ results/ report/ sheet.png")
    return 0


if __name__ == "__main__":
    cli.run(job, DemoConfig, __doc__ or "")
