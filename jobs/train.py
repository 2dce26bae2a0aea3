"""Train a model on a manifest's radiographs, data-parallel on Ray. Prints the best checkpoint's URI last."""

from comit_ray import cli
from comit_ray.config.train_config import TrainConfig
from comit_ray.training.run_training import train


def job(config: TrainConfig) -> int:
    """Train, and say where the best checkpoint is."""
    best = train(config)
    print(f"checkpoint: {best}")
    return 0


if __name__ == "__main__":
    cli.run(job, TrainConfig, __doc__ or "")
