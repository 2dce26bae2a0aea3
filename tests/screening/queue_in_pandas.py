"""The review queue as it was first written, in pandas and in memory: what the one in SQL is compared with."""

import math
from collections.abc import Mapping
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy.special import logit

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.config.queue_config import QueueConfig
from comit_ray.errors import Status
from comit_ray.screening.mask_choice import random_number
from comit_ray.screening.results_folder import BEYOND_CAPACITY, in_words
from comit_ray.screening.review_reasons import MOST_URGENT_FIRST, WORTH_A_LOOK
from comit_ray.tables.schema import REVIEW_QUEUE, UNREAD
from comit_ray.tables.vocabulary import ReviewReason

FURTHER_EVIDENCE = ("p_unhealthy", "disease_in_lung", "disease_area")
MANIFEST_COLUMNS = ["image_id", "uri", "member", "study_id", "age", "sex", "covid", "unhealthy"]


def build_queue(
    predictions: pa.Table,
    manifest: pa.Table,
    config: QueueConfig,
    operating_point: OperatingPoint,
    trusted: bool | None = None,
) -> pa.Table:
    """The queue as a `REVIEW_QUEUE` table.

    Args:
        predictions: the `predictions` table.
        manifest: rows of the manifest with `MANIFEST_COLUMNS`.
        config: thresholds, capacity and quotas.
        operating_point: the one that decided the flags.
        trusted: whether the archive's flags are (`comit_ray.screening.drift.Drift.trusted`); None: not known.
    """
    images = predictions.to_pandas().merge(manifest.select(MANIFEST_COLUMNS).to_pandas(), on="image_id", how="left")
    head = next((name for name in ("covid", "unhealthy") if images[f"p_{name}"].notna().any()), "covid")
    images["score"] = images[f"p_{head}"]
    applies = reasons(images, config, operating_point.thresholds.get(head, math.nan), head)
    untrusted = config.untrusted if trusted is False else "ranked"
    scored = images["status"] == Status.OK
    applies[ReviewReason.FLAGS_UNTRUSTED] = scored & (untrusted != "ranked")
    images["flag_trusted"] = pd.Series([trusted] * len(images), dtype=object).where(scored, None)
    population, drawn = random_negatives(images, applies, config)
    applies[ReviewReason.RANDOM_NEGATIVE] = drawn.notna()
    applies = applies[list(MOST_URGENT_FIRST)]
    images["reasons"] = [
        [reason for reason, value in zip(MOST_URGENT_FIRST, row, strict=True) if value]
        for row in applies.itertuples(index=False)
    ]
    images["urgency"] = np.argmax(applies.to_numpy(), axis=1)
    evidence = images["score"].where(
        images["urgency"] != MOST_URGENT_FIRST.index(ReviewReason.UNHEALTHY_ABOVE_OPERATING_POINT),
        images["p_unhealthy"],
    )
    images["priority"] = evidence.where(drawn.isna(), drawn)  # random ones stay in random order
    images["another_picture"] = applies[ReviewReason.NOT_A_FRONTAL_CHEST]  # last of their reason: a CT slice was 9th
    if untrusted == "random":
        number = [random_number(config.seed, image_id) for image_id in images["image_id"]]
        images["priority"] = images["priority"].mask(scored, pd.Series(number, index=images.index))
        images["urgency"] = images["urgency"].mask(scored, -1)
        images["another_picture"] = images["another_picture"] & ~scored  # the sample is without bias
    by_severity = (config.order == "severity" and untrusted != "random") & images["severity"].notna()
    named = [str(found[0]) if found else None for found in images["reasons"]]
    images["placed_by"] = pd.Series(named, index=images.index).mask(images["urgency"] == -1, "random_order")
    images["placed_by"] = images["placed_by"].mask(by_severity, "severity")
    queue = images[applies.any(axis=1)]
    first = ["severity"] if config.order == "severity" and untrusted != "random" else []
    queue = queue.sort_values(
        [*first, "urgency", "another_picture", "priority", *FURTHER_EVIDENCE, "image_id"],
        ascending=[*(False for _ in first), True, True, False, *(False for _ in FURTHER_EVIDENCE), True],
        kind="stable",
    )
    queue = within_capacity(queue, config)
    queue = in_studies(queue).assign(rank=range(1, len(queue) + 1), sampling_weight=1.0)
    if untrusted == "random":
        sample = queue["status"] == Status.OK
        queue.loc[sample, "sampling_weight"] = int(scored.sum()) / max(1, int(sample.sum()))
    kept = queue["urgency"] == MOST_URGENT_FIRST.index(ReviewReason.RANDOM_NEGATIVE)
    if kept.any():
        queue.loc[kept, "sampling_weight"] = population / int(kept.sum())
    return pa.Table.from_pandas(
        queue[REVIEW_QUEUE.names], schema=REVIEW_QUEUE, preserve_index=False
    ).replace_schema_metadata(REVIEW_QUEUE.metadata)


