"""Train and score every variant of a study with several seeds, and record each result in a table."""

from comit_ray import cli
from comit_ray.command.jobs import sweep as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
