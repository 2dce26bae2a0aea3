"""Metrics of an external archive at the stored operating point, and what readers saw (paper, section 4.4).

A positive image that was excluded or failed is neither found nor missed; the worst case counts it as missed. Images
that the manifest leaves out on purpose count in neither, because another row stands for them or the protocol excludes
them.
"""

from collections.abc import Callable
from enum import StrEnum
from itertools import combinations

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from comit_ray.errors import ManifestError, Reason, Status
from comit_ray.statistics.metric import LEVELS, Ratio, share
from comit_ray.tables import parquet
from comit_ray.tables.review_schema import REVIEWS

LEFT_OUT = (Reason.DUPLICATE, Reason.NOT_IN_PROTOCOL)
WORST_CASE = "sensitivity_with_unscored_missed"
MISSED_READ, MISSED_WITHOUT_ABNORMALITY = "missed_read", "missed_without_abnormality"
NO_POINT = "there are no flags, or they come from several operating points"


class Outcome(StrEnum):
    """The outcome of an image labelled COVID-19."""

    FOUND = "found: flagged as COVID-19"
    MISSED = "missed: not flagged"
    WITHOUT_FLAG = "scored, without a flag"
    EXCLUDED = "excluded: not scored"
    FAILED = "failed: not scored"
    LEFT_OUT = "left out of the archive on purpose"


def outcomes(images: pd.DataFrame) -> pd.Series:
    """The `Outcome` of each image labelled COVID-19, with the index of `images`; other images are left out.

    Args:
        images: result of `screen_metrics.join_tables`.
    """
    covid = images[images["covid"] == 1]
    scored, flag = covid["status"] == Status.OK, covid["covid_flag"]
    found = pd.Series(str(Outcome.WITHOUT_FLAG), index=covid.index, dtype=object)
    found[scored & (flag == True)] = str(Outcome.FOUND)  # noqa: E712 nulls are neither
    found[scored & (flag == False)] = str(Outcome.MISSED)  # noqa: E712
    found[covid["status"] == Status.EXCLUDED] = str(Outcome.EXCLUDED)
    found[covid["status"] == Status.FAILED] = str(Outcome.FAILED)
    found[~scored & covid["reason"].isin(list(map(str, LEFT_OUT)))] = str(Outcome.LEFT_OUT)
    return found


def metrics_of(point: str | None, verdicts: pd.DataFrame | None) -> Callable[[pd.DataFrame], list[Ratio]]:
    """A function that gives the additional metrics of an external archive, for `screen_metrics.screen_metrics`.

    Args:
        point: name of the operating point of the COVID-19 flag; None if there are no flags, or several operating
            points.
        verdicts: result of `consensus`; None if nobody read the archive.
    """

    def more(images: pd.DataFrame) -> list[Ratio]:
        outcome = outcomes(images).reindex(images.index)
        found = _worst_case(images, outcome, point)
        return found if verdicts is None else [*found, *_read(images, outcome, verdicts)]

    return more


def _worst_case(images: pd.DataFrame, outcome: pd.Series, point: str | None) -> list[Ratio]:
    """Sensitivity if every positive without a flag counts as missed, over images, studies and patients."""
    hit_N = (outcome == Outcome.FOUND).to_numpy(bool)
    counted_N = (outcome.notna() & (outcome != Outcome.LEFT_OUT)).to_numpy(bool) & (point is not None)
    undefined = NO_POINT if point is None else "no image is labelled COVID-19"
    found = [share(WORST_CASE, hit_N, counted_N, point, undefined=undefined)]
    for level in LEVELS[1:]:
        ids = images[f"{level}_id"].where(counted_N)
        known_N = ids.notna().to_numpy()
        any_hit = pd.Series(hit_N, index=images.index).groupby(ids).transform("any")
        first_N = known_N & ~ids.duplicated().to_numpy()
        none = undefined if not counted_N.any() else f"no positive {level} with an id"
        found.append(share(WORST_CASE, any_hit.fillna(False).astype(bool), first_N, point, level, undefined=none))
    return found


def _read(images: pd.DataFrame, outcome: pd.Series, verdicts: pd.DataFrame) -> list[Ratio]:
    """The share of missed images that were read, and the share of these in which readers saw no abnormality."""
    verdict = dict(zip(verdicts["image_id"], verdicts["abnormal"], strict=True))
    missed_N = (outcome == Outcome.MISSED).to_numpy(bool)
    read_N = missed_N & images["image_id"].isin(verdict).to_numpy(bool)
    nothing_seen_N = np.array([verdict.get(image_id) is False for image_id in images["image_id"]], bool)
    return [
        share(MISSED_READ, read_N, missed_N, undefined="no image was missed"),
        share(MISSED_WITHOUT_ABNORMALITY, nothing_seen_N, read_N, undefined="no missed image was read"),
    ]


