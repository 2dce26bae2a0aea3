"""Counts what the monitor watches, from the tables of an output: by day or week, and by site, device and view.

Everything that a chart judges is a count of images. What the network sees of an image (its score, the distance of its
embedding, four statistics of its pixels) is counted in bins between the quantiles of the archive.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from comit_ray.config.monitor_config import MonitorConfig
from comit_ray.errors import ManifestError, NotFoundError, Status
from comit_ray.screening.results_folder import IMAGES
from comit_ray.screening.screen_tables import stage_predictions
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.review_schema import REVIEWS
from comit_ray.tables.schema import PREDICTIONS, SCREENED_IMAGES
from comit_ray.tables.staging import Staged, staging

HEADS = {"covid": "covid", "unhealthy": "abnormal"}
"""Score -> column of the verdicts against which its flag is checked."""
SEEN = ("score", "embedding_distance", "pixel_mean", "pixel_sd", "pixel_black", "pixel_white")
"""Columns of the predictions that describe how the network sees an image, each a number."""
BINS = 40
"""The most bins of such a number."""
ALL, SITE, DEVICE, VIEW = "all", "site", "device", "view"
GROUPS = {
    ALL: "'all images'",
    SITE: "site",
    DEVICE: "CASE WHEN device IS NOT NULL THEN device || ' at ' || site END",
    VIEW: "coalesce(view, 'unknown')",
}
"""Kind of a group -> the SQL expression of its name; an image with a null is in no group of this kind."""
UNKNOWN = "site not known"
_NUMBERS = (
    *("images", "scored", "failed", "excluded", "judged", "flagged", "quartiles", "read", "turnaround"),
    *("decided", "agreeing", "flagged_decided", "confirmed", "model_id"),
)
"""Fields of a `Period`, in the order of the query."""
_PREDICTED = [
    PREDICTIONS.field(name)
    for name in (
        *("image_id", "status", "reason", "view", "model_id", "screened_at", "p_covid", "p_unhealthy", "covid_flag"),
        *("unhealthy_flag", *SEEN[1:]),
    )
]
_KNOWN = [SCREENED_IMAGES.field(name) for name in ("image_id", "dataset", "site", "device", "acquired_on")]
_VERDICTS = [
    REVIEWS.field(name)
    for name in ("image_id", "reader", "abnormal", "covid", "read_at", "revision", "role", "verdict")
]


@dataclass(frozen=True)
class Period:
    """The counts of one group in one day or week.

    Args:
        kind: kind of the group: `all`, `site`, `device` or `view`.
        group: name of the group.
        start: first day of the period.
        images: number of images in the predictions.
        scored: images with status ok.
        failed: images that failed.
        excluded: images that were excluded.
        judged: scored images with a flag that is true or false.
        flagged: images with a true flag.
        quartiles: 25%, 50% and 75% quantile of the score; None without a score.
        read: images with a verdict.
        turnaround: median hours from the screen to the first verdict; None if nothing was read.
        decided: read images with a flag, on which the readers reached a decision.
        agreeing: decided images on which flag and readers agree.
        flagged_decided: decided images that are flagged.
        confirmed: flagged and decided images that the readers confirm; the PPV is `confirmed / flagged_decided`.
        model_id: a model of the group's images; the alphabetically last if there are several.
        reasons: reason -> number of failed images.
        bins: column of `SEEN` -> number of images in each bin; all periods of one output share the bins.
    """

    kind: str
    group: str
    start: date
    images: int
    scored: int
    failed: int
    excluded: int
    judged: int
    flagged: int
    quartiles: tuple[float, float, float] | None
    read: int
    turnaround: float | None
    decided: int
    agreeing: int
    flagged_decided: int
    confirmed: int
    model_id: str
    reasons: dict[str, int] = field(default_factory=dict)
    bins: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Counted:
    """The counts of a whole output.

    Args:
        periods: the periods, in order of kind, group and day.
        head: the score that is watched, `covid` or `unhealthy`; None if the model has neither flag.
        undated: images that are in no period, because their day is not known.
    """

    periods: Sequence[Period]
    head: str | None
    undated: int


def count(config: MonitorConfig) -> Counted:
    """Counts what the charts need, in one pass over the tables.

    Args:
        config: options of the job.

    Raises:
        NotFoundError: the predictions are absent, or the folder images/ beside them is.
        ManifestError: no image is dated.
        StorageError: a table cannot be read, or belongs to another run.
    """
    results = storage.normalise(config.results)
    with staging(config.memory_gib) as tables:
        stage_predictions(tables, "predictions", results, _PREDICTED)
        try:
            files = parquet.parts(storage.join(results, IMAGES))
        except NotFoundError as error:
            raise NotFoundError(
                f"expected the folder {IMAGES}/ with sites and devices in {results}, got none: run comit-ray screen "
                "again with this output, which adds it"
            ) from error
        tables.add("images", files, _KNOWN)
        _stage_verdicts(tables, results)
        flags = tables.rows("SELECT count(covid_flag), count(unhealthy_flag) FROM predictions")[0]
        head = next((name for name, known in zip(HEADS, flags, strict=True) if known), None)
        _join(tables, config, head)
        undated = int(tables.rows("SELECT count(*) FROM seen WHERE period IS NULL")[0][0])
        tables.run("DELETE FROM seen WHERE period IS NULL")
        if config.since is not None:
            tables.run("DELETE FROM seen WHERE period < ?", [config.since])
        if not tables.rows("SELECT count(*) FROM seen")[0][0]:
            when = "" if config.since is None else f" since {config.since}"
            other = "--of acquired" if config.of == "screened" else "--of screened"
            raise ManifestError(
                f"expected images in {results} with the day on which they were {config.of}{when}, got none: give "
                f"{other}, or another --since"
            )
        edges = {name: _edges(tables, name) for name in SEEN}
        periods = [one for kind, name in GROUPS.items() for one in _periods(tables, kind, name, edges)]
        return Counted(periods, head, undated)


def _stage_verdicts(tables: Staged, results: str) -> None:
    """Makes the table `truths`: what the readers of each image decided.

    The rule is that of `comit_ray.reading.archive_estimates.reference`.
    """
    try:
        files = parquet.parts(storage.join(results, "reviews"))
    except NotFoundError:
        files = []
    tables.add("reviews", files, _VERDICTS)
    tables.run(
        "CREATE TABLE verdicts AS SELECT *, coalesce(role = 'adjudicator', false) AS last FROM ("
        " SELECT * FROM reviews QUALIFY row_number() OVER ("
        "  PARTITION BY image_id, reader ORDER BY revision DESC NULLS LAST, read_at DESC) = 1"
        ") WHERE verdict IS DISTINCT FROM 'withdrawn'"
    )
    decided = ", ".join(
        f"CASE WHEN bool_and({name}) FILTER (last OR NOT has_last) = bool_or({name}) FILTER (last OR NOT has_last) "
        f"THEN bool_and({name}) FILTER (last OR NOT has_last) END AS {name}"
        for name in HEADS.values()
    )
    tables.run(
        f"CREATE TABLE truths AS SELECT image_id, min(read_at) AS read_at, {decided} FROM ("  # noqa: S608 columns of ours
        " SELECT *, bool_or(last) OVER (PARTITION BY image_id) AS has_last FROM verdicts) GROUP BY image_id"
    )


def _join(tables: Staged, config: MonitorConfig, head: str | None) -> None:
    """Makes the table `seen`: a row for each image, with everything that is counted."""
    score, flag, truth = (f"p_{head}", f"{head}_flag", HEADS[head]) if head else ("NULL::FLOAT", "NULL::BOOLEAN", "")
    day = "p.screened_at" if config.of == "screened" else "i.acquired_on"
    told = f"t.{truth}" if head else "NULL::BOOLEAN"
    seen = ", ".join(f"p.{name}" for name in SEEN[1:])
    tables.run(
        f"CREATE TABLE seen AS SELECT date_trunc('{config.period}', {day})::DATE AS period, "  # noqa: S608 words of ours
        f" coalesce(i.site, i.dataset, '{UNKNOWN}') AS site, i.device, p.view, p.status, p.reason, p.model_id, "
        f" {score} AS score, {flag} AS flag, {seen}, t.image_id IS NOT NULL AS read, {told} AS truth, "
        " epoch(t.read_at - p.screened_at) / 3600 AS hours "
        "FROM predictions p LEFT JOIN images i USING (image_id) LEFT JOIN truths t USING (image_id)"
    )


def _edges(tables: Staged, name: str) -> list[float]:
    """The upper edges of the bins of a column: the archive's quantiles without duplicates; none if all are null."""
    at = ", ".join(f"{one / BINS:.4f}" for one in range(1, BINS))
    found = tables.rows(f"SELECT quantile_disc({name}, [{at}]) FROM seen")[0][0]  # noqa: S608 columns of ours
    return sorted({float(one) for one in found or ()})


