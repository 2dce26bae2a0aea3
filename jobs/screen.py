"""Screen the radiographs of a manifest with a checkpoint: predictions, masks and a review queue in Parquet."""

from comit_ray import cli
from comit_ray.command.jobs import screen as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
