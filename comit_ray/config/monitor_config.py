"""Options of `monitor`: which results are watched, over which periods, and how often it may alarm without cause."""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from comit_ray.config.config_base import ADVANCED, Config, PositiveFloat

MemoryGib = Annotated[PositiveFloat, ADVANCED]
"""GiB of memory that the tables of an output may take while they are asked; beyond, disk is used (TMPDIR)."""
MEMORY_GIB = 1.0
"""The default of `MemoryGib`: with what Python and reading need beside, a process stays below 2 GB."""


class MonitorConfig(Config):
    """`monitor`."""

    results: str
    """URI of a screening run's output."""
    output: str | None = None
    """URI of the page and its tables; null: RESULTS/monitor."""
    period: Literal["day", "week"] = "day"
    """What is compared with what came before: days, or weeks from Monday, both in UTC."""
    of: Literal["screened", "acquired"] = "screened"
    """By which date an image belongs to a period: when it was screened, or when the radiograph was taken."""
    since: date | None = None
    """First day that counts, such as the day a device was replaced; null: the first there is."""
    least_before: Annotated[int, Field(ge=2), ADVANCED] = 4
    """Periods that are needed before a chart has limits; of the charts that count images twice as many."""
    false_alarms: Annotated[PositiveFloat, ADVANCED] = 1.0
    """False alarms a year that are borne, all charts of the page together."""
    memory_gib: MemoryGib = MEMORY_GIB
    """GiB of memory that the tables may take; what does not fit goes to disk (TMPDIR)."""
