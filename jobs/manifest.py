"""Write the manifest of an image archive: one row an image, where it is, whose it is, what is known of it."""

from comit_ray import cli
from comit_ray.command.jobs import manifest as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
