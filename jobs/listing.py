"""List a bucket or directory once, into Parquet; `manifest --listing` then need not list it again."""

from comit_ray import cli
from comit_ray.command.jobs import listing as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
