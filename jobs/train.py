"""Train a model on a manifest's radiographs, data-parallel on Ray. Prints the best checkpoint's URI last."""

from comit_ray import cli
from comit_ray.command.jobs import train as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
