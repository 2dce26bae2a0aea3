"""Open the reading room: a page in the browser where radiologists read the review queue and give verdicts."""

from comit_ray import cli
from comit_ray.command.jobs import review as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
