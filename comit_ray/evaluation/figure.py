"""One number of a report, as it stands in `metrics.json`."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["image", "study", "patient"]
"""What is counted: a study or a patient is flagged where any image of it is."""
LEVELS: tuple[Level, ...] = ("image", "study", "patient")


@dataclass(frozen=True)
class Figure:
    """A figure of merit over a group of images, with its 95% interval.

    Args:
        metric: its name; the same for every `at`, group and level.
        value: a fraction; None where it is undefined.
        n: what it is taken over: positives for a sensitivity, negatives for a specificity, what was flagged for a
            precision, otherwise all that count; images, or of another `level` studies or patients.
        split: that was scored.
        group: `all`, or `dataset=NAME`.
        at: the specificity or sensitivity it is given at, the name of an operating point, or a status.
        low: lower end of the interval; None where there is none.
        high: upper end.
        interval: how it was made (`comit_ray.statistics.intervals.Interval`); None where there is none.
        patients: patients among the `n`; an image without a patient's id counts as one.
        level: what is counted.
        reason: why there is no value, or no interval.
    """

    metric: str
    value: float | None
    n: int
    split: str
    group: str
    at: float | str | None = None
    low: float | None = None
    high: float | None = None
    interval: str | None = None
    patients: int | None = None
    level: Level = "image"
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, in a fixed order."""
        return asdict(self)
