"""Fit the paper's random forest or SVM on the embeddings of a screen, and score every image of it from the tables.

No image and no network is read. The scores order the images; they are not calibrated probabilities. A second run of the
same command writes the same rows again.
"""

from comit_ray import cli
from comit_ray.chunks import nodes
from comit_ray.config.screen_config import EmbeddingClassifierConfig
from comit_ray.screening.embedding_screen import classify


def job(config: EmbeddingClassifierConfig) -> int:
    """Exit status 0 only if every image of the manifest has exactly one row."""
    nodes.check_submitted({}, {"output": config.output})
    return 0 if classify(config).balanced else 1


if __name__ == "__main__":
    cli.run(job, EmbeddingClassifierConfig, __doc__ or "")
