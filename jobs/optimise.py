"""Make a faster form of a checkpoint for CPUs, measure what it changes, and store it if that is within bounds."""

from comit_ray import cli
from comit_ray.command.jobs import optimise as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
