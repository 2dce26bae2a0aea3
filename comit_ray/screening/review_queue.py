"""Builds the review queue from tables: which images a radiologist reads, why, and in which order."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.special import logit

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.config.queue_config import QueueConfig
from comit_ray.errors import Reason, Status
from comit_ray.screening.mask_choice import random_number
from comit_ray.tables.schema import REVIEW_QUEUE
from comit_ray.tables.vocabulary import ReviewReason

WORTH_A_LOOK = (
    Reason.MISSING,
    Reason.UNREADABLE,
    Reason.STORAGE_ABSENT,
    Reason.STORAGE_CUT,
    Reason.STORAGE_CHANGED,
    Reason.TRUNCATED,
    Reason.CORRUPT,
    Reason.UNSUPPORTED_TRANSFER_SYNTAX,
    Reason.TOO_LARGE,
    Reason.BLANK,
    Reason.NO_PIXELS,
    Reason.BAD_GEOMETRY,
    Reason.NOT_GRAYSCALE,
    Reason.MODEL_FAILED,
    Reason.CRASHED_DECODER,
    Reason.TIMED_OUT,
    Reason.PROGRAM_FAILED,
)
"""Failures behind which a patient's radiograph may lie; a reader with the original system can still see it."""

MOST_URGENT_FIRST = (
    ReviewReason.ABOVE_OPERATING_POINT,
    ReviewReason.LABEL_DISAGREES,
    ReviewReason.COVID_BUT_HEALTHY,
    ReviewReason.COVID_WITHOUT_DISEASE,
    ReviewReason.DISEASE_OUTSIDE_LUNGS,
    ReviewReason.NO_LUNGS_FOUND,
    ReviewReason.NOT_A_FRONTAL_CHEST,
    ReviewReason.NEAR_THRESHOLD,
    ReviewReason.UNHEALTHY_ABOVE_OPERATING_POINT,
    ReviewReason.CHILD,
    ReviewReason.FAILED,
    ReviewReason.FLAGS_UNTRUSTED,
    ReviewReason.RANDOM_NEGATIVE,
)
"""The order of the queue: an image stands where the most urgent of its reasons does."""

FURTHER_EVIDENCE = ("p_unhealthy", "disease_in_lung", "disease_area")
"""What orders images of one reason and one score: many scores are 1 to the last digit. A temperature keeps the order
of each score, so that the order is the same with and without."""

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
    return queue.loc[place.sort_values(kind="stable").index]
