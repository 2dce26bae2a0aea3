"""Screen the radiographs of a manifest with a checkpoint: predictions, masks and a review queue in Parquet.

Run the same command again after any interruption: only what is missing is done.
"""

from comit_ray import cli
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.screening.run_screen import screen


def job(config: ScreenConfig) -> int:
    """The whole screen; exit status 0 only if every image of the manifest has exactly one row."""
    return 0 if screen(config).balanced else 1


if __name__ == "__main__":
    cli.run(job, ScreenConfig, __doc__ or "")
