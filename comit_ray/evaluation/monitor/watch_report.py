"""The page of the monitor: plain sentences first, then charts with their limits, and tables of the last period.

It writes report.html (one file), report.md, tables/ and figures/. It also writes `periods.parquet` (every count, a row
for each group and day or week), `alarms.json` for other programs, and `metrics.prom` for Prometheus.
"""

import json
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from comit_ray.config.monitor_config import MonitorConfig
from comit_ray.evaluation.monitor import prometheus_text, watch_charts, watch_counts
from comit_ray.evaluation.monitor.watch_charts import IMAGES, READING, Chart, Watched, in_words
from comit_ray.evaluation.monitor.watch_counts import ALL, DEVICE, SITE, VIEW, Period
from comit_ray.evaluation.pictures import picture
from comit_ray.evaluation.pictures.picture import Picture
from comit_ray.evaluation.report import document
from comit_ray.evaluation.report.document import Chapter, FirstPage, ReportDocument, Table
from comit_ray.evaluation.report.printing import ROUNDING, score
from comit_ray.screening.results_folder import in_words as reason_in_words
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.review_schema import PERIODS
from comit_ray.tables.vocabulary import counted as counted_in_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAUTION = (
    "Not for diagnosis. A chart without an alarm does not show that all is well: slow changes, and changes that "
    "concern few images, raise no alarm. An alarm is a reason to look, not a finding."
)
DRAWN, SHOWN = 8, 60
"""The most charts in the picture, and the most periods of each."""
ALARM = "WARNING"


def write(config: MonitorConfig) -> tuple[str, list[str]]:
    """Counts, judges, and writes the page.

    Args:
        config: options of the job.

    Returns:
        URI of the page's directory, and the page's sentences.

    Raises:
        ComitError: as `watch_counts.count` raises, or the page cannot be written.
    """
    counted = watch_counts.count(config)
    watched = watch_charts.watch(counted, config)
    said = watch_charts.sentences(watched, counted, config)
    output = storage.normalise(config.output or storage.join(storage.normalise(config.results), "monitor"))
    whole = [one for one in counted.periods if one.kind == ALL]
    drawn = _drawn(watched, output, config)
    chapters = [
        Chapter("now", f"The {config.period} of {watched.last}", said),
        Chapter("charts", "Charts", _method(watched, config), pictures=[drawn]),
        Chapter("periods", "All images", (), {"all": _table("All images", whole[::-1], "period")}),
        *(
            Chapter(kind, f"By {kind}", (), {kind: _table(f"The last {config.period}, by {kind}", mine, kind)})
            for kind in (SITE, DEVICE, VIEW)
            if (mine := [one for one in counted.periods if one.kind == kind and one.start == watched.last])
        ),
        Chapter("failed", "Images that could not be scored", (), _failed(counted.periods, watched)),
        Chapter("earlier", "Earlier alarms", (), _earlier(watched)),
    ]
    page = ReportDocument(
        f"Monitor: the {config.period} of {watched.last}, and "
        f"{counted_in_words(len(whole) - 1, 'earlier ' + config.period)}",
        CAUTION,
        chapters,
        f"{ROUNDING} The folder tables/ has every table as CSV; periods.parquet has every count.",
        long=frozenset({"all", "earlier", SITE, DEVICE}),
        alarms=(ALARM,),
        first=FirstPage(_verdict(said), _numbers(whole[-1])),
    )
    document.write(page, output)
    parquet.write_table(storage.join(output, "periods.parquet"), _rows(counted.periods))
    told = {"period": str(watched.last), "level": watched.level, "alarms": [_told(one) for one in watched.alarms]}
    storage.write_bytes(storage.join(output, "alarms.json"), (json.dumps(told, indent=1) + "\n").encode())
    metrics = prometheus_text.text(counted.periods, watched)
    storage.write_bytes(storage.join(output, prometheus_text.FILE), metrics.encode())
    return output, said


def _verdict(said: Sequence[str]) -> list[str]:
    """The sentences of the first page: the least likely alarm, and the number of others."""
    alarms = [text for text in said if text.startswith(ALARM)]
    if not alarms:
        return list(said[:3])
    more = len(alarms) - 1
    others = (
        [f"{more:,} more alarms are listed below." if more > 1 else "One more alarm is listed below."] if more else []
    )
    return [alarms[0], *others]


def _numbers(last: Period) -> list[tuple[str, str]]:
    rows = [
        ("Images", f"{last.images:,}"),
        ("Failed or excluded", f"{last.failed:,} failed, {last.excluded:,} excluded"),
        ("Flagged", f"{last.flagged:,} of {last.judged:,}{_percent(last.flagged, last.judged)}"),
    ]
    if last.read:
        rows.append(("Read", f"{last.read:,}; median time from screen to first verdict {_turnaround(last)} hours"))
    if last.flagged_decided:
        told = f"{last.confirmed:,} of {last.flagged_decided:,}{_percent(last.confirmed, last.flagged_decided)}"
        rows.append(("Flags that readers confirm", told))
    return rows


def _percent(count: int, of: int) -> str:
    return f", {count / of:.1%}" if of else ""


def _turnaround(one: Period) -> str:
    return "" if one.turnaround is None else f"{one.turnaround:.1f}"


