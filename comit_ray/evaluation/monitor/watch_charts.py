"""Charts of what was counted, and the alarms of the last period: which site, device or view, and what changed of it.

A chart is one property of one group over days or weeks: the shares that failed, were excluded or flagged, that readers
confirmed, that readers and model agree on; how many images came; and of what the network sees (scores, the embedding's
distance, statistics of pixels) the share outside the range that held nine tenths of the group's earlier images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby

import numpy as np

from comit_ray.config.monitor_config import MonitorConfig
from comit_ray.evaluation.monitor.watch_counts import ALL, SEEN, Counted, Period
from comit_ray.statistics import control_chart
from comit_ray.statistics.control_chart import PeriodLook

PERIODS_A_YEAR = {"day": 365.25, "week": 52.18}
OUTSIDE = 0.05
"""Share of the earlier images beyond each end of the range of what is seen."""
IMAGES = "images"
SHARES = {
    "failed": ("failed", "images"),
    "excluded": ("excluded", "images"),
    "flagged": ("flagged", "judged"),
    "confirmed": ("confirmed", "flagged_decided"),
    "agreeing": ("agreeing", "decided"),
}
"""Signal -> the counts of a `Period`: with the property, and in all."""
WORDS = {
    "failed": "could not be scored",
    "excluded": "were excluded",
    "flagged": "are flagged",
    "confirmed": "of the flagged that were read are confirmed by readers",
    "agreeing": "of the images that were read have the flag that readers would give",
    IMAGES: "images came",
    "score": "have a score",
    "embedding_distance": "have an embedding distance",
    "pixel_mean": "have a mean grey value",
    "pixel_sd": "have a contrast (standard deviation of grey values)",
    "pixel_black": "have a share of black pixels",
    "pixel_white": "have a share of white pixels",
}
READING = ("confirmed", "agreeing")
"""Signals that verdicts of later days may still change."""


@dataclass(frozen=True)
class Chart:
    """One property of one group.

    Args:
        kind: of the group.
        group: its name.
        signal: of `WORDS`.
        days: first day of each period.
        looks: one a period.
        silent: periods in which the group had no image while others had.
    """

    kind: str
    group: str
    signal: str
    days: Sequence[date]
    looks: Sequence[PeriodLook]
    silent: int = 0

    @property
    def since(self) -> date | None:
        """The first of the alarms in a row that reach to the last period; None: the last is no alarm."""
        first = None
        for day, look in zip(reversed(self.days), reversed(self.looks), strict=True):
            if not look.alarm:
                break
            first = day
        return first


@dataclass(frozen=True)
class Watched:
    """What all charts say.

    Args:
        charts: with at least one period.
        level: p-value below which one look is an alarm.
        last: first day of the last period.
        newcomers: sites and devices that are new in the last period.
    """

    charts: Sequence[Chart]
    level: float
    last: date
    newcomers: Sequence[tuple[str, str]]

    @property
    def alarms(self) -> list[Chart]:
        """Charts whose last period is an alarm, the least likely first; those of all images after the rest."""
        mine = [one for one in self.charts if one.days[-1] == self.last and one.looks[-1].alarm]
        return sorted(mine, key=lambda one: (one.kind == ALL, one.looks[-1].p or 0.0, one.group, one.signal))

    @property
    def earlier(self) -> list[tuple[date, Chart, PeriodLook]]:
        """Alarms of earlier periods, the latest first."""
        found = [
            (day, one, look)
            for one in self.charts
            for day, look in zip(one.days, one.looks, strict=True)
            if look.alarm and day != self.last
        ]
        return sorted(found, key=lambda one: (-one[0].toordinal(), one[1].kind, one[1].group, one[1].signal))


def watch(counted: Counted, config: MonitorConfig) -> Watched:
    """Judge every chart of what was counted."""
    whole = [one for one in counted.periods if one.kind == ALL]
    days = [one.start for one in whole]
    series = {
        key: {one.start: one for one in mine}
        for key, mine in groupby(counted.periods, key=lambda one: (one.kind, one.group))
    }
    wanted = [IMAGES, *SHARES, *(name for name in SEEN if any(len(one.bins.get(name, ())) > 1 for one in whole))]
    level = control_chart.look_level(config.false_alarms, len(series) * len(wanted), PERIODS_A_YEAR[config.period])
    charts = []
    for (kind, group), known in series.items():
        mine = days[days.index(min(known)) :]  # a group that is new was not silent before
        periods = [known.get(day) or _nothing(whole[0], kind, group, day) for day in mine]
        for signal in wanted:
            looks = _looks(signal, periods, level, config.least_before)
            if any(look.total for look in looks):
                silent = sum(not one.images for one in periods)
                charts.append(Chart(kind, group, signal, mine, looks, silent))
    newcomers = [key for key, known in series.items() if key[0] not in (ALL, "view") and min(known) == days[-1]]
    return Watched(charts, level, days[-1], newcomers if len(days) > 1 else [])


def _nothing(like: Period, kind: str, group: str, day: date) -> Period:
    """A period in which a group had no image."""
    names = ("images", "scored", "failed", "excluded", "judged", "flagged", "read", "decided", "agreeing")
    return replace(
        like,
        kind=kind,
        group=group,
        start=day,
        **dict.fromkeys((*names, "flagged_decided", "confirmed"), 0),
        quartiles=None,
        turnaround=None,
        model_id="",
        reasons={},
        bins={},
    )


def _looks(signal: str, periods: Sequence[Period], level: float, least: int) -> list[PeriodLook]:
    models = [one.model_id for one in periods]
    if signal == IMAGES:
        # The first period of a programme is its backlog: no later one is like it.
        later = control_chart.counts([one.images for one in periods[1:]], level, 2 * least)
        return [PeriodLook(periods[0].images, periods[0].images, 0), *later]
    if signal in SHARES:
        count, total = ([int(getattr(one, name)) for one in periods] for name in SHARES[signal])
        comparable = None if signal in ("failed", "excluded") else models
        return control_chart.shares(count, total, level, least, comparable)
    return _of_seen(signal, periods, level, least, models)


def _of_seen(
    signal: str, periods: Sequence[Period], level: float, least: int, models: Sequence[str]
) -> list[PeriodLook]:
    """Share outside the range of nine tenths of the earlier images; it is made anew for each period."""
    looks: list[PeriodLook] = []
    for at, period in enumerate(periods):
        here = np.asarray(period.bins.get(signal, ()), np.int64)
        mine = [
            np.asarray(periods[one].bins[signal], np.int64)
            for one in range(at)
            if periods[one].bins.get(signal) and not looks[one].alarm and models[one] == models[at]
        ]
        mine = [bins for bins in mine if bins.sum()]
        if not mine or not here.sum():
            looks.append(PeriodLook(0, int(here.sum()), len(mine)))
            continue
        before = np.sum(mine, axis=0)
        below = np.cumsum(before) / before.sum()  # up to and with each bin
        inside = (below > OUTSIDE) & (np.concatenate([[0.0], below[:-1]]) < 1 - OUTSIDE)
        counts = [int(bins[~inside].sum()) for bins in (*mine, here)]
        totals = [int(bins.sum()) for bins in (*mine, here)]
        alarmed = [look.squared for one, look in enumerate(looks) if look.alarm and models[one] == models[at]]
        earlier = counts[:-1], totals[:-1]
        looks.append(control_chart.share_look(counts[-1], totals[-1], *earlier, level, least, alarmed))
    return looks


def in_words(chart: Chart, look: PeriodLook, day: date) -> str:
    """What is unusual in one period of one chart: who, what, how much, and what was expected."""
    who = "all images together" if chart.kind == ALL else f"{chart.kind} {chart.group}"
    if chart.signal == IMAGES:
        return (
            f"{who}, {day}: {look.count:,} images came; {look.expected:,.0f} expected from {look.before} earlier "
            f"periods (limits {look.low:,.0f} to {look.high:,.0f})"
        )
    what = WORDS[chart.signal]
    if chart.signal in SEEN:
        what += " outside the range of nine tenths of earlier images"
    return (
        f"{who}, {day}: {look.count:,} of {look.total:,} ({look.share:.1%}) {what}; {look.expected:.1%} expected from "
        f"{look.before} earlier periods (limits {look.low:.1%} to {look.high:.1%})"
    )


def sentences(watched: Watched, counted: Counted, config: MonitorConfig) -> list[str]:
    """What a person reads first: alarms, then who is new, or that nothing is unusual."""
    said = []
    for one in watched.alarms:
        since = "" if one.since in (None, watched.last) else f", as in every {config.period} since {one.since}"
        said.append(f"WARNING: {in_words(one, one.looks[-1], watched.last)}{since}.")
    said += [
        f"New in the last {config.period}: {kind} {group}; it has no history yet." for kind, group in watched.newcomers
    ]
    with_limits = [one for one in watched.charts if one.days[-1] == watched.last and one.looks[-1].p is not None]
    if not with_limits:
        said.append(
            f"There is too little to compare the {config.period} of {watched.last} with: charts need "
            f"{config.least_before} earlier ones. Nothing is shown to be unusual, nor to be usual."
        )
    elif not watched.alarms:
        said.append(
            f"No alarm in the {config.period} of {watched.last}, on {len(with_limits):,} charts. A slow change, or one "
            "of few images, gives none."
        )
    if counted.undated:
        said.append(f"{counted.undated:,} images have no day on which they were {config.of}, and are in no period.")
    return said
