"""What follows the images: the review queue from the committed tables, and the summary a person reads."""

from collections.abc import Mapping

import pyarrow as pa

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks.accounts import Accounts
from comit_ray.config.screen_config import QueueConfig
from comit_ray.errors import StorageError
from comit_ray.screening.review_queue import MANIFEST_COLUMNS, build_queue
from comit_ray.screening.screen_tables import read_predictions
from comit_ray.storage import storage
from comit_ray.tables import parquet

QUEUE_FILE = "review_queue/queue.parquet"


def write_queue(output: str, manifest_uri: str, config: QueueConfig, operating_point: OperatingPoint) -> bool:
    """Build the queue from `output`'s tables and the manifest; write it unless it is there already.

    Args:
        output: URI of the results.
        manifest_uri: URI of the manifest, for study, age, labels and place of each image.
        config: options of the queue.
        operating_point: the one that decided the flags.

    Returns:
        Whether a queue was written.
    """
    uri = storage.join(output, QUEUE_FILE)
    labels = parquet.read_table(manifest_uri, MANIFEST_COLUMNS)
    queue: pa.Table = build_queue(read_predictions(output), labels, config, operating_point)
    try:
        if parquet.read_part(uri).equals(queue):
            return False
    except StorageError:  # none yet, or not whole
        pass
    parquet.write_table(uri, queue)
    return True


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


def summary(accounts: Accounts, output: str, done_now: int, seconds: float) -> str:
    """Counts by status and reason, throughput of this run, and where the tables are."""
    lines = [f"{accounts.asked:>9,} images in the manifest"]
    for status, count in sorted(accounts.by_status.items(), key=lambda item: -item[1]):
        lines.append(f"{count:>9,} {status}")
        if status == "ok":
            lines.append(f"{accounts.flagged:>13,} above the operating point; not flagged is not normal")
        of_status = [(n, reason) for (s, reason), n in accounts.by_reason.items() if s == status and reason]
        lines += [f"{n:>13,} {reason}" for n, reason in sorted(of_status, reverse=True)]
    if done_now:
        lines.append(
            f"{done_now / seconds:>9.1f} images/s in this run ({done_now:,} in {seconds:.1f} s, start-up included)"
        )
    else:
        lines.append("nothing was left to do: every chunk of the manifest is committed")
    lines += accounts.refused
    lines += [f"PROBLEM: {problem}" for problem in accounts.problems]
    if not accounts.balanced:
        lines.append("the accounts do NOT balance: run the same command again to do what is missing")
    lines += [f"{name}: {storage.join(output, name)}" for name in ("predictions", "masks", "review_queue")]
    return "\n".join(lines)
