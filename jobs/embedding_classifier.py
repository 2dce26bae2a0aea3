"""Fit the paper's random forest or support vector machine on the embeddings of a screen, and score every image."""

from comit_ray import cli
from comit_ray.command.jobs import embedding_classifier as job

__all__ = ["job"]

if __name__ == "__main__":
    cli.run_job(job)
