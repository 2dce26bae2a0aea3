"""Estimates an archive's sensitivity, specificity and prevalence from verdicts, with intervals.

Images with a reason are all in the queue; of the M others, n are drawn at random. So only one number is not known: K,
how many of the M are positive. Of n judged ones x were. K has an exact distribution (hypergeometric: drawn without
replacement), and its 95% interval is the set of K that the sample does not contradict (mid-p: B. Clopper, P. Pearson
1934 and H. Lancaster 1961, the finite case: T. Wright 1991, "Exact confidence bounds when sampling from small finite
universes"). All three figures rise or fall with K, so its ends are theirs.

They are of this archive, and as good as the readers: a wrong verdict is not in the interval.
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
"""Largest share of the images with a reason that may lack a verdict that decides (cannot tell, readers who differ)."""


@dataclass(frozen=True)
class Estimate:
    """One figure of the archive; None with a reason where it cannot be had.

    Args:
        value: a fraction.
        low: lower end of its 95% interval.
        high: upper end.
        reason: why there is none.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Counts:
    """What was read, by what it stands for.

    Args:
        found: flagged, and positive (all of the archive: they are in the queue).
        false: flagged, and negative.
        missed_queued: not flagged, in the queue for a reason, positive.
        rest_queued: not flagged, in the queue for a reason, negative.
        population: images without a reason, M.
        drawn: of these judged, n.
        positive: of these positive, x.
        undecided: images that no reader could judge; they are in none of the counts.
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
    """image_id -> what counts as the truth: the adjudicator's verdict, else what all its readers agree on.

    Args:
        verdicts: of `comit_ray.reading.store.read_current`.
        column: `abnormal` or `covid`; a null is a reader who could not say, and decides nothing.
    """
    found: dict[str, bool] = {}
    for image_id, rows in verdicts.groupby("image_id", sort=True):
        last = rows[rows["role"] == "adjudicator"]
        said = [value for value in (last if len(last) else rows)[column] if value is not None and not pd.isna(value)]
        if said and all(bool(value) == bool(said[0]) for value in said):
            found[str(image_id)] = bool(said[0])
    return found


def counts(predictions: pd.DataFrame, queue: pd.DataFrame, truth: Mapping[str, bool], flag: str) -> Counts | str:
    """What was read; or a sentence that says why the archive cannot be estimated from it.

    Args:
        predictions: image_id, status and `flag` of every image.
        queue: image_id, reasons, sampling_weight and status of every image of the queue.
        truth: of `reference`.
        flag: `covid_flag` or `unhealthy_flag`.
    """
    scored = predictions[(predictions["status"] == Status.OK) & predictions[flag].notna()]
    flags = dict(zip(scored["image_id"], scored[flag].astype(bool), strict=True))
    mine = queue[queue["image_id"].isin(flags.keys())]
    random = mine["reasons"].map(lambda reasons: [*map(str, reasons)] == [str(ReviewReason.RANDOM_NEGATIVE)])
    certain, drawn = mine[~random]["image_id"], mine[random]["image_id"]
    population = round(float(mine.loc[random, "sampling_weight"].sum()))
    if population == 0 and len(flags) == len(certain):
        population = 0  # every image has a reason: nothing was left to draw from
    elif len(certain) + population != len(flags):
        absent = len(flags) - len(certain) - population
        return f"{absent:,} images are neither in the queue nor stood for by it: build it without a capacity (requeue)"
    unread = sum(image_id not in truth for image_id in certain)
    decided = [image_id for image_id in certain if image_id in truth]
    if unread > len(certain) * UNREAD:
        return f"{unread:,} of the {len(certain):,} images with a reason have no verdict that decides: read them first"
    sample = [image_id for image_id in drawn if image_id in truth]
    if population and not sample:
        return "no random negative has a verdict that decides: read some of them first"
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
    """`sensitivity`, `specificity` and `prevalence` of the archive.

    Args:
        read: of `counts`.
    """
    if isinstance(read, str):
        return dict.fromkeys(("sensitivity", "specificity", "prevalence"), Estimate(None, reason=read))
    low, high = positives_of(read.population, read.drawn, read.positive)
    middle = read.population * read.positive / read.drawn if read.drawn else 0.0
    at = [figures(read, positives) for positives in (middle, low, high)]
    found = {}
    for name, value in at[0].items():
        if value is None:
            found[name] = Estimate(None, reason="there is no image of that kind in what was read")
            continue
        ends = [one[name] for one in at[1:]]
        known = sorted(end for end in ends if end is not None)
        found[name] = Estimate(value, known[0], known[-1]) if len(known) == 2 else Estimate(value)
    return found


def figures(read: Counts, positives: float) -> dict[str, float | None]:
    """The three figures if `positives` of the images without a reason are positive."""
    missed = read.missed_queued + positives
    passed = read.rest_queued + read.population - positives
    sick, well = read.found + missed, read.false + passed
    return {
        "sensitivity": read.found / sick if sick > 0 else None,
        "specificity": passed / well if well > 0 else None,
        "prevalence": sick / (sick + well) if sick + well > 0 else None,
    }


def positives_of(population: int, drawn: int, positive: int) -> tuple[int, int]:
    """The smallest and the largest number of positives among `population` that a sample does not contradict.

    Args:
        population: M.
        drawn: n of them, at random.
        positive: x of these.

    Raises:
        ValueError: more were drawn than there are, or were positive than drawn.
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
    """Mid-p: P(more than x) + P(x) / 2, which rises with k."""
    law = hypergeom(population, k, drawn)
    return float(law.sf(positive) + law.pmf(positive) / 2)


def _below(population: int, drawn: int, positive: int, k: int) -> float:
    """Mid-p: P(fewer than x) + P(x) / 2, which falls with k."""
    law = hypergeom(population, k, drawn)
    return float(law.cdf(positive) - law.pmf(positive) / 2)


def _first(holds: Any, low: int, high: int) -> int:
    """The smallest k from low to high for which it holds; high if none."""
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
    """Share of simulated archives whose own figures lie in their intervals.

    Each has another prevalence (2 to 30%), sensitivity (60 to 95%) and specificity (80 to 98%); scores near the
    threshold are in the queue for that reason.

    Args:
        archives: how many.
        seed: of everything.
        images: of each.
        sample: random negatives read of each.
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
