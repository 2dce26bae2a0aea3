"""Screen a folder or bucket of radiographs: write scores, masks and the review queue."""

from comit_ray import cli
from comit_ray.command.jobs import screen as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
