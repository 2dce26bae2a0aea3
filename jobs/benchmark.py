"""Measure a screen on this machine or cluster: each stage, the bottleneck, and the hours for N images."""

from comit_ray import cli
from comit_ray.command.jobs import benchmark as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