def read_reviews(uri: str, manifest_uri: str) -> pd.DataFrame:
    """Reads the last reading of every reader for each image: columns image_id, reader, abnormal (True, False or None).

    Args:
        uri: URI of a table with the schema `comit_ray.tables.review_schema.REVIEWS`. Without `read_at`, the later row
            counts as the last.
        manifest_uri: URI of the archive's manifest.

    Raises:
        ManifestError: the table is no table of readings, or has readings of images that are not in the manifest.
        StorageError: the table cannot be read.
    """
    table = parquet.read_table(uri)
    wanted = ["image_id", "reader", "abnormal"]
    lacking = [name for name in wanted if name not in table.column_names]
    if lacking:
        raise ManifestError(
            f"{uri}: expected a table of readings (comit_ray.tables.review_schema.REVIEWS), but it lacks the columns "
            f"{', '.join(lacking)}"
        )
    wrong = [name for name in wanted if not table[name].type.equals(REVIEWS.field(name).type)]
    if wrong:
        types = "; ".join(f"expected {REVIEWS.field(name).type} in {name}, got {table[name].type}" for name in wrong)
        raise ManifestError(f"{uri}: {types}")
    nameless = sum(table[name].null_count for name in wanted[:2])
    if nameless:
        raise ManifestError(f"{uri}: expected an image_id and a reader in every row, got {nameless} nulls")
    readings: pd.DataFrame = table.to_pandas()
    known = set(parquet.read_table(manifest_uri, ["image_id"])["image_id"].to_pylist())
    foreign = readings.loc[~readings["image_id"].isin(known), "image_id"]
    if len(foreign):
        raise ManifestError(
            f"{uri}: expected readings of images in the manifest {manifest_uri}, but {len(foreign)} of {len(readings)} "
            f"are of other images, such as {foreign.iloc[0]}: give the manifest of the archive that was read"
        )
    if "read_at" in readings:
        readings = readings.sort_values("read_at", kind="stable", na_position="first")
    last = readings.drop_duplicates(["image_id", "reader"], keep="last")
    if "verdict" in last:
        last = last[last["verdict"] != "withdrawn"]  # in the reading room, the reader took the verdict back
    return last[wanted].reset_index(drop=True)


def consensus(readings: pd.DataFrame) -> pd.DataFrame:
    """What more than half of an image's readers saw: columns image_id, abnormal (True, False or None), readers.

    A reader who could not say counts among the readers. A tie gives no consensus (None).

    Args:
        readings: result of `read_reviews`.
    """
    votes = pd.DataFrame(
        {
            "image_id": readings["image_id"],
            "yes": readings["abnormal"] == True,  # noqa: E712 nulls are neither
            "no": readings["abnormal"] == False,  # noqa: E712
            "readers": 1,
        }
    )
    counts = votes.groupby("image_id", sort=True).sum()
    said = [
        True if 2 * yes > readers else False if 2 * no > readers else None
        for yes, no, readers in counts.itertuples(index=False)
    ]
    abnormal = pd.Series(said, index=counts.index, dtype=object)
    return pd.DataFrame(
        {"image_id": counts.index, "abnormal": abnormal.to_numpy(), "readers": counts["readers"].to_numpy()}
    )


def kappas(readings: pd.DataFrame) -> list[tuple[str, str, int, int, float | None]]:
    """The agreement of every two readers, with Cohen's kappa.

    Kappa is None if both gave one and the same answer for every image, because chance alone explains that agreement.

    Args:
        readings: result of `read_reviews`.

    Returns:
        Both names, the number of images that both judged, the number on which they agree, and kappa.
    """
    judged = readings[readings["abnormal"].notna()]
    by_reader = {
        str(reader): rows.set_index("image_id")["abnormal"].astype(bool) for reader, rows in judged.groupby("reader")
    }
    found = []
    for first, second in combinations(sorted(by_reader), 2):
        both = pd.concat([by_reader[first], by_reader[second]], axis=1, join="inner", keys=["first", "second"])
        if both.empty:
            continue
        one_answer = len(np.unique(both.to_numpy())) == 1
        kappa = None if one_answer else float(cohen_kappa_score(both["first"], both["second"]))
        found.append((first, second, len(both), int((both["first"] == both["second"]).sum()), kappa))
    return found
