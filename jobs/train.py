"""Train a model on the radiographs of a manifest, on one machine or a cluster; print the checkpoint's URI."""

from comit_ray import cli
from comit_ray.command.jobs import train as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