def reasons(images: pd.DataFrame, config: QueueConfig, threshold: float, head: str) -> pd.DataFrame:
    """One Boolean column a reason, random negatives excepted; a null score or mask figure gives no reason."""
    scored = images["status"] == Status.OK
    judged = scored & images[f"{head}_flag"].notna()  # a segmenter judges no image
    flagged = judged & images[f"{head}_flag"].fillna(False).astype(bool)
    label = images[head]
    inside = images["disease_in_lung"] * images["lung_area"]
    # In log-odds: thresholds of 0.01 are common, and a fixed distance below one would take in every image.
    near = _log_odds(images["score"]) >= _log_odds(pd.Series([threshold])).iloc[0] - config.near_threshold
    return (
        pd.DataFrame(
            {
                "above_operating_point": flagged,
                "label_disagrees": judged & (((label == 1) & ~flagged) | ((label == 0) & flagged)),
                "covid_but_healthy": flagged & (images["p_unhealthy"] < config.covid_but_healthy),
                "covid_without_disease": flagged & (images["disease_area"] < config.min_disease_area),
                "disease_outside_lungs": flagged
                & (images["disease_area"] >= config.min_disease_area)
                & (1 - inside / images["disease_area"] > config.max_disease_outside),
                "no_lungs_found": scored & (images["lung_area"] < config.min_lung_area),
                "not_a_frontal_chest": scored & (images["p_frontal_chest"] < config.min_frontal_chest),
                "near_threshold": scored & ~flagged & near,
                "unhealthy_above_operating_point": images["unhealthy_flag"].fillna(False).astype(bool),
                "child": (images["status"] != Status.EXCLUDED) & (images["age"] < config.child_age),
                "failed": images["reason"].isin(WORTH_A_LOOK) & (images["status"] == Status.FAILED),
            }
        )
        .fillna(False)
        .astype(bool)
    )


def _log_odds(probability: pd.Series) -> pd.Series:
    """Natural logarithm of the odds; finite, and null where the probability is."""
    return pd.Series(logit(probability.astype(float).clip(1e-7, 1 - 1e-7)), index=probability.index)


def random_negatives(images: pd.DataFrame, applies: pd.DataFrame, config: QueueConfig) -> tuple[int, pd.Series]:
    """How many images with a score have no other reason, and a uniform sample of them.

    Returns:
        The size of the population, and a random number in 0..1 for each drawn image, null for all others.
    """
    negative = (images["status"] == Status.OK) & images["score"].notna() & ~applies.any(axis=1)
    ids = images.loc[negative, "image_id"]
    number = pd.Series([random_number(config.seed, image_id) for image_id in ids], index=ids.index, dtype=float)
    drawn = number.nlargest(math.ceil(config.random_negatives * len(number)))
    return len(number), drawn.reindex(images.index)


