"""List the files of a bucket or directory into a table, so that later runs need not list it again."""

from comit_ray import cli
from comit_ray.command.jobs import listing as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
