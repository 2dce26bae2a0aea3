"""Read the review queue in a browser: a page for radiologists, and their verdicts as a table beside the results."""

from comit_ray import cli
from comit_ray.command.jobs import review as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
