"""Check every file that a job wrote, and report what is damaged. Nothing is changed."""

from comit_ray import cli
from comit_ray.command.jobs import verify as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
