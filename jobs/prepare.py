"""Decode the radiographs of a manifest once into a training table (8 bits, at most 512 px, with masks)."""

from comit_ray import cli
from comit_ray.command.jobs import prepare as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
