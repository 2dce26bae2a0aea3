"""Ranks the review queue from tables: which images a radiologist reads, and in which order, night by night.

A night is a day on which rows came into the manifest (`added_on`). Each night's images are ranked as a screen of them
alone would rank them, and follow those of the nights before. So nothing that comes later moves an image, and the queue
can be made again from the tables at any time. The capacity counts for a night. What readers have read stays in the
table, for what is estimated from verdicts needs all that was queued; it is left out of the list of what is to be read.

The tables are asked in SQL (`comit_ray.tables.staging`), so an archive of any size is ranked within a bounded memory.
"""

import math
from collections.abc import Iterator, Mapping
from datetime import date

import pyarrow as pa

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.config.queue_config import QueueConfig
from comit_ray.errors import Status
from comit_ray.screening import review_reasons
from comit_ray.screening.review_reasons import MOST_URGENT_FIRST, SCORED, bit
from comit_ray.tables.manifest_schema import MANIFEST
from comit_ray.tables.schema import PREDICTIONS, REVIEW_QUEUE
from comit_ray.tables.staging import Staged
from comit_ray.tables.vocabulary import ReviewReason

FURTHER_EVIDENCE = ("p_unhealthy", "disease_in_lung", "disease_area")
"""What orders images of one reason and one score: many scores are 1 to the last digit. A temperature keeps the order
of each score, so that the order is the same with and without."""

MANIFEST_COLUMNS = ["image_id", "uri", "member", "study_id", "age", "sex", "covid", "unhealthy"]
"""What of the manifest the queue shows, or its reasons need."""
_UNUSED = ("zone_disease", "embedding_distance", "typicality", "pixel_mean", "pixel_sd", "pixel_black", "pixel_white")
PREDICTED = [field for field in PREDICTIONS if field.name not in (*_UNUSED, "height", "width", "screened_at")]
"""Columns of the predictions that the queue is made of."""
KNOWN = [MANIFEST.field(name) for name in (*MANIFEST_COLUMNS, "added_on")]
"""Columns of the manifest that the queue is made of."""
LISTED = pa.field("listed", pa.bool_())
"""Whether an image of the queue is still to be read: nobody has, and it came on the day that is asked for or later."""
RANDOM = bit(ReviewReason.RANDOM_NEGATIVE)
"""The reasons of an image that is there for none."""


def rank(
    tables: Staged, config: QueueConfig, points: Mapping[str, OperatingPoint], trusted: bool | None = None
) -> None:
    """Make tables of the staged `predictions` and `manifest`.

    judged    every image of the manifest: `reasons`, the sum of their bits, and what orders it
    asked     images with a reason, or drawn at random, in order of urgency (`place`); those that fit the capacity are
              `chosen`
    ranked    the chosen ones with their `rank` and `sampling_weight`

    Random negatives of the first night are as many as are asked for, rounded up. Of later nights an image is drawn if
    its own number is high enough, or one of every small night would be, and few would stand for many. All of them stand
    for all that had no reason, in all nights.

    Args:
        tables: hold `predictions` with `PREDICTED`, and `manifest` with `KNOWN`; of images that have been superseded
            none.
        config: options of the queue; its capacity is a night's.
        points: model_id -> the operating point that decided its flags.
        trusted: whether the archive's flags are (`comit_ray.screening.drift.Drift.trusted`); None: not known.
    """
    untrusted = config.untrusted if trusted is False else "ranked"
    _judge(tables, config, points, untrusted != "ranked")
    number = f"('0x' || substr(sha256('{config.seed}:' || image_id), 1, 13))::BIGINT / {16**13}::DOUBLE"
    _draw(tables, config, number)
    _order(tables, config, number, untrusted == "random")
    if config.capacity is not None:
        _choose(tables, config, config.capacity)
    _number(tables, untrusted == "random")


