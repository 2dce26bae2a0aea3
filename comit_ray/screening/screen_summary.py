"""The summary after a screen in about ten lines: counts, what to read first, what to run next.

Names of files may hold a patient's name. So they are shown on a terminal alone, and never stand in a log.
"""

import sys
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from comit_ray.chunks.accounts import Accounts
from comit_ray.config.queue_config import QueueConfig
from comit_ray.errors import Status
from comit_ray.screening import results_folder
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import REVIEW_WORDS, ReviewReason

MOST_REASONS, FIRST = 4, 3
"""Reasons that are told of each status, and images of the queue that are shown."""


def summary(
    accounts: Accounts, output: str, manifest_uri: str, config: QueueConfig, operating_point: str | None
) -> list[str]:
    """What a person reads of the whole output: counts, the head of the queue, where it is, and what to run next."""
    head, queued = results_folder.queue_head(output, FIRST)
    return [
        *account_lines(accounts, operating_point),
        *queue_lines(head, queued, names=sys.stdout.isatty()),
        *results_folder.other_picture_lines(output),
        *results_folder.unread_lines(output),
        *next_lines(output, manifest_uri, queued, config.capacity),
    ]


def scores_line(scores: tuple[str, ...], temperatures: Mapping[str, float]) -> str:
    """What the scores of a run are: one line.

    Args:
        scores: names of those the model gives.
        temperatures: score -> what its log-odds are divided by; empty: nothing is divided.
    """
    if not scores:
        return "the model has no score: there are masks, and no image is flagged"
    if not temperatures:
        return "scores are as the model gives them, not calibrated (--temperature off)"
    divided = ", ".join(f"{score} by {temperatures[score]:.3g}" for score in scores)
    return f"scores are calibrated (--temperature on): log-odds of {divided}"


def account_lines(accounts: Accounts, operating_point: str | None) -> list[str]:
    """How many images there are, how many have no score and why, and how many are flagged.

    Args:
        accounts: of the output.
        operating_point: its name; None: the model has no score, and flags nothing.
    """
    count = {status: accounts.by_status.get(status, 0) for status in Status}
    told = ", ".join(f"{number:,} {status}" for status, number in count.items())
    lines = [f"{accounts.asked:,} images in the manifest: {told}"]
    without = [status for status in (Status.EXCLUDED, Status.FAILED) if count[status]]
    lines += [f"  {status}: {_reasons(accounts, status)}" for status in without]
    if operating_point is None:
        lines.append("the model has no score: no image is flagged; not flagged is not normal")
    else:
        lines.append(
            f"{accounts.flagged:,} of {count[Status.OK]:,} are flagged (score at or above the threshold of "
            f"{operating_point}); not flagged is not normal"
        )
    lines += accounts.refused
    lines += [f"PROBLEM: {problem}" for problem in accounts.problems]
    if not accounts.balanced:
        lines.append("the accounts do NOT balance: run the same command again to do what is missing")
    return lines


def _reasons(accounts: Accounts, status: Status) -> str:
    """The commonest reasons of a status, by code and in words; the rest as a number."""
    found = sorted(((n, reason) for (s, reason), n in accounts.by_reason.items() if s == status), reverse=True)
    told = [f"{n:,} {reason} ({results_folder.in_words(reason)})" for n, reason in found[:MOST_REASONS]]
    if rest := found[MOST_REASONS:]:
        told.append(f"{sum(n for n, _ in rest):,} for {len(rest)} more reasons (docs/tables.md counts them)")
    return ", ".join(told)


def queue_lines(head: pa.Table, queued: int, names: bool) -> list[str]:
    """How long the queue is, and its first images.

    Args:
        head: its first rows, as of `results_folder.queue_head`.
        queued: how many rows it has.
        names: whether to show which image each is.
    """
    if not queued:
        return ["nothing is in the review queue"]
    first = head.slice(0, FIRST).to_pylist()
    return [
        f"to be read: {queued:,} images in the review queue, the most urgent first:",
        *(f"  {row['rank']}. {_entry(row)}{': ' + row['image_id'] if names else ''}" for row in first),
    ]


def _entry(row: Mapping[str, Any]) -> str:
    why = REVIEW_WORDS[ReviewReason(row["reasons"][0])]
    return why if row["score"] is None else f"score {row['score']:.2f}, {why}"


def time_line(done_now: int, seconds: float) -> str:
    """What this run did, and how fast."""
    if not done_now:
        return "nothing was left to do: every chunk of the manifest is committed"
    return f"{done_now / seconds:.1f} images/s in this run ({done_now:,} in {seconds:.1f} s, start-up included)"


def next_lines(output: str, manifest_uri: str, queued: int, capacity: int | None) -> list[str]:
    """Where the tables are, and the commands that follow.

    Args:
        output: URI of the results.
        manifest_uri: URI of what was screened.
        queued: images in the queue.
        capacity: that it was cut to; None: it was not.
    """
    where = ", ".join(storage.join(output, name) for name in ("predictions", "masks", "review_queue"))
    lines = [f"tables: {where}"]
    if queued:
        lines.append(f"next: comit-ray review --results {output}")
        fewer = capacity or min(200, (queued + 1) // 2)
        lines.append(
            f"      comit-ray requeue --results {output} --manifest {manifest_uri} --queue.capacity {fewer}   "
            "(fewer images to read)"
        )
    return lines
