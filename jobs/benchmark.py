"""Measure a screen on this cluster: each stage alone, the whole, the bottleneck, and the hours for N images."""

from comit_ray import cli
from comit_ray.command.jobs import benchmark as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