def _judge(tables: Staged, config: QueueConfig, points: Mapping[str, OperatingPoint], every_scored: bool) -> None:
    """`judged`: the reasons of every image; `nights`: each day and model, numbered in order of the queue."""
    scores, reasons = {}, {}
    for (model,) in tables.rows("SELECT DISTINCT model_id FROM predictions ORDER BY model_id"):
        known = tables.rows("SELECT count(p_covid), count(p_unhealthy) FROM predictions WHERE model_id = ?", [model])[0]
        head = next((name for name, count in zip(("covid", "unhealthy"), known, strict=True) if count), "covid")
        scores[str(model)] = f"p.p_{head}"
        threshold = points[str(model)].thresholds.get(head, math.nan)
        reasons[str(model)] = review_reasons.as_sum(config, threshold, head, every_scored)
    evidence = ", ".join(f"p.{name}" for name in (*FURTHER_EVIDENCE, "severity"))
    tables.run(
        f"CREATE TABLE judged_rows AS SELECT p.rowid AS row, m.rowid AS known, p.image_id, m.study_id, m.added_on, "  # noqa: S608 words of ours
        f" p.model_id, {SCORED} AS scored, {_by_model(scores)}::FLOAT AS score, {evidence}, "
        f" ({_by_model(reasons)})::INTEGER AS reasons FROM predictions p JOIN manifest m USING (image_id)"
    )
    tables.run(
        "CREATE TABLE nights AS SELECT *, row_number() OVER (ORDER BY added_on NULLS FIRST, model_id) AS night, "
        " dense_rank() OVER (ORDER BY added_on NULLS FIRST) = 1 AS first "
        "FROM (SELECT DISTINCT added_on, model_id FROM judged_rows)"
    )
    tables.run(
        "CREATE VIEW judged AS SELECT j.* EXCLUDE (added_on, model_id), n.night, n.first FROM judged_rows j "
        "JOIN nights n ON n.model_id = j.model_id AND n.added_on IS NOT DISTINCT FROM j.added_on"
    )


def _by_model(expressions: Mapping[str, str]) -> str:
    """One expression in SQL of those of every model."""
    if len(set(expressions.values())) <= 1:
        return next(iter(expressions.values()), "NULL")
    quoted = {model.replace("'", "''"): expression for model, expression in expressions.items()}
    cases = " ".join(f"WHEN '{model}' THEN {expression}" for model, expression in quoted.items())
    return f"CASE p.model_id {cases} END"


def _draw(tables: Staged, config: QueueConfig, number: str) -> None:
    """`drawn`, a uniform sample of each night's images that have a score and no reason, and their `populations`.

    Images with a number below `least` are left out before they are sorted, which takes most of the memory. That this
    leaves too few has a chance below 1e-17 (Chernoff's bound).

    Args:
        tables: as of `rank`.
        config: its share and seed.
        number: of an image, 0..1, in SQL: that of `comit_ray.screening.mask_choice.random_number`.
    """
    negative = "scored AND score IS NOT NULL AND reasons = 0"
    tables.run(
        "CREATE TABLE populations AS SELECT *, "  # noqa: S608 words of ours
        " greatest(0, 1 - (size + 10 * sqrt(size) + 40) / population) AS least "
        f"FROM (SELECT night, count(*) AS population, ceil({config.random_negatives!r}::DOUBLE * count(*))::BIGINT "
        f" AS size FROM judged WHERE {negative} GROUP BY night)"
    )
    tables.run(
        "CREATE TABLE drawn AS SELECT row, number FROM ("  # noqa: S608 words of ours
        " SELECT row, number, size, row_number() OVER (PARTITION BY night ORDER BY number DESC) AS place FROM ("
        f"  SELECT row, night, {number} AS number FROM judged WHERE {negative}) JOIN populations USING (night)"
        "  WHERE number >= least) WHERE place <= size"
    )


def _order(tables: Staged, config: QueueConfig, number: str, at_random: bool) -> None:
    """`asked`: who has a reason or was drawn, in order of urgency; where the order is random, scored images first."""
    shuffled = "scored" if at_random else "false"
    at = MOST_URGENT_FIRST.index
    urgencies = " ".join(f"WHEN reasons & {bit(reason)} > 0 THEN {at(reason)}" for reason in MOST_URGENT_FIRST)
    severest = "severity DESC NULLS LAST, " if config.order == "severity" and not at_random else ""
    further = ", ".join(f"{name} DESC NULLS LAST" for name in FURTHER_EVIDENCE)
    tables.run(
        "CREATE TABLE asked AS SELECT row, known, coalesce(study_id, image_id) AS study, scored, score, reasons, "  # noqa: S608
        " night, kept, row_number() OVER (PARTITION BY night ORDER BY "
        f" {severest}urgency, another_picture, priority DESC NULLS LAST, {further}, image_id) AS place, true AS chosen "
        f"FROM (SELECT *, CASE WHEN {shuffled} THEN {number} "
        f"   WHEN urgency = {at(ReviewReason.UNHEALTHY_ABOVE_OPERATING_POINT)} THEN p_unhealthy ELSE score END "
        "   AS priority, true AS kept "
        f"  FROM (SELECT *, CASE WHEN {shuffled} THEN -1 {urgencies} END AS urgency, "
        # the last of their reason: a CT slice was 9th; but a random sample is without bias
        f"    reasons & {bit(ReviewReason.NOT_A_FRONTAL_CHEST)} > 0 AND NOT {shuffled} AS another_picture "
        "   FROM judged WHERE reasons > 0)"
        f" UNION ALL SELECT j.* REPLACE ({RANDOM} AS reasons), {at(ReviewReason.RANDOM_NEGATIVE)} AS urgency, "
        f"  false AS another_picture, d.number AS priority, j.first OR d.number >= "
        f"  {1 - config.random_negatives!r}::DOUBLE AS kept FROM judged j JOIN drawn d USING (row))"
    )


