"""A whole screen, from the question to the queue: what `jobs/screen.py` does, and every trial of a sweep.

What follows the images: the review queue from the committed tables, and the summary a person reads.

Finished chunks copied into larger files, for readers of many small ones; the chunk files stay the truth.
"""

import time
from collections.abc import Iterator, Mapping

import pyarrow as pa
import ray

from comit_ray.checkpoint import checkpoint
from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks import accounts, graph, monitor, nodes, ownership, plan, run_record
from comit_ray.chunks.accounts import Accounts, settle
from comit_ray.chunks.monitor import StageTimer
from comit_ray.chunks.ownership import Owner
from comit_ray.chunks.plan import GRAPH, ChunkPlan, Plan
from comit_ray.config.screen_config import QueueConfig, ScreenConfig
from comit_ray.errors import ConfigError, StorageError
from comit_ray.screening import drift, run_settings, screen_pipeline
from comit_ray.screening.review_queue import MANIFEST_COLUMNS, build_queue
from comit_ray.screening.screen_tables import PREDICTIONS, layout, read_predictions
from comit_ray.storage import local_files, storage
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


DIRECTORY = "compact"
ROWS = 65_536
"""Images in a file, at least, but for the last."""


def check(output: str) -> None:
    """Refuse an output in which a directory cannot appear as a whole.

    Raises:
        ConfigError: for S3.
    """
    if storage.is_s3(output):
        raise ConfigError(f"--compact needs a local --output (S3 has no rename), got {output}")


def write(plan: Plan, output: str, tables: tuple[str, ...], rows: int = ROWS) -> str:
    """Copy the chunks of each of `tables`, in the manifest's order, to `output`/compact; its URI.

    Raises:
        StorageError: if a chunk cannot be read or the directory not be written; an earlier one is then still there.
    """
    target = storage.join(output, DIRECTORY)
    with local_files.replacing_directory(storage.normalise(target)) as fresh:
        for table in tables:
            for number, group in enumerate(_groups(plan.chunks, rows)):
                merged = parquet.read_parts(storage.join(output, table, chunk.file) for chunk in group)
                parquet.write_table(str(fresh / table / f"part-{number:05d}.parquet"), merged)
    return target


def _groups(chunks: list[ChunkPlan], rows: int) -> Iterator[list[ChunkPlan]]:
    """Consecutive chunks of at least `rows` images together."""
    group: list[ChunkPlan] = []
    held = 0
    for chunk in chunks:
        group.append(chunk)
        held += chunk.rows
        if held >= rows:
            yield group
            group, held = [], 0
    if group:
        yield group


def screen(config: ScreenConfig, cpus: float | None = None, tally: StageTimer | None = None) -> Accounts:
    """Screen what is left of the manifest, and build the queue; the accounts of the whole output.

    Args:
        config: of the job.
        cpus: of the cluster that it may hold; None: all.
        tally: is told the seconds of the graph and of its stages; None: no one.

    Raises:
        ConfigError: for options that the checkpoint does not fit, an output that belongs to another question, or a
            local path that not all nodes see.
        ManifestError: the manifest is not whole.
        CheckpointError: the checkpoint cannot be loaded.
        StorageError: the output cannot be written, or its tables not be read.
    """
    output = storage.normalise(config.output)
    if config.compact:
        check(output)
    loaded = checkpoint.load(config.checkpoint)
    temperatures = run_settings.choose_temperatures(config, loaded)
    operating_point = run_settings.choose_operating_point(config, loaded)
    written_point = run_settings.as_written(operating_point, config, temperatures)
    whole = plan.make_plan(config.manifest, config.split)
    asked = run_settings.run_settings(config, loaded, whole, written_point, temperatures)
    run_record.open_run(output, asked, config.model_dump(), PREDICTIONS)
    owner = Owner.of(run_record.read(output))
    for score, reason in operating_point.missing.items():
        print(f"operating point {operating_point.name} has no threshold for {score} ({reason}): its flags are null")
    print(scores_line(run_settings.score_names(loaded), temperatures))

    tables = layout(config.embeddings, config.gradcam, len(config.variants))
    remaining = whole.without(accounts.committed(whole, output, tables, owner, config.retry))
    started = time.monotonic()
    if remaining.parts:
        print(f"screening {remaining.rows:,} of {whole.rows:,} images in {len(remaining.chunks):,} chunks", flush=True)
        if config.gpu:
            graph.check_gpus_here()
        nodes.check_address()
        if not ray.is_initialized():
            ray.init()
        if config.gpu:
            graph.check_gpus()
        read = {"manifest": config.manifest, "checkpoint": config.checkpoint}
        nodes.check(read, {"output": output}, remaining)
        run_record.sign(output, config.model_dump(mode="json"))
        owner = ownership.take_lease(output, owner)
        with monitor.lines("screened", remaining, storage.join(output, tables.main), silent=graph.in_an_actor()):
            frame = loaded.config.frame
            begun = accounts.begun(remaining, output, tables)
            screen_pipeline.screen(config, remaining, frame, operating_point, temperatures, owner, begun, cpus, tally)
    seconds = time.monotonic() - started
    if tally is not None:
        tally.add(GRAPH, seconds)

    taken = settle(whole, output, tables, owner)
    if write_queue(output, config.manifest, config.queue, written_point):
        print("the review queue was built from the tables")
    if config.compact and taken.balanced:
        print(f"larger files: {write(whole, output, (tables.main, *tables.sides))}")
    drifted = drift.write(output, config.manifest, loaded.model_id, loaded.reference, temperatures)
    print(summary(taken, output, remaining.rows, seconds))
    print("\n".join([*drift.lines(drifted), *taken.too_many_failed(config.max_failed_share)]))
    return taken
