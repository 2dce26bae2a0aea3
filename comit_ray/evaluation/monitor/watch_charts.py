"""Charts of what was counted, and the alarms of the last period: which group changed, and in what.

A chart follows one property of one group over days or weeks. Shares: images that failed, were excluded or were flagged;
flags that readers confirm; images on which readers and model agree. A count: how many images arrived. For what the
network sees (scores, the distance of the embedding, statistics of pixels), the chart follows the share of images
outside the usual range, which held nine tenths of the group's earlier images.
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
from comit_ray.tables.vocabulary import counted as counted_in_words

PERIODS_A_YEAR = {"day": 365.25, "week": 52.18}
OUTSIDE = 0.05
"""Share of the earlier images that lie beyond each end of the usual range."""
IMAGES = "images"
SHARES = {
    "failed": ("failed", "images"),
    "excluded": ("excluded", "images"),
    "flagged": ("flagged", "judged"),
    "confirmed": ("confirmed", "flagged_decided"),
    "agreeing": ("agreeing", "decided"),
}
"""Signal -> two fields of a `Period`: the images with the property, and the images that could have it."""
WORDS = {
    "failed": "images could not be scored",
    "excluded": "images were excluded",
    "flagged": "images are flagged",
    "confirmed": "flagged images that were read are confirmed by the readers",
    "agreeing": "read images have the flag that the readers would give",
    "score": "images have a score",
    "embedding_distance": "images have an embedding distance",
    "pixel_mean": "images have a mean grey value",
    "pixel_sd": "images have a contrast (standard deviation of grey values)",
    "pixel_black": "images have a share of black pixels",
    "pixel_white": "images have a share of white pixels",
}
"""Signal that is a share -> the words after the count in a sentence."""
TITLES = {
    "failed": "images that could not be scored",
    "excluded": "images excluded",
    "flagged": "images flagged",
    "confirmed": "read flags that readers confirm",
    "agreeing": "read images with the readers' flag",
    IMAGES: "number of images",
    **{name: WORDS[name].removeprefix("images have a ").removeprefix("images have an ") for name in SEEN},
}
"""Signal -> the title of its chart."""
READING = ("confirmed", "agreeing")
"""Signals that the verdicts of later days may still change."""


@dataclass(frozen=True)
class Chart:
    """One property of one group.

    Args:
        kind: kind of the group: `all`, `site`, `device` or `view`.
        group: name of the group.
        signal: the property, a key of `TITLES`.
        days: first day of each period.
        looks: the judgement of each period.
        silent: number of periods in which the group had no image although others had.
    """

    kind: str
    group: str
    signal: str
    days: Sequence[date]
    looks: Sequence[PeriodLook]
    silent: int = 0

    @property
    def since(self) -> date | None:
        """First day of the unbroken run of alarms that includes the last period; None if that has no alarm."""
        first = None
        for day, look in zip(reversed(self.days), reversed(self.looks), strict=True):
            if not look.alarm:
                break
            first = day
        return first


@dataclass(frozen=True)
class Watched:
    """The result of all charts.

    Args:
        charts: the charts with at least one period.
        level: p-value below which one period of one chart is an alarm.
        last: first day of the last period.
        newcomers: kind and name of sites and devices that are new in the last period.
    """

    charts: Sequence[Chart]
    level: float
    last: date
    newcomers: Sequence[tuple[str, str]]

    @property
    def alarms(self) -> list[Chart]:
        """The charts with an alarm in the last period, the least likely first; charts of all images come last."""
        mine = [one for one in self.charts if one.days[-1] == self.last and one.looks[-1].alarm]
        return sorted(mine, key=lambda one: (one.kind == ALL, one.looks[-1].p or 0.0, one.group, one.signal))

    @property
    def earlier(self) -> list[tuple[date, Chart, PeriodLook]]:
        """Alarms of earlier periods, the latest first: the day, the chart and its judgement."""
        found = [
            (day, one, look)
            for one in self.charts
            for day, look in zip(one.days, one.looks, strict=True)
            if look.alarm and day != self.last
        ]
        return sorted(found, key=lambda one: (-one[0].toordinal(), one[1].kind, one[1].group, one[1].signal))


def watch(counted: Counted, config: MonitorConfig) -> Watched:
    """Judges every chart.

    Args:
        counted: the counts of an output.
        config: options of the job.
    """
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
        mine = days[days.index(min(known)) :]  # a new group was not silent before its first image
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
        # The first period of a programme is its backlog: no later period resembles it.
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
    """Judges the share of images outside the usual range, which held nine tenths of the earlier images.

    The range is computed anew for each period.
    """
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
        below = np.cumsum(before) / before.sum()  # share of images up to and including each bin
        inside = (below > OUTSIDE) & (np.concatenate([[0.0], below[:-1]]) < 1 - OUTSIDE)
        counts = [int(bins[~inside].sum()) for bins in (*mine, here)]
        totals = [int(bins.sum()) for bins in (*mine, here)]
        alarmed = [look.squared for one, look in enumerate(looks) if look.alarm and models[one] == models[at]]
        earlier = counts[:-1], totals[:-1]
        looks.append(control_chart.share_look(counts[-1], totals[-1], *earlier, level, least, alarmed))
    return looks


def in_words(chart: Chart, look: PeriodLook, day: date) -> str:
    """What is unusual in one period of a chart: the group, the observed number, the expected number and its limits.

    Args:
        chart: the chart.
        look: the period, as the chart judged it.
        day: first day of the period.
    """
    who = "all images together" if chart.kind == ALL else f"{chart.kind} {chart.group}"
    before = counted_in_words(look.before, "earlier period")
    if chart.signal == IMAGES:
        return (
            f"{who}, {day}: {counted_in_words(look.count, 'image')} arrived; expected from {before}: "
            f"{look.expected:,.0f} (limits {look.low:,.0f} to {look.high:,.0f})"
        )
    what = WORDS[chart.signal]
    if chart.signal in SEEN:
        what += " outside the range that held nine tenths of earlier images"
    return (
        f"{who}, {day}: {look.count:,} of {look.total:,} ({look.share:.1%}) {what}; expected from {before}: "
        f"{look.expected:.1%} (limits {look.low:.1%} to {look.high:.1%})"
    )


def sentences(watched: Watched, counted: Counted, config: MonitorConfig) -> list[str]:
    """The sentences that a person reads first: alarms, then new sites and devices, or that nothing is unusual.

    Args:
        watched: the charts.
        counted: the counts behind them.
        config: options of the job.
    """
    said = []
    for one in watched.alarms:
        since = "" if one.since in (None, watched.last) else f", as in every {config.period} since {one.since}"
        said.append(f"WARNING: {in_words(one, one.looks[-1], watched.last)}{since}.")
    said += [
        f"New in the last {config.period}: {kind} {group}. It has no history to compare with yet."
        for kind, group in watched.newcomers
    ]
    with_limits = [one for one in watched.charts if one.days[-1] == watched.last and one.looks[-1].p is not None]
    if not with_limits:
        said.append(
            f"The {config.period} of {watched.last} cannot be judged yet: charts need {config.least_before} earlier "
            f"{config.period}s to compare with. This shows neither that it is unusual nor that it is usual."
        )
    elif not watched.alarms:
        said.append(
            f"No alarm in the {config.period} of {watched.last}, on {counted_in_words(len(with_limits), 'chart')}. "
            "Slow changes, and changes that concern few images, raise no alarm."
        )
    if counted.undated:
        said.append(
            f"Images without the day on which they were {config.of}: {counted.undated:,}. They are in no period."
        )
    return said
