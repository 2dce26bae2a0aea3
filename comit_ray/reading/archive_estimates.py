"""Estimates sensitivity, specificity and prevalence of a whole archive from verdicts on its queue, with intervals.

Every image with a reason is in the queue. Of the other M images, n were drawn at random, and x of these n were judged
positive. So one number is unknown: K, the positives among the M images. Given K, x has a hypergeometric distribution
(drawing without replacement). The 95% interval of K holds every K that the sample does not contradict, by the mid-p
rule (C. Clopper, E. Pearson 1934; H. Lancaster 1961; for finite populations T. Wright 1991, "Exact confidence bounds
when sampling from small finite universes"). All three figures rise or fall steadily with K, so the ends of K's interval
give the ends of theirs.

The figures describe this archive only. They are as good as the readers: the interval does not include wrong verdicts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import hypergeom

from comit_ray.errors import Status
from comit_ray.tables.vocabulary import ReviewReason

TAIL = 0.025
METHOD = "mid-p of the random negatives (hypergeometric)"
UNREAD = 0.05
"""Largest share of the images with a reason that may lack a deciding verdict. A verdict does not decide if it is
"cannot tell", or if readers differ."""


@dataclass(frozen=True)
class Estimate:
    """One figure of the archive, or the reason why it cannot be given.

    Args:
        value: a fraction from 0 to 1; None if it cannot be given.
        low: lower end of its 95% interval.
        high: upper end of the interval.
        reason: why there is no value.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Counts:
    """How many images of each kind were read.

    Args:
        found: flagged and positive. All flagged images are in the queue, so this counts the whole archive.
        false: flagged and negative.
        missed_queued: not flagged, in the queue for another reason, positive.
        rest_queued: not flagged, in the queue for another reason, negative.
        population: images without a reason (M).
        drawn: random images of these that were judged (n).
        positive: those of `drawn` that were judged positive (x).
        undecided: images that no reader could judge. No other count includes them.
    """

    found: int
    false: int
    missed_queued: int
    rest_queued: int
    population: int
    drawn: int
    positive: int
    undecided: int = 0


def reference(verdicts: pd.DataFrame, column: str) -> dict[str, bool]:
    """Choose one truth for each image: the adjudicator's verdict, or else the verdict that all its readers agree on.

    Args:
        verdicts: table of `comit_ray.reading.store.read_current`.
        column: `abnormal` or `covid`. A null means that the reader could not say; it decides nothing.

    Returns:
        image_id -> whether the image is positive; images without a deciding verdict are absent.
    """
    readers: dict[str, list[Any]] = {}
    adjudicator: dict[str, list[Any]] = {}
    for image_id, role, value in zip(verdicts["image_id"], verdicts["role"], verdicts[column], strict=True):
        (adjudicator if role == "adjudicator" else readers).setdefault(str(image_id), []).append(value)
    found: dict[str, bool] = {}
    for image_id, values in sorted((readers | adjudicator).items()):
        said = [bool(value) for value in values if value is not None and not pd.isna(value)]
        if said and all(value == said[0] for value in said):
            found[image_id] = said[0]
    return found


def counts(
    predictions: pd.DataFrame, queue: pd.DataFrame, truth: Mapping[str, bool], flag: str, scored: int | None = None
) -> Counts | str:
    """Count what was read, or say in one sentence why the archive cannot be estimated from it.

    Args:
        predictions: image_id, status and `flag` of every image, or of those in the queue if `scored` is given.
        queue: image_id, reasons, sampling_weight and status of every image of the queue.
        truth: result of `reference`.
        flag: `covid_flag` or `unhealthy_flag`.
        scored: number of scored images with this flag in the archive; None counts `predictions`.
    """
    known = predictions[(predictions["status"] == Status.OK) & predictions[flag].notna()]
    flags = dict(zip(known["image_id"], known[flag].astype(bool), strict=True))
    scored = len(flags) if scored is None else scored
    mine = queue[queue["image_id"].isin(flags.keys())]
    random = mine["reasons"].map(lambda reasons: [*map(str, reasons)] == [str(ReviewReason.RANDOM_NEGATIVE)])
    certain, drawn = mine[~random]["image_id"], mine[random]["image_id"]
    population = round(float(mine.loc[random, "sampling_weight"].sum()))
    if population == 0 and scored == len(certain):
        population = 0  # every image has a reason, so there were no others to draw from
    elif len(certain) + population != scored:
        absent = scored - len(certain) - population
        return f"scored images missing from the queue: {absent:,}; build it without a capacity (job requeue)"
    unread = sum(image_id not in truth for image_id in certain)
    decided = [image_id for image_id in certain if image_id in truth]
    if unread > len(certain) * UNREAD:
        return f"{unread:,} of the {len(certain):,} images with a reason have no deciding verdict: read them first"
    sample = [image_id for image_id in drawn if image_id in truth]
    if population and not sample:
        return "no random negative has a deciding verdict: read some of them first"
    found = sum(flags[image_id] and truth[image_id] for image_id in decided)
    false = sum(flags[image_id] and not truth[image_id] for image_id in decided)
    missed = sum(not flags[image_id] and truth[image_id] for image_id in decided)
    return Counts(
        found=found,
        false=false,
        missed_queued=missed,
        rest_queued=len(decided) - found - false - missed,
        population=population,
        drawn=len(sample),
        positive=sum(truth[image_id] for image_id in sample),
        undecided=unread + len(drawn) - len(sample),
    )


