"""Write an archive of synthetic chest radiographs with known lungs and lesions, and some broken files."""

from comit_ray import cli
from comit_ray.command.jobs import phantom as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
