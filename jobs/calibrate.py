"""Find a threshold for this site, from readers' verdicts or from confirmatory tests."""

from comit_ray import cli
from comit_ray.command.jobs import calibrate as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
