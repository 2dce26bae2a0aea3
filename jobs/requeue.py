"""Build the review queue again from the tables of a screen, with other options. It needs no images and no model."""

from comit_ray import cli
from comit_ray.command.jobs import requeue as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
