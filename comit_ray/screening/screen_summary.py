"""The summary after a screen in about ten lines: counts, what to read first, what to run next.

File names may hold a patient's name. So they are shown on a terminal only, and never written to a log.
"""

import math
import sys
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks.accounts import Accounts
from comit_ray.config.queue_config import QueueConfig
from comit_ray.errors import Status
from comit_ray.screening import drift, results_folder
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import RANDOM_ORDER, counted, review_words

MOST_REASONS, FIRST = 4, 3
"""How many reasons are listed for each status, and how many images of the queue are shown."""


def summary(
    accounts: Accounts, output: str, manifest_uri: str, config: QueueConfig, point: OperatingPoint | None
) -> list[str]:
    """Returns the lines of the summary: counts, the head of the queue, where the tables are, and what to run next."""
    head, queued = results_folder.queue_head(output, FIRST)
    return [
        *account_lines(accounts, point),
        *queue_lines(head, queued, names=sys.stdout.isatty(), untrusted=results_folder.wants_sample(output)),
        *results_folder.other_picture_lines(output),
        *results_folder.unread_lines(output),
        *next_lines(output, manifest_uri, config.capacity),
    ]


def scores_line(scores: tuple[str, ...], temperatures: Mapping[str, float]) -> str:
    """Describes the scores of a run in one line.

    Args:
        scores: names of the model's scores.
        temperatures: score -> temperature that divides its log-odds; empty: no temperature scaling.
    """
    if not scores:
        return "the model has no score: it gives masks only, and no image is flagged"
    if not temperatures:
        return "scores are as the model gives them, not calibrated (--temperature off)"
    divided = ", ".join(f"{score} by {temperatures[score]:.3g}" for score in scores)
    return f"scores are calibrated (--temperature on): log-odds of {divided}"


def account_lines(accounts: Accounts, point: OperatingPoint | None) -> list[str]:
    """Says how many images there are, how many have no score and why, and how many are flagged.

    Args:
        accounts: counts of the output.
        point: the operating point; None: the model has no score and flags nothing.
    """
    count = {status: accounts.by_status.get(status, 0) for status in Status}
    told = ", ".join(f"{number:,} {status}" for status, number in count.items())
    lines = [f"{counted(accounts.asked, 'image')} in the manifest: {told}"]
    without = [status for status in (Status.EXCLUDED, Status.FAILED) if count[status]]
    lines += [f"  {status}: {_reasons(accounts, status)}" for status in without]
    if point is None:
        lines.append("the model has no score: no image is flagged; not flagged is not normal")
    else:
        threshold = point.thresholds.get("covid")
        at = f"score at or above {threshold:.3g}, {point.name}" if threshold is not None else "there is no threshold"
        lines.append(
            f"flagged for COVID-19: {accounts.flagged:,} of {count[Status.OK]:,} ({at}); not flagged is not normal"
        )
    lines += accounts.refused
    lines += [f"PROBLEM: {problem}" for problem in accounts.problems]
    if not accounts.balanced:
        lines.append("the counts do NOT balance: run the same command again to process what is missing")
    return lines


def _reasons(accounts: Accounts, status: Status) -> str:
    """Lists the most frequent reasons of a status, by code and in words; the rest as a number."""
    found = sorted(((n, reason) for (s, reason), n in accounts.by_reason.items() if s == status), reverse=True)
    told = [f"{n:,} {reason} ({results_folder.in_words(reason)})" for n, reason in found[:MOST_REASONS]]
    if rest := found[MOST_REASONS:]:
        told.append(f"{sum(n for n, _ in rest):,} for {counted(len(rest), 'more reason')} (docs/tables.md counts them)")
    return ", ".join(told)


def queue_lines(head: pa.Table, queued: int, names: bool, untrusted: bool = False) -> list[str]:
    """Says how long the queue is, and shows its first images.

    Args:
        head: its first rows, from `results_folder.queue_head`.
        queued: number of its rows.
        names: whether to show the image ids.
        untrusted: whether the order is that of flags that are not trusted (`results_folder.wants_sample`).
    """
    if not queued:
        return ["the review queue is empty"]
    first = head.slice(0, FIRST).to_pylist()
    order = "in random order" if first[0].get("placed_by") == RANDOM_ORDER else "the most urgent first"
    what = "by flags that are not trusted" if untrusted else order
    return [
        f"{'queued' if untrusted else 'to be read'}: {counted(queued, 'image')} in the review queue, {what}:",
        *(f"  {row['rank']}. {_entry(row)}{': ' + row['image_id'] if names else ''}" for row in first),
    ]


def _entry(row: Mapping[str, Any]) -> str:
    (why,) = review_words(row["reasons"][:1], row["p_covid"] is not None or row["score"] is None)
    # Rounded down, so that no score looks as if it reached its threshold.
    return why if row["score"] is None else f"score {math.floor(100 * row['score']) / 100:.2f}, {why}"


def time_line(done_now: int, seconds: float) -> str:
    """Says how many images this run screened, and how fast."""
    if not done_now:
        return "nothing was left to do: every chunk of the manifest is committed"
    return f"{done_now / seconds:.1f} images/s in this run ({done_now:,} in {seconds:.1f} s, start-up included)"


SAMPLE = 200
"""Images of a random sample that the summary proposes where flags are not trusted."""


def sample_command(output: str, manifest_uri: str) -> str:
    """Returns the command that puts a random sample of scored images into the queue."""
    return (
        f"comit-ray requeue --results {output} --manifest {manifest_uri} --queue.untrusted random "
        f"--queue.capacity {SAMPLE}"
    )


def next_lines(output: str, manifest_uri: str, capacity: int | None) -> list[str]:
    """Says where the tables are, and which one command comes next; what follows it is another line.

    Args:
        output: URI of the results, with a queue.
        manifest_uri: URI of the screened manifest.
        capacity: capacity to which the queue was cut; None: it was not cut.

    Raises:
        StorageError: the queue or drift.json cannot be read.
    """
    where = ", ".join(storage.join(output, name) for name in ("predictions", "masks", "review_queue"))
    lines = [f"tables: {where}"]
    _, queued = results_folder.queue_head(output, 1)
    untrusted = not drift.flags_trusted(output)
    review, calibrate = f"comit-ray review --results {output}", f"comit-ray calibrate --results {output} --output SITE"
    if results_folder.wants_sample(output):
        sample = sample_command(output, manifest_uri)
        lines += [f"next: {sample}   (flags are not trusted: a random sample to read)", f"then: {review}"]
    elif queued:
        lines.append(f"next: {review}")
    if untrusted and queued:
        lines.append(f"then: {calibrate}   (this site's own threshold)")
    elif queued and not untrusted:
        fewer = capacity or min(200, (queued + 1) // 2)
        requeue = f"comit-ray requeue --results {output} --manifest {manifest_uri} --queue.capacity {fewer}"
        lines.append(f"if that is too many to read: {requeue}")
    return lines
