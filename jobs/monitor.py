"""Watch a screen over days or weeks, by site, device and view: find changes, with limits for false alarms."""

from comit_ray import cli
from comit_ray.command.jobs import monitor as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