def _method(watched: Watched, config: MonitorConfig) -> list[str]:
    many = (
        f"The limits allow for many comparisons: {counted_in_words(len(watched.charts), 'chart')} together, judged "
        f"once a {config.period}, raise at most {config.false_alarms:g} false alarms a year on average (p below "
        f"{watched.level:.2g} in each comparison)."
    )
    wide = (
        "The limits are as wide as chance alone makes them, or as wide as earlier periods differed from each other, "
        "whichever is wider (Laney's p' chart, with Student's t, and exact tails for few images; docs/programme.md)."
    )
    read = (
        "Shares confirmed by readers, and shares that agree with them, are taken over the images that were read. These "
        "are no random sample of all images, and later verdicts can change the last periods."
    )
    return [
        "The grey band is the range without an alarm: values that a period may take if nothing changed.",
        many,
        wide,
        read,
    ]


def _table(title: str, periods: Sequence[Period], first: str) -> Table:
    reading = ("read", "median hours to the first verdict", "flags confirmed by readers", "flags readers agree with")
    columns = (first, "images", "failed", "excluded", "flagged", "score: 25%, 50%, 75%", *reading)
    rows = [
        (
            str(one.start) if first == "period" else one.group,
            *(f"{one.images:,}", f"{one.failed:,}{_percent(one.failed, one.images)}", f"{one.excluded:,}"),
            f"{one.flagged:,}{_percent(one.flagged, one.judged)}",
            ", ".join(score(value, 3) for value in one.quartiles or ()),
            f"{one.read:,}",
            _turnaround(one),
            f"{one.confirmed:,} of {one.flagged_decided:,}" if one.flagged_decided else "",
            f"{one.agreeing:,} of {one.decided:,}" if one.decided else "",
        )
        for one in periods
    ]
    return Table(title, columns, tuple(rows))


def _failed(periods: Sequence[Period], watched: Watched) -> dict[str, Table]:
    rows = [
        (one.kind, one.group, reason_in_words(reason), f"{images:,}", f"{images / one.images:.1%}")
        for one in periods
        if one.start == watched.last
        for reason, images in sorted(one.reasons.items(), key=lambda pair: -pair[1])
    ]
    columns = ("kind of group", "group", "reason", "images", "share of the group")
    title = f"Failed images in the period from {watched.last}"
    return {"failed": Table(title, columns, tuple(rows))} if rows else {}


def _earlier(watched: Watched) -> dict[str, Table]:
    rows = [(str(day), in_words(chart, look, day)) for day, chart, look in watched.earlier]
    return {"earlier": Table("Earlier alarms", ("period", "what was unusual"), tuple(rows))} if rows else {}


def _told(chart: Chart) -> dict[str, object]:
    look = chart.looks[-1]
    said: dict[str, object] = {"kind": chart.kind, "group": chart.group, "signal": chart.signal, "p": look.p}
    said |= {"count": look.count, "total": look.total, "expected": look.expected, "low": look.low, "high": look.high}
    return said | {"since": str(chart.since), "words": in_words(chart, look, chart.days[-1])}


def _rows(periods: Sequence[Period]) -> pa.Table:
    """All periods as a table with the schema `PERIODS`."""
    rows = []
    for one in periods:
        row = {name: getattr(one, name) for name in PERIODS.names if hasattr(one, name)}
        row |= dict(zip(("score_25", "score_50", "score_75"), one.quartiles or (None,) * 3, strict=True))
        row["failed_by_reason"] = [f"{reason}: {images}" for reason, images in sorted(one.reasons.items())]
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=PERIODS)


def _drawn(watched: Watched, output: str, config: MonitorConfig) -> Picture:
    """Draws the charts with an alarm now, then the charts of the whole archive."""
    others = [one for one in watched.charts if one.kind == ALL and len(one.days) > 1 and one.signal not in READING]
    now = watched.alarms
    chosen = [*now, *(one for one in others if one not in now)][:DRAWN]
    caption = (
        f"The charts with an alarm now, then the charts of all images. Each shows its last {SHOWN} {config.period}s, "
        "and marks alarms with a diamond."
    )
    if not chosen:
        return picture.nothing("charts", caption, f"only one {config.period} has images")
    return picture.written(output, "charts", caption, _figure(chosen))


def _figure(charts: Sequence[Chart]) -> "Figure":
    rows = (len(charts) + 1) // 2
    figure = picture.new_figure(11.0, 0.6 + 2.3 * rows)
    for place, chart in enumerate(charts, start=1):
        axes = figure.add_subplot(rows, 2, place)
        pairs = [*zip(chart.days, chart.looks, strict=True)][-SHOWN:]
        counts = chart.signal == IMAGES
        known = [(day, look.count if counts else look.share, look) for day, look in pairs if counts or look.total]
        limits = [(day, look.low, look.high) for day, look in pairs if look.p is not None]
        if limits:
            low_M, high_M = (np.array([one[side] for one in limits], np.float64) for side in (1, 2))
            axes.fill_between(_days(limits), low_M, high_M, color=picture.GREY, alpha=0.35, linewidth=0)
        values_M = np.array([value for _, value, _ in known], np.float64)
        alarm_M = np.array([look.alarm for _, _, look in known], bool)
        axes.plot(_days(known), values_M, color=picture.BLACK, marker=".", linewidth=0.8)
        axes.plot(_days(known)[alarm_M], values_M[alarm_M], "D", color=picture.COLOURS[4], markersize=8)
        name = "all images" if chart.kind == ALL else f"{chart.kind} {chart.group}"
        share = "" if counts else ", share outside the usual range" if chart.signal in watch_counts.SEEN else ", share"
        axes.set_title(f"{name}: {watch_charts.TITLES[chart.signal]}{share}", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.tick_params(axis="x", rotation=20)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    picture.as_written(figure)
    return figure


def _days(rows: Sequence[tuple[date, object, object]]) -> npt.NDArray[np.datetime64]:
    """(M,) the first days of the periods."""
    return np.array([row[0] for row in rows], "datetime64[D]")