def estimate(read: Counts | str) -> dict[str, Estimate]:
    """Estimate `sensitivity`, `specificity` and `prevalence` of the archive.

    Args:
        read: result of `counts`.

    Returns:
        Name of the figure -> its estimate.
    """
    if isinstance(read, str):
        return dict.fromkeys(("sensitivity", "specificity", "prevalence"), Estimate(None, reason=read))
    low, high = positives_of(read.population, read.drawn, read.positive)
    middle = read.population * read.positive / read.drawn if read.drawn else 0.0
    at = [figures(read, positives) for positives in (middle, low, high)]
    found = {}
    for name, value in at[0].items():
        if value is None:
            found[name] = Estimate(None, reason="no image of this kind was read")
            continue
        ends = [one[name] for one in at[1:]]
        known = sorted(end for end in ends if end is not None)
        found[name] = Estimate(value, known[0], known[-1]) if len(known) == 2 else Estimate(value)
    return found


def figures(read: Counts, positives: float) -> dict[str, float | None]:
    """Compute the three figures, supposing that `positives` of the images without a reason are positive."""
    missed = read.missed_queued + positives
    passed = read.rest_queued + read.population - positives
    sick, well = read.found + missed, read.false + passed
    return {
        "sensitivity": read.found / sick if sick > 0 else None,
        "specificity": passed / well if well > 0 else None,
        "prevalence": sick / (sick + well) if sick + well > 0 else None,
    }


def positives_of(population: int, drawn: int, positive: int) -> tuple[int, int]:
    """Find the smallest and the largest number of positives in the population that the sample does not contradict.

    Args:
        population: number of images (M).
        drawn: number of images drawn from them at random (n).
        positive: number of positive images among the drawn ones (x).

    Returns:
        The ends of the 95% mid-p interval.

    Raises:
        ValueError: `positive` is larger than `drawn`, or `drawn` is larger than `population`.
    """
    if not 0 <= positive <= drawn <= population:
        raise ValueError(f"expected positive <= drawn <= population, got {positive}, {drawn}, {population}")
    if drawn == population:
        return positive, positive
    least, most = positive, population - (drawn - positive)
    return (
        _first(lambda k: _above(population, drawn, positive, k) > TAIL, least, most),
        _last(lambda k: _below(population, drawn, positive, k) > TAIL, least, most),
    )


def _above(population: int, drawn: int, positive: int, k: int) -> float:
    """Mid-p of more than x positives: P(more than x) + P(x) / 2. It rises with k."""
    law = hypergeom(population, k, drawn)
    return float(law.sf(positive) + law.pmf(positive) / 2)


def _below(population: int, drawn: int, positive: int, k: int) -> float:
    """Mid-p of fewer than x positives: P(fewer than x) + P(x) / 2. It falls with k."""
    law = hypergeom(population, k, drawn)
    return float(law.cdf(positive) - law.pmf(positive) / 2)


def _first(holds: Any, low: int, high: int) -> int:
    """Find the smallest k from low to high for which `holds` is true; high if there is none."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _last(holds: Any, low: int, high: int) -> int:
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if holds(middle) else (low, middle - 1)
    return low


def simulate(archives: int, seed: int, images: int = 2000, sample: int = 300) -> dict[str, float]:
    """Simulate archives and return the share of them whose true figures lie in the estimated intervals.

    Each archive has its own prevalence (2 to 30%), sensitivity (60 to 95%) and specificity (80 to 98%). A tenth of the
    images that are not flagged is in the queue as near the threshold.

    Args:
        archives: number of archives.
        seed: seed of all random numbers.
        images: number of images of each archive.
        sample: number of random negatives read in each archive.

    Returns:
        Name of the figure -> share of archives, from 0 to 1.
    """
    rng = np.random.default_rng(seed)
    covered = dict.fromkeys(("sensitivity", "specificity", "prevalence"), 0)
    for _ in range(archives):
        sick = rng.random(images) < rng.uniform(0.02, 0.30)
        flagged = rng.random(images) < np.where(sick, rng.uniform(0.60, 0.95), 1 - rng.uniform(0.80, 0.98))
        near = ~flagged & (rng.random(images) < 0.1)
        rest = np.flatnonzero(~flagged & ~near)
        drawn = rng.choice(rest, min(sample, rest.size), replace=False)
        read = Counts(
            found=int((flagged & sick).sum()),
            false=int((flagged & ~sick).sum()),
            missed_queued=int((near & sick).sum()),
            rest_queued=int((near & ~sick).sum()),
            population=rest.size,
            drawn=drawn.size,
            positive=int(sick[drawn].sum()),
        )
        true = figures(read, float(sick[rest].sum()))
        for name, one in estimate(read).items():
            value = true[name]
            assert value is not None, "an archive of 2,000 has both"
            assert one.low is not None, name
            assert one.high is not None, name
            covered[name] += one.low <= value <= one.high
    return {name: hits / archives for name, hits in covered.items()}
