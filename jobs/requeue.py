"""Build the review queue again from the tables of a screen, with other options; no image and no model is read."""

from comit_ray import cli
from comit_ray.chunks import nodes
from comit_ray.config.screen_config import RequeueConfig
from comit_ray.screening import run_screen, run_settings
from comit_ray.storage import storage


def job(config: RequeueConfig) -> int:
    """Read the tables, write the queue if it differs."""
    output = storage.normalise(config.results)
    nodes.check_submitted({}, {"results": output})
    operating_point = run_settings.recorded_operating_point(output)
    written = run_screen.write_queue(output, config.manifest, config.queue, operating_point)
    print(
        "the review queue was built from the tables" if written else "the review queue is what it would be: unchanged"
    )
    print(f"review_queue: {storage.join(output, run_screen.QUEUE_FILE)}")
    return 0


if __name__ == "__main__":
    cli.run(job, RequeueConfig, __doc__ or "")
