"""Builds the review queue from tables: judges the images, draws the random sample, keeps to the capacity, and ranks.

`review_reasons.MOST_URGENT_FIRST` has the reasons in order of urgency.
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
from comit_ray.tables.vocabulary import BY_SEVERITY, RANDOM_ORDER, ReviewReason

FURTHER_EVIDENCE = ("p_unhealthy", "disease_in_lung", "disease_area")
"""Columns that order images with the same reason and score, because many scores are 1 to the last digit. A temperature
keeps the order of each score, so the order is the same with and without temperature scaling."""

MANIFEST_COLUMNS = ["image_id", "uri", "member", "study_id", "age", "sex", "covid", "unhealthy"]
"""Columns of the manifest that the queue shows, or that its reasons need."""
_UNUSED = ("zone_disease", "embedding_distance", "typicality", "pixel_mean", "pixel_sd", "pixel_black", "pixel_white")
PREDICTED = [field for field in PREDICTIONS if field.name not in (*_UNUSED, "height", "width", "screened_at")]
"""Columns of the predictions from which the queue is made."""
KNOWN = [MANIFEST.field(name) for name in (*MANIFEST_COLUMNS, "added_on")]
"""Columns of the manifest from which the queue is made."""
LISTED = pa.field("listed", pa.bool_())
"""Whether an image of the queue is still to be read: it has no verdict, and was added on the requested day or later."""
RANDOM = bit(ReviewReason.RANDOM_NEGATIVE)
"""Value of `reasons` for an image that was drawn at random and has no other reason."""


def rank(
    tables: Staged, config: QueueConfig, points: Mapping[str, OperatingPoint], trusted: bool | None = None
) -> None:
    """Makes the tables of the queue from the staged `predictions` and `manifest`.

        judged    every image of the manifest: `reasons`, the sum of their bits, and the columns that order the queue
        asked     images with a reason, or drawn at random, in order of urgency (`place`); those that fit the capacity
                  are `chosen`
        ranked    the chosen images with their `rank` and `sampling_weight`

    In the first night, the number of random negatives is the requested share, rounded up. In later nights an image is
    drawn if its own random number is high enough. Rounding up would draw an image of every small night, and few images
    would stand for many. All random negatives together stand for all images without a reason, in all nights.

    Args:
        tables: hold `predictions` with `PREDICTED`, and `manifest` with `KNOWN`, without superseded images.
        config: options of the queue; the capacity applies to each night.
        points: model_id -> the operating point that decided its flags.
        trusted: whether the archive's flags are trusted (`comit_ray.screening.drift.Drift.trusted`); None: not known.
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
    """Makes `judged`, the reasons of every image, and `nights`, each day and model, numbered in queue order."""
    scores, reasons = {}, {}
    for (model,) in tables.rows("SELECT DISTINCT model_id FROM predictions ORDER BY model_id"):
        known = tables.rows("SELECT count(p_covid), count(p_unhealthy) FROM predictions WHERE model_id = ?", [model])[0]
        head = next((name for name, count in zip(("covid", "unhealthy"), known, strict=True) if count), "covid")
        scores[str(model)] = f"p.p_{head}"
        threshold = points[str(model)].thresholds.get(head, math.nan)
        reasons[str(model)] = review_reasons.as_sum(config, threshold, head, every_scored)
    evidence = ", ".join(f"p.{name}" for name in (*FURTHER_EVIDENCE, "severity"))
    tables.run(
        f"CREATE TABLE judged_rows AS SELECT p.rowid AS row, m.rowid AS known, p.image_id, m.study_id, m.added_on, "  # noqa: S608 no user input
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
    """Joins the expressions of all models into one SQL expression."""
    if len(set(expressions.values())) <= 1:
        return next(iter(expressions.values()), "NULL")
    quoted = {model.replace("'", "''"): expression for model, expression in expressions.items()}
    cases = " ".join(f"WHEN '{model}' THEN {expression}" for model, expression in quoted.items())
    return f"CASE p.model_id {cases} END"


def _draw(tables: Staged, config: QueueConfig, number: str) -> None:
    """Makes `drawn`, a uniform sample of each night's images with a score and no reason, and their `populations`.

    Images with a number below `least` are left out before sorting, which takes most of the memory. The chance that this
    leaves too few images is below 1e-17 (Chernoff's bound).

    Args:
        tables: tables of `rank`.
        config: share and seed of the sample.
        number: SQL expression for an image's number from 0 to 1, as in `comit_ray.screening.mask_choice.random_number`.
    """
    negative = "scored AND score IS NOT NULL AND reasons = 0"
    tables.run(
        "CREATE TABLE populations AS SELECT *, "  # noqa: S608 no user input
        " greatest(0, 1 - (size + 10 * sqrt(size) + 40) / population) AS least "
        f"FROM (SELECT night, count(*) AS population, ceil({config.random_negatives!r}::DOUBLE * count(*))::BIGINT "
        f" AS size FROM judged WHERE {negative} GROUP BY night)"
    )
    tables.run(
        "CREATE TABLE drawn AS SELECT row, number FROM ("  # noqa: S608 no user input
        " SELECT row, number, size, row_number() OVER (PARTITION BY night ORDER BY number DESC) AS place FROM ("
        f"  SELECT row, night, {number} AS number FROM judged WHERE {negative}) JOIN populations USING (night)"
        "  WHERE number >= least) WHERE place <= size"
    )


def _order(tables: Staged, config: QueueConfig, number: str, at_random: bool) -> None:
    """Makes `asked`: images with a reason or drawn, in order of urgency; scored images come first in a random order."""
    shuffled = "scored" if at_random else "false"
    at = MOST_URGENT_FIRST.index
    urgencies = " ".join(f"WHEN reasons & {bit(reason)} > 0 THEN {at(reason)}" for reason in MOST_URGENT_FIRST)
    by_severity = config.order == "severity" and not at_random
    severest = "severity DESC NULLS LAST, " if by_severity else ""
    block = f"CASE WHEN {'severity IS NOT NULL' if by_severity else 'false'} THEN '{BY_SEVERITY}' ELSE placed_by END"
    named = " ".join(f"WHEN reasons & {bit(reason)} > 0 THEN '{reason}'" for reason in MOST_URGENT_FIRST)
    further = ", ".join(f"{name} DESC NULLS LAST" for name in FURTHER_EVIDENCE)
    tables.run(
        "CREATE TABLE asked AS SELECT row, known, coalesce(study_id, image_id) AS study, scored, score, reasons, "  # noqa: S608
        f" night, kept, {block} AS placed_by, row_number() OVER (PARTITION BY night ORDER BY "
        f" {severest}urgency, another_picture, priority DESC NULLS LAST, {further}, image_id) AS place, true AS chosen "
        f"FROM (SELECT *, CASE WHEN {shuffled} THEN {number} "
        f"   WHEN urgency = {at(ReviewReason.UNHEALTHY_ABOVE_OPERATING_POINT)} THEN p_unhealthy ELSE score END "
        "   AS priority, true AS kept "
        f"  FROM (SELECT *, CASE WHEN {shuffled} THEN -1 {urgencies} END AS urgency, "
        f"    CASE WHEN {shuffled} THEN '{RANDOM_ORDER}' {named} END AS placed_by, "
        # these come last within a reason, except in a random sample, which stays unbiased
        f"    reasons & {bit(ReviewReason.NOT_A_FRONTAL_CHEST)} > 0 AND NOT {shuffled} AS another_picture "
        "   FROM judged WHERE reasons > 0)"
        f" UNION ALL SELECT j.* REPLACE ({RANDOM} AS reasons), {at(ReviewReason.RANDOM_NEGATIVE)} AS urgency, "
        f"  '{ReviewReason.RANDOM_NEGATIVE}' AS placed_by, false AS another_picture, d.number AS priority, "
        f"  j.first OR d.number >= {1 - config.random_negatives!r}::DOUBLE AS kept "
        "  FROM judged j JOIN drawn d USING (row))"
    )


def _choose(tables: Staged, config: QueueConfig, capacity: int) -> None:
    """Sets `chosen`: each night's most urgent images that fit the capacity, after each quota has taken its share."""
    quotas = [
        f"(reasons & {bit(ReviewReason(reason))} > 0 AND row_number() OVER (PARTITION BY night, "
        f"reasons & {bit(ReviewReason(reason))} > 0 ORDER BY place) <= {int(share * capacity)})"
        for reason, share in config.quotas.items()
    ]
    within = " OR ".join(quotas) or "false"
    tables.run(
        "CREATE TABLE chosen AS SELECT row FROM ("  # noqa: S608 no user input
        " SELECT row, row_number() OVER (PARTITION BY night ORDER BY within DESC, place) AS number FROM ("
        f"  SELECT row, night, place, ({within}) AS within FROM asked)) WHERE number <= {capacity}"
    )
    tables.run("UPDATE asked SET chosen = row IN (SELECT row FROM chosen)")


def _number(tables: Staged, at_random: bool) -> None:
    """Makes `ranked`: the rank of chosen images, a study's images together, and how many images each stands for."""
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
        "CREATE TABLE ranked AS SELECT row, known, reasons, score, "  # noqa: S608 no user input
        " row_number() OVER (ORDER BY night, first, place)::INTEGER AS rank, "
        " first_value(placed_by) OVER (PARTITION BY night, study ORDER BY place) AS placed_by, "
        f" CASE WHEN reasons = {RANDOM} THEN {population / max(1, drawn)!r}::DOUBLE ELSE {weight} END "
        " AS sampling_weight "
        "FROM (SELECT *, min(place) OVER (PARTITION BY night, study) AS first FROM asked WHERE chosen) "
        f"{weights}"
    )