def _periods(tables: Staged, kind: str, name: str, edges: dict[str, list[float]]) -> list[Period]:
    decided = "truth IS NOT NULL AND flag IS NOT NULL"
    numbers = [
        *("count(*)", f"count(*) FILTER (status = '{Status.OK}')", f"count(*) FILTER (status = '{Status.FAILED}')"),
        *(f"count(*) FILTER (status = '{Status.EXCLUDED}')", "count(flag)", "count(*) FILTER (flag)"),
        *("quantile_cont(score, [0.25, 0.5, 0.75])", "count(*) FILTER (read)", "median(hours)"),
        *(f"count(*) FILTER ({decided})", f"count(*) FILTER ({decided} AND flag = truth)"),
        *(f"count(*) FILTER ({decided} AND flag)", f"count(*) FILTER ({decided} AND flag AND truth)", "max(model_id)"),
    ]
    binned = [one for one in SEEN if edges[one]]
    numbers += [f"histogram({one}, {edges[one]}::FLOAT[])" for one in binned]
    sql = f"SELECT {name} AS name, period, {', '.join(numbers)} FROM seen GROUP BY ALL HAVING name IS NOT NULL "  # noqa: S608
    reasons: dict[tuple[Any, Any], dict[str, int]] = {}
    for group, period, reason, images in tables.rows(
        f"SELECT {name} AS name, period, reason, count(*) FROM seen "  # noqa: S608 words of ours
        f"WHERE status = '{Status.FAILED}' GROUP BY ALL ORDER BY ALL"
    ):
        reasons.setdefault((group, period), {})[str(reason)] = int(images)
    found = []
    for group, period, *values in tables.rows(f"{sql} ORDER BY name, period"):
        first, histograms = values[:14], values[14:]
        quartiles = None if first[6] is None else tuple(map(float, first[6]))
        assert quartiles is None or len(quartiles) == 3
        bins = {one: _bins(counts, edges[one]) for one, counts in zip(binned, histograms, strict=True)}
        named = dict(zip(_NUMBERS, first, strict=True)) | {"quartiles": quartiles}
        why = reasons.get((group, period), {})
        found.append(Period(kind=kind, group=str(group), start=period, **named, reasons=why, bins=bins))
    return found


def _bins(counts: dict[float, int] | None, edges: Sequence[float]) -> tuple[int, ...]:
    """The number of images in each bin, above its lower edge and up to its upper edge; the last bin is open."""
    known = {} if counts is None else {float(at): int(images) for at, images in counts.items()}
    inside = [known.pop(edge, 0) for edge in edges]
    return (*inside, sum(known.values()))
