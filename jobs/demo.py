"""Run all steps on synthetic radiographs: archive, manifest, training, screening, report."""

from comit_ray import cli
from comit_ray.command.jobs import demo as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