def _choose(tables: Staged, config: QueueConfig, capacity: int) -> None:
    """`chosen`: each night's most urgent images that fit the capacity, after each quota has taken its share."""
    quotas = [
        f"(reasons & {bit(ReviewReason(reason))} > 0 AND row_number() OVER (PARTITION BY night, "
        f"reasons & {bit(ReviewReason(reason))} > 0 ORDER BY place) <= {int(share * capacity)})"
        for reason, share in config.quotas.items()
    ]
    within = " OR ".join(quotas) or "false"
    tables.run(
        "CREATE TABLE chosen AS SELECT row FROM ("  # noqa: S608 words of ours
        " SELECT row, row_number() OVER (PARTITION BY night ORDER BY within DESC, place) AS number FROM ("
        f"  SELECT row, night, place, ({within}) AS within FROM asked)) WHERE number <= {capacity}"
    )
    tables.run("UPDATE asked SET chosen = row IN (SELECT row FROM chosen)")


def _number(tables: Staged, at_random: bool) -> None:
    """`ranked`: the rank of the chosen, images of a study side by side, and how many images each stands for."""
    population = tables.rows(
        "SELECT coalesce(sum(population), 0)::DOUBLE FROM populations "
        "WHERE night IN (SELECT night FROM asked WHERE chosen AND reasons = ?)",
        [RANDOM],
    )[0][0]
    tables.run("UPDATE asked SET chosen = false WHERE NOT kept")
    drawn = tables.rows("SELECT count(*) FROM asked WHERE chosen AND reasons = ?", [RANDOM])[0][0]
    weight, weights = "1", ""
    if at_random:
        weight = "CASE WHEN scored THEN weight ELSE 1 END"
        weights = (
            "LEFT JOIN (SELECT night, count(*) / nullif(count(*) FILTER (chosen), 0) AS weight FROM asked WHERE scored "
            "GROUP BY night) USING (night)"
        )
    tables.run(
        "CREATE TABLE ranked AS SELECT row, known, reasons, score, "  # noqa: S608 words of ours
        " row_number() OVER (ORDER BY night, first, place)::INTEGER AS rank, "
        f" CASE WHEN reasons = {RANDOM} THEN {population / max(1, drawn)!r}::DOUBLE ELSE {weight} END "
        " AS sampling_weight "
        "FROM (SELECT *, min(place) OVER (PARTITION BY night, study) AS first FROM asked WHERE chosen) "
        f"{weights}"
    )


def batches(
    tables: Staged, trusted: bool | None, read: frozenset[str] = frozenset(), since: date | None = None
) -> Iterator[pa.RecordBatch]:
    """The queue of `rank`, in reading order, as batches of `REVIEW_QUEUE` with the column `LISTED` behind.

    Args:
        tables: as of `rank`, after it.
        trusted: as of `rank`.
        read: image_ids with a verdict: they are not listed.
        since: images that came earlier are not listed; None: all are.
    """
    masks = [int(row[0]) for row in tables.rows("SELECT DISTINCT reasons FROM ranked")]
    words = [[str(reason) for reason in MOST_URGENT_FIRST if mask & bit(reason)] for mask in masks]
    tables.add_batches(
        "words", pa.table({"mask": pa.array(masks, pa.int32()), "words": pa.array(words, pa.list_(pa.string()))})
    )
    tables.add_batches("already_read", pa.table({"image_id": pa.array(sorted(read), pa.string())}))
    late = "true" if since is None else f"coalesce(m.added_on >= DATE '{since.isoformat()}', false)"
    flags = "NULL" if trusted is None else str(trusted).lower()
    own = {"rank": "r.rank", "reasons": "w.words", "score": "r.score", "sampling_weight": "r.sampling_weight"}
    own["flag_trusted"] = f"CASE WHEN p.status = '{Status.OK}' THEN {flags} END::BOOLEAN"
    manifest = set(MANIFEST_COLUMNS) - {"image_id"}
    columns = ", ".join(
        f"{own.get(name) or (f'm.{name}' if name in manifest else f'p.{name}')} AS {name}"
        for name in REVIEW_QUEUE.names
    )
    yield from tables.batches(
        f"SELECT {columns}, a.image_id IS NULL AND {late} AS listed FROM ranked r "  # noqa: S608 words of ours
        "JOIN words w ON r.reasons = w.mask JOIN predictions p ON p.rowid = r.row "
        "JOIN manifest m ON m.rowid = r.known LEFT JOIN already_read a ON a.image_id = p.image_id ORDER BY r.rank",
        REVIEW_QUEUE.append(LISTED),
    )