def batches(
    tables: Staged, trusted: bool | None, read: frozenset[str] = frozenset(), since: date | None = None
) -> Iterator[pa.RecordBatch]:
    """Yields the queue of `rank` in reading order, as batches of `REVIEW_QUEUE` with the column `LISTED` at the end.

    Args:
        tables: tables of `rank`, after it.
        trusted: as for `rank`.
        read: image_ids with a verdict; they are not listed.
        since: images that were added earlier are not listed; None: all are.
    """
    masks = [int(row[0]) for row in tables.rows("SELECT DISTINCT reasons FROM ranked")]
    words = [[str(reason) for reason in MOST_URGENT_FIRST if mask & bit(reason)] for mask in masks]
    tables.add_batches(
        "words", pa.table({"mask": pa.array(masks, pa.int32()), "words": pa.array(words, pa.list_(pa.string()))})
    )
    tables.add_batches("already_read", pa.table({"image_id": pa.array(sorted(read), pa.string())}))
    late = "true" if since is None else f"coalesce(m.added_on >= DATE '{since.isoformat()}', false)"
    flags = "NULL" if trusted is None else str(trusted).lower()
    own = {
        "rank": "r.rank",
        "reasons": "w.words",
        "score": "r.score",
        "sampling_weight": "r.sampling_weight",
        "placed_by": "r.placed_by",
    }
    own["flag_trusted"] = f"CASE WHEN p.status = '{Status.OK}' THEN {flags} END::BOOLEAN"
    manifest = set(MANIFEST_COLUMNS) - {"image_id"}
    columns = ", ".join(
        f"{own.get(name) or (f'm.{name}' if name in manifest else f'p.{name}')} AS {name}"
        for name in REVIEW_QUEUE.names
    )
    yield from tables.batches(
        f"SELECT {columns}, a.image_id IS NULL AND {late} AS listed FROM ranked r "  # noqa: S608 no user input
        "JOIN words w ON r.reasons = w.mask JOIN predictions p ON p.rowid = r.row "
        "JOIN manifest m ON m.rowid = r.known LEFT JOIN already_read a ON a.image_id = p.image_id ORDER BY r.rank",
        REVIEW_QUEUE.append(LISTED),
    )
