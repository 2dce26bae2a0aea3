"""Metrics of an external archive at the stored operating point, and readers' findings (section 4.4).

A positive that was excluded or failed is neither found nor missed; the worst case counts it as missed. Images that the
manifest leaves out on purpose (another row stands for them, or the protocol does not ask for them) are in neither.
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
NO_POINT = "no image labelled COVID-19 has a flag of one operating point"


class Outcome(StrEnum):
    """What became of an image labelled COVID-19."""

    FOUND = "found: flagged as COVID-19"
    MISSED = "missed: not flagged"
    WITHOUT_FLAG = "scored, without a flag"
    EXCLUDED = "excluded: not scored"
    FAILED = "failed: not scored"
    LEFT_OUT = "left out of the archive on purpose"


def outcomes(images: pd.DataFrame) -> pd.Series:
    """The `Outcome` of each image labelled COVID-19, in the index of `images`; the others are not in it.

    Args:
        images: of `scores.join_tables`.
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
    """What `scores.screen_metrics` is to measure of an external archive beside the rest.

    Args:
        point: name of the operating point of the COVID-19 flag; None: there are no flags, or of several.
        verdicts: of `consensus`; None: nobody read the archive.
    """

    def more(images: pd.DataFrame) -> list[Ratio]:
        outcome = outcomes(images).reindex(images.index)
        found = _worst_case(images, outcome, point)
        return found if verdicts is None else [*found, *_read(images, outcome, verdicts)]

    return more


def _worst_case(images: pd.DataFrame, outcome: pd.Series, point: str | None) -> list[Ratio]:
    """Sensitivity with every positive that has no flag counted as missed, over images, studies and patients."""
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
    """Of the missed, the share that was read; of these, the share in which readers saw no abnormality."""
    verdict = dict(zip(verdicts["image_id"], verdicts["abnormal"], strict=True))
    missed_N = (outcome == Outcome.MISSED).to_numpy(bool)
    read_N = missed_N & images["image_id"].isin(verdict).to_numpy(bool)
    nothing_seen_N = np.array([verdict.get(image_id) is False for image_id in images["image_id"]], bool)
    return [
        share(MISSED_READ, read_N, missed_N, undefined="no image was missed"),
        share(MISSED_WITHOUT_ABNORMALITY, nothing_seen_N, read_N, undefined="no missed image was read"),
    ]


def read_reviews(uri: str, manifest_uri: str) -> pd.DataFrame:
    """The last reading of every reader and image: columns image_id, reader, abnormal (True, False or None).

    Args:
        uri: of a table of `comit_ray.tables.review_schema.REVIEWS`; of readings without `read_at` the later row is
            the last.
        manifest_uri: of the manifest of the archive.

    Raises:
        ManifestError: it is no table of readings, or some are of images that are not in the manifest.
        StorageError: it cannot be read.
    """
    table = parquet.read_table(uri)
    wanted = ["image_id", "reader", "abnormal"]
    lacking = [name for name in wanted if name not in table.column_names]
    if lacking:
        raise ManifestError(
            f"{uri}: expected readings (tables.review_schema.REVIEWS), the columns {', '.join(lacking)} are not there"
        )
    wrong = [name for name in wanted if not table[name].type.equals(REVIEWS.field(name).type)]
    if wrong:
        types = "; ".join(f"{name} must be {REVIEWS.field(name).type}, is {table[name].type}" for name in wrong)
        raise ManifestError(f"{uri}: {types}")
    nameless = sum(table[name].null_count for name in wanted[:2])
    if nameless:
        raise ManifestError(f"{uri}: expected an image_id and a reader in every row, {nameless} are null")
    readings: pd.DataFrame = table.to_pandas()
    known = set(parquet.read_table(manifest_uri, ["image_id"])["image_id"].to_pylist())
    foreign = readings.loc[~readings["image_id"].isin(known), "image_id"]
    if len(foreign):
        raise ManifestError(
            f"{uri}: {len(foreign)} of {len(readings)} readings are of images that are not in the manifest "
            f"{manifest_uri}, such as {foreign.iloc[0]}: give the manifest of the archive that was read"
        )
    if "read_at" in readings:
        readings = readings.sort_values("read_at", kind="stable", na_position="first")
    last = readings.drop_duplicates(["image_id", "reader"], keep="last")
    if "verdict" in last:
        last = last[last["verdict"] != "withdrawn"]  # the reading room's: the reader took it back
    return last[wanted].reset_index(drop=True)


def consensus(readings: pd.DataFrame) -> pd.DataFrame:
    """What more than half of an image's readers saw: columns image_id, abnormal (True, False, None), readers.

    A reader who could not say counts among the readers; a tie is no consensus (None).

    Args:
        readings: of `read_reviews`.
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
    """Of every two readers of the same images: their names, images both judged, in how many they agree, Cohen's kappa.

    Kappa is None where both saw the same in every image: there is no agreement beyond chance to speak of.

    Args:
        readings: of `read_reviews`.
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
