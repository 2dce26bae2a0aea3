"""Read everything that a job wrote back, and say what is damaged; nothing is changed."""

from comit_ray import cli
from comit_ray.command.jobs import verify as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
