"""Write the manifest of an archive: one row per image, with its place, patient, view and labels."""

from comit_ray import cli
from comit_ray.command.jobs import manifest as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
