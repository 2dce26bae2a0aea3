"""Options of `monitor`: the results to watch, the length of a period (day or week), and the false alarms to accept."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from comit_ray.config.config_base import ADVANCED, Config, PositiveFloat

MemoryGib = Annotated[PositiveFloat, ADVANCED]
"""GiB of memory for the tables of an output while they are queried; beyond that, the disk is used (TMPDIR)."""
MEMORY_GIB = 1.0
"""Default of `MemoryGib`. With Python itself and reading, a process stays below 2 GB."""


class MonitorConfig(Config):
    """Options of `comit-ray monitor`."""

    results: str
    """Path or URI of a screen's output."""
    output: str | None = None
    """Path or URI for the page and its tables; null: RESULTS/monitor."""
    period: Literal["day", "week"] = "day"
    """Length of the periods that are compared with earlier ones: days, or weeks from Monday, both in UTC."""
    of: Literal["screened", "acquired"] = "screened"
    """The date that puts an image into a period: when it was screened, or when the radiograph was taken."""
    since: date | None = None
    """First day that counts, such as the day on which a device was replaced; null: the first day of the results."""
    least_before: Annotated[int, Field(ge=2), ADVANCED] = 4
    """Number of earlier periods that a chart needs before it has limits. Charts of numbers of images need twice as
    many."""
    false_alarms: Annotated[PositiveFloat, ADVANCED] = 1.0
    """Number of false alarms per year to accept, for all charts of the page together."""
    memory_gib: MemoryGib = MEMORY_GIB
    """GiB of memory for the tables; what does not fit goes to disk (TMPDIR)."""
