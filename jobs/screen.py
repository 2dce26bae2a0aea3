"""Screen the radiographs of a manifest with a checkpoint: predictions, masks and a review queue in Parquet.

Run the same command again after any interruption: only what is missing is done.
"""

import time

import ray

from comit_ray import cli, storage
from comit_ray.config import ScreenConfig
from comit_ray.screening import accounts, compact, pipeline, plan, question, results
from comit_ray.screening.chunk import PREDICTIONS, side_tables
from comit_ray.training import checkpoint


def job(config: ScreenConfig) -> int:
    """The whole screen; exit status 0 only if every image of the manifest has exactly one row."""
    output = storage.normalise(config.output)
    if config.compact:
        compact.check(output)
    loaded = checkpoint.load(config.checkpoint)
    operating_point = question.choose_operating_point(config, loaded)
    whole = plan.make_plan(config.manifest, config.split)
    run_id = question.open_run(output, question.of(config, loaded, whole, operating_point), config.model_dump())
    for score, reason in operating_point.missing.items():
        print(f"operating point {operating_point.name} has no threshold for {score} ({reason}): its flags are null")

    sides = side_tables(config.embeddings)
    remaining = whole.without(accounts.committed(whole, output, sides))
    started = time.monotonic()
    if remaining.parts:
        print(f"screening {remaining.rows:,} of {whole.rows:,} images in {len(remaining.chunks):,} chunks", flush=True)
        if not ray.is_initialized():
            ray.init()
        pipeline.screen(config, remaining, loaded.config.frame, loaded.model_id, operating_point, run_id)
    seconds = time.monotonic() - started

    taken = accounts.take(whole, output, sides)
    if results.write_queue(output, config.manifest, config.queue, operating_point):
        print("the review queue was built from the tables")
    if config.compact and taken.balanced:
        print(f"larger files: {compact.write(whole, output, (PREDICTIONS, *sides))}")
    print(results.summary(taken, output, remaining.rows, seconds))
    return 0 if taken.balanced else 1


if __name__ == "__main__":
    cli.run(job, ScreenConfig, __doc__ or "")
