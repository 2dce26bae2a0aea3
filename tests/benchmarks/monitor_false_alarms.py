"""False alarms of a programme in which nothing changes: `python -m tests.benchmarks.monitor_false_alarms YEARS`.

A chart is 52 weeks of a share that stays the same; weeks differ by chance, or more than that (`spread`: the variance of
a week's count over that of chance alone, as of images of one patient, or a ward's own rhythm). Printed is the number of
alarms a year of a page of `charts` charts, where one a year is borne.
"""

import sys

import numpy as np

from comit_ray.statistics import control_chart

WEEKS = 52
SHARES = (0.005, 0.02, 0.05, 0.1, 0.3, 0.9)
LEAST_BEFORE = 4


def false_alarms(charts: int, images: int, spread: float, years: int, borne: float, seed: int) -> float:
    """Alarms a year of `charts` charts.

    Args:
        charts: of the page; their shares are those of `SHARES` in turn.
        images: a week and chart, on average (Poisson).
        spread: variance of a week's count over that of chance alone, at least 1.
        years: that are simulated.
        borne: false alarms a year that the limits are made for.
        seed: of the draws.
    """
    draw = np.random.default_rng(seed)
    level = control_chart.look_level(borne, charts, WEEKS)
    alarms = 0
    for number in range(charts * years):
        share = SHARES[number % len(SHARES)]
        totals = draw.poisson(images, WEEKS)
        week = np.full(WEEKS, share)
        if spread > 1:
            alike = 1 / ((spread - 1) / (images - 1)) - 1  # of the beta-binomial: spread = 1 + (n - 1) / (alike + 1)
            week = draw.beta(share * alike, (1 - share) * alike, WEEKS)
        counts = draw.binomial(totals, week)
        looks = control_chart.shares([*map(int, counts)], [*map(int, totals)], level, LEAST_BEFORE)
        alarms += sum(look.alarm for look in looks)
    return alarms / years


def main() -> None:
    """A line for each size of a week and each spread."""
    years, charts = int(sys.argv[1]), 84
    print(f"{years} years of {charts} charts, one false alarm a year borne")
    for images in (20, 100, 1000):
        for spread in (1.0, 2.0, 4.0, 8.0):
            found = false_alarms(charts, images, spread, years, 1.0, seed=1)
            print(f"{images:>6} images a week, spread {spread:g}: {found:.3f} a year", flush=True)


if __name__ == "__main__":
    main()
