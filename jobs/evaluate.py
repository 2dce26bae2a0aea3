"""Write the report of a screen or a study, with or without labels. It needs only the tables, no model."""

from comit_ray import cli
from comit_ray.command.jobs import evaluate as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
