"""What follows the images: the review queue from the committed tables, and the summary a person reads."""

import pyarrow as pa

from comit_ray import storage
from comit_ray.config import QueueConfig
from comit_ray.operating_points import OperatingPoint
from comit_ray.screening.accounts import Accounts
from comit_ray.screening.chunk import PREDICTIONS
from comit_ray.screening.review import MANIFEST_COLUMNS, build_queue

QUEUE_FILE = "review_queue/queue.parquet"
QUEUE_DIGEST = b"comit_ray.queue"
"""Schema metadata of the queue's file: what it was built from, so that an unchanged queue is not built again."""


def write_queue(
    output: str, manifest_uri: str, config: QueueConfig, operating_point: OperatingPoint, fresh: bool
) -> bool:
    """Build the queue from `output`'s tables and the manifest, unless it is there already.

    Args:
        output: URI of the results.
        manifest_uri: URI of the manifest, for study, age, labels and place of each image.
        config: options of the queue.
        operating_point: the one that decided the flags.
        fresh: whether predictions were added since the queue was last built.

    Returns:
        Whether a queue was written.
    """
    uri = storage.join(output, QUEUE_FILE)
    digest = config.digest().encode()
    if not fresh and storage.exists(uri) and (storage.read_part(uri).schema.metadata or {}).get(QUEUE_DIGEST) == digest:
        return False
    predictions = storage.read_table(storage.join(output, PREDICTIONS))
    rows = storage.read_table(manifest_uri, MANIFEST_COLUMNS)
    queue: pa.Table = build_queue(predictions, rows, config, operating_point)
    storage.write_table(uri, queue.replace_schema_metadata({**queue.schema.metadata, QUEUE_DIGEST: digest}))
    return True


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
    lines += [f"PROBLEM: {problem}" for problem in accounts.problems]
    if not accounts.balanced:
        lines.append("the accounts do NOT balance: run the same command again to do what is missing")
    lines += [f"{name}: {storage.join(output, name)}" for name in ("predictions", "masks", "review_queue")]
    return "\n".join(lines)