def within_capacity(queue: pd.DataFrame, config: QueueConfig) -> pd.DataFrame:
    """The most urgent images that fit the capacity, after each quota has taken its share; order kept."""
    if config.capacity is None or len(queue) <= config.capacity:
        return queue
    chosen: dict[object, None] = {}  # an ordered set
    for reason, share in config.quotas.items():
        mine = queue.index[[reason in found for found in queue["reasons"]]]
        chosen |= dict.fromkeys(mine[: int(share * config.capacity)])
    chosen |= dict.fromkeys(queue.index)
    return queue.loc[queue.index.isin(list(chosen)[: config.capacity])]


def in_studies(queue: pd.DataFrame) -> pd.DataFrame:
    """Images of one study follow each other, at the place of the study's most urgent image."""
    study = queue["study_id"].fillna(queue["image_id"])
    place = pd.Series(range(len(queue)), index=queue.index).groupby(study).transform("min")
    queue = queue.loc[place.sort_values(kind="stable").index]
    return queue.assign(
        placed_by=queue.groupby(queue["study_id"].fillna(queue["image_id"]))["placed_by"].transform("first")
    )


def build_nights(
    predictions: pa.Table,
    manifest: pa.Table,
    config: QueueConfig,
    points: Mapping[str, OperatingPoint],
    trusted: bool | None = None,
) -> pa.Table:
    """The queue of all nights as a `REVIEW_QUEUE` table, the first night first.

    Random negatives of the first night are as many as are asked for, rounded up. Of later nights an image is drawn if
    its own number is high enough, or one of every small night would be, and few would stand for many. All of them stand
    for all that had no reason, in all nights.

    Args:
        predictions: the `predictions` table.
        manifest: its rows, with `review_queue.MANIFEST_COLUMNS` and `added_on`; of images that have been superseded
            none.
        config: options of the queue; its capacity is a night's.
        points: model_id -> the operating point that decided its flags.
        trusted: as in `build_queue`.
    """
    ids = manifest["image_id"].combine_chunks()
    at = pc.index_in(predictions["image_id"], ids)
    predictions = predictions.filter(pc.is_valid(at))
    days = manifest["added_on"].take(at.filter(pc.is_valid(at)))
    queues = []
    population = 0.0
    for first, day in _numbered(days):
        night = predictions.filter(pc.equal(days, day) if day is not None else pc.is_null(days))
        for model_id in sorted(night["model_id"].unique().to_pylist()):
            rows = night.filter(pc.equal(night["model_id"], model_id))
            mine = manifest.filter(pc.is_in(manifest["image_id"], rows["image_id"].combine_chunks()))
            queue = build_queue(rows, mine, config, points[model_id], trusted)
            random = _random(queue)
            population += pc.sum(queue["sampling_weight"].filter(random)).as_py() or 0.0
            queues.append(queue if first else queue.filter(pc.or_(pc.invert(random), _drawn(queue, config))))
    return _joined(queues, population) if len(queues) > 1 else queues[0]


def _numbered(days: pa.ChunkedArray) -> list[tuple[bool, date | None]]:
    """Whether it is the first night, and its day; images without a day, of older manifests, are the first."""
    found = sorted(days.unique().to_pylist(), key=lambda day: day or date.min)
    return [(number == 0, day) for number, day in enumerate(found)]


def _random(queue: pa.Table) -> pa.ChunkedArray:
    """Whether each image is there for no reason."""
    return pc.equal(pc.list_element(queue["reasons"], 0), str(ReviewReason.RANDOM_NEGATIVE))


def _drawn(queue: pa.Table, config: QueueConfig) -> pa.Array:
    """Whether each image's own number is among the share that is drawn."""
    least = 1 - config.random_negatives
    return pa.array([random_number(config.seed, name) >= least for name in queue["image_id"].to_pylist()], pa.bool_())


