"""Score a screened, labelled archive, a bare predictions table or a study, from tables alone: no model is loaded."""

from comit_ray import cli
from comit_ray.command.jobs import evaluate as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
