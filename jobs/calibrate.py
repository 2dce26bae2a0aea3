"""Find a threshold for this site from readers' verdicts, or from confirmatory tests, on a screen's review queue.

Writes thresholds.csv (every threshold, by age, sex, view and site), calibration.json, and the operating_points.json
that `screen --operating_points` takes, for the same model alone.
"""

from comit_ray import cli
from comit_ray.reading import calibrate
from comit_ray.reading.settings import CalibrateConfig


def job(config: CalibrateConfig) -> int:
    """Read the tables, write the file, print what it means."""
    print(calibrate.write(config))
    return 0


if __name__ == "__main__":
    cli.run(job, CalibrateConfig, __doc__ or "")
