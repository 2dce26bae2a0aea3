"""The last period of every group in Prometheus' text format: a file for the node exporter's textfile collector.

The form is version 0.0.4 of the text-based format in "Prometheus exposition formats": for each metric a HELP line and a
TYPE line, then a line for each group. All metrics are gauges, because each period starts from zero.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time

from comit_ray.evaluation.monitor.watch_charts import Watched
from comit_ray.evaluation.monitor.watch_counts import Period

FILE = "metrics.prom"
_GAUGES: dict[str, tuple[str, Callable[[Period], float | None]]] = {
    "images": ("Images of the last period.", lambda one: one.images),
    "failed_images": ("Images of the last period that could not be scored.", lambda one: one.failed),
    "excluded_images": ("Images of the last period that were excluded.", lambda one: one.excluded),
    "flagged_images": ("Images of the last period that are flagged.", lambda one: one.flagged),
    "judged_images": ("Images of the last period with a flag that is true or false.", lambda one: one.judged),
    "read_images": ("Images of the last period with a reader's verdict.", lambda one: one.read),
    "turnaround_hours": ("Median hours from the screen to the first verdict.", lambda one: one.turnaround),
    "confirmed_ratio": (
        "Share of the flagged and read images that readers confirm.",
        lambda one: one.confirmed / one.flagged_decided if one.flagged_decided else None,
    ),
    "agreement_ratio": (
        "Share of the read images on which the readers and the model agree.",
        lambda one: one.agreeing / one.decided if one.decided else None,
    ),
}


def text(periods: Sequence[Period], watched: Watched) -> str:
    """The content of the whole file.

    Args:
        periods: all periods that were counted; the file has those of the last day or week.
        watched: the charts, for the alarms.
    """
    mine = [one for one in periods if one.start == watched.last]
    lines: list[str] = []
    for name, (meaning, value) in _GAUGES.items():
        found = [
            (_labels(kind=one.kind, group=one.group), number) for one in mine if (number := value(one)) is not None
        ]
        lines += _metric(name, meaning, found)
    scores = [
        (_labels(kind=one.kind, group=one.group, quantile=at), number)
        for one in mine
        for at, number in zip(("0.25", "0.5", "0.75"), one.quartiles or (), strict=False)
    ]
    lines += _metric("score", "Quartiles of the scores of the last period.", scores)
    reasons = [
        (_labels(kind=one.kind, group=one.group, reason=reason), float(images))
        for one in mine
        for reason, images in sorted(one.reasons.items())
    ]
    lines += _metric("failed_images_by_reason", "Failed images of the last period, by reason.", reasons)
    judged = [one for one in watched.charts if one.days[-1] == watched.last and one.looks[-1].p is not None]
    alarms = [
        (_labels(kind=one.kind, group=one.group, signal=one.signal), float(one.looks[-1].alarm)) for one in judged
    ]
    lines += _metric("alarm", "1 if the last period lies outside its control limits, else 0.", alarms)
    start = datetime.combine(watched.last, time(), UTC).timestamp()
    lines += _metric("last_period_start_seconds", "When the last period began, in Unix time.", [("", start)])
    return "\n".join(lines) + "\n"


def _metric(name: str, meaning: str, values: Sequence[tuple[str, float]]) -> list[str]:
    if not values:
        return []
    whole = f"comit_ray_{name}"
    told = [f"{whole}{labels} {value:.17g}" for labels, value in values]
    return [f"# HELP {whole} {meaning}", f"# TYPE {whole} gauge", *told]


def _labels(**values: str) -> str:
    escaped = (
        (key, value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")) for key, value in values.items()
    )
    return "{" + ",".join(f'{key}="{value}"' for key, value in escaped) + "}"
