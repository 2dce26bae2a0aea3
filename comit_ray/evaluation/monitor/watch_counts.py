"""What is watched, counted from the tables of an output: by day or week, and by site, device and view.

Everything that a chart judges is a count of images here. What a network sees of an image (its scores, its embedding's
distance, four statistics of its pixels) is counted in bins between the archive's quantiles.
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
"""Score -> column of the verdicts that judges its flag."""
SEEN = ("score", "embedding_distance", "pixel_mean", "pixel_sd", "pixel_black", "pixel_white")
"""What a network sees of an image, a number each."""
BINS = 40
ALL, SITE, DEVICE, VIEW = "all", "site", "device", "view"
GROUPS = {
    ALL: "'all images'",
    SITE: "site",
    DEVICE: "CASE WHEN device IS NOT NULL THEN device || ' at ' || site END",
    VIEW: "coalesce(view, 'unknown')",
}
"""Kind of a group -> its name, in SQL; null: the image is in no group of this kind."""
UNKNOWN = "site not known"
_NUMBERS = (
    *("images", "scored", "failed", "excluded", "judged", "flagged", "quartiles", "read", "turnaround"),
    *("decided", "agreeing", "flagged_decided", "confirmed", "model_id"),
)
"""Fields of a `Period`, in the order in which they are asked for."""
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
    """One group in one day or week.

    Args:
        kind: `all`, `site`, `device` or `view`.
        group: its name.
        start: first day.
        images: rows of the predictions.
        scored: of these with status ok.
        failed: of these that failed.
        excluded: of these that were excluded.
        judged: scored images with a flag, true or false.
        flagged: of these with a true flag.
        quartiles: of the score: 25%, 50%, 75%; None without a score.
        read: images with a verdict.
        turnaround: hours from the screen to the first verdict, median; None where nothing was read.
        decided: read images with a flag, on which the readers decided.
        agreeing: of these, where flag and readers say the same.
        flagged_decided: of the decided, the flagged.
        confirmed: of these, which readers confirm: PPV is `confirmed / flagged_decided`.
        model_id: the model of most of its images.
        reasons: reason -> failed images.
        bins: what is seen -> images in each bin; the bins of one output are all the same.
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
    """All of an output.

    Args:
        periods: in order of kind, group and day.
        head: the score that is watched; None: the model has none.
        undated: images that are in no period, for their day is not known.
    """

    periods: Sequence[Period]
    head: str | None
    undated: int


def count(config: MonitorConfig) -> Counted:
    """Count what the charts need, in one pass over the tables.

    Raises:
        NotFoundError: there are no predictions, or no images/ beside them.
        ManifestError: no image is dated.
        StorageError: a table cannot be read, or is of another run.
    """
    results = storage.normalise(config.results)
    with staging(config.memory_gib) as tables:
        stage_predictions(tables, "predictions", results, _PREDICTED)
        try:
            files = parquet.parts(storage.join(results, IMAGES))
        except NotFoundError as error:
            raise NotFoundError(
                f"{results} has no {IMAGES}/, which tells site and device: run its jobs/screen.py again, which adds it"
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
            raise ManifestError(
                f"no image of {results} has the day on which it was {config.of}{when}: nothing to watch"
            )
        edges = {name: _edges(tables, name) for name in SEEN}
        periods = [one for kind, name in GROUPS.items() for one in _periods(tables, kind, name, edges)]
        return Counted(periods, head, undated)


def _stage_verdicts(tables: Staged, results: str) -> None:
    """`truths`: what the readers of an image decided, as `comit_ray.reading.archive_estimates.reference` has it."""
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
    """`seen`: a row an image, with all that is counted of it."""
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
    """Where the bins of a number end: the archive's quantiles, each once; none where the number is never known."""
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
    """Images up to each edge and above the one before; the last is above them all."""
    known = {} if counts is None else {float(at): int(images) for at, images in counts.items()}
    inside = [known.pop(edge, 0) for edge in edges]
    return (*inside, sum(known.values()))