def _joined(queues: list[pa.Table], population: float) -> pa.Table:
    """The queues one after the other, ranked anew; random negatives stand for all that have no reason."""
    queue = pa.concat_tables(queues)
    random = _random(queue)
    drawn = pc.sum(random).as_py() or 0
    weight = pa.scalar(population / drawn if drawn else 1.0, pa.float32())
    columns = {
        "rank": pa.array(range(1, len(queue) + 1), pa.int32()),
        "sampling_weight": pc.if_else(random, weight, queue["sampling_weight"]),
    }
    for name, values in columns.items():
        index = REVIEW_QUEUE.get_field_index(name)
        queue = queue.set_column(index, REVIEW_QUEUE.field(index), values)
    return queue.replace_schema_metadata(REVIEW_QUEUE.metadata)


def to_read(queue: pa.Table, manifest: pa.Table, read: frozenset[str], since: date | None) -> pa.Table:
    """What of the queue nobody has read, in its order.

    Args:
        queue: of `build_nights`.
        manifest: rows with `image_id` and `added_on`.
        read: image_ids with a verdict.
        since: only images that came on this day or later; None: all.
    """
    keep = pc.invert(pc.is_in(queue["image_id"], pa.array(sorted(read), pa.string())))
    if since is not None:
        days = manifest["added_on"].take(pc.index_in(queue["image_id"], manifest["image_id"].combine_chunks()))
        keep = pc.and_(keep, pc.fill_null(pc.greater_equal(days, pa.scalar(since, pa.date32())), False))
    return queue.filter(keep)


def unread_images(predictions: pa.Table, rows: pa.Table, queue: pa.Table, whole: pa.Table) -> pa.Table:
    """What nobody has read: images without a score, and images that the capacity left out of the queue.

    Args:
        predictions: the `predictions` table.
        rows: of the manifest.
        queue: the review queue.
        whole: the review queue without a capacity.

    Returns:
        An `UNREAD` table: what has a score first, highest first; then failures, then exclusions.
    """
    ranks = dict(zip(queue["image_id"].to_pylist(), queue["rank"].to_pylist(), strict=True))
    asked = whole.filter(
        pc.invert(pc.equal(pc.list_element(whole["reasons"], 0), str(ReviewReason.RANDOM_NEGATIVE)))
    ).select(["image_id", "score"])
    scores = dict(zip(asked["image_id"].to_pylist(), asked["score"].to_pylist(), strict=True))
    images = predictions.select(["image_id", "status", "reason", "detail"]).to_pandas()
    left_out = images["image_id"].isin([name for name in scores if name not in ranks])
    images = images[(images["status"] != Status.OK) | left_out]
    wanted = [name for name in (*UNREAD.names, "uri", "member") if name in rows.column_names]
    places = rows.select(wanted)
    places = places.filter(pc.is_in(places["image_id"], pa.array(images["image_id"], pa.string())))
    days = dict(zip(places["image_id"].to_pylist(), places["acquired_on"].to_pylist(), strict=True))
    images = images.merge(places.drop_columns(["acquired_on"]).to_pandas(), on="image_id", how="left")
    images["acquired_on"] = pd.Series([days.get(name) for name in images["image_id"]], dtype=object)
    images["path"] = images["uri"] + ("!" + images["member"]).fillna("").astype(str)
    images["reason"] = images["reason"].fillna(BEYOND_CAPACITY)
    images["why"] = [in_words(reason) for reason in images["reason"]]
    images["score"] = pd.Series([scores.get(name) for name in images["image_id"]], dtype=float)
    images["queue_rank"] = pd.Series([ranks.get(name) for name in images["image_id"]], dtype="Int32")
    order = images["status"].map({Status.OK: 0, Status.FAILED: 1, Status.EXCLUDED: 2})
    images = images.assign(order=order).sort_values(
        ["order", "score", "reason", "image_id"], ascending=[True, False, True, True], kind="stable"
    )
    return pa.Table.from_pandas(images[UNREAD.names], schema=UNREAD, preserve_index=False).replace_schema_metadata(
        UNREAD.metadata
    )
