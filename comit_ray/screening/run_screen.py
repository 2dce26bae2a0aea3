"""Runs a whole screen, from its settings to the review queue; every trial of a sweep uses it too.

What follows the images: the review queue from the committed tables, and the summary a person reads.

Finished chunks copied into larger files, for readers of many small ones; the chunk files stay the truth.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from comit_ray.checkpoint import frontal_check
from comit_ray.chunks import accounts, graph, growth, monitor, nodes, one_driver, ownership, plan, ray_start, run_record
from comit_ray.chunks.accounts import Accounts, settle
from comit_ray.chunks.monitor import StageTimer
from comit_ray.chunks.ownership import Lease, Owner
from comit_ray.chunks.plan import GRAPH, ChunkPlan, Plan
from comit_ray.config.queue_config import QueueConfig
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.data.manifest import manifest
from comit_ray.errors import ConfigError, Status
from comit_ray.inference import optimised
from comit_ray.screening import (
    drift,
    mask_choice,
    model_change,
    results_folder,
    run_settings,
    screen_pipeline,
    screen_summary,
)
from comit_ray.screening.results_folder import QUEUE_FILE
from comit_ray.screening.screen_tables import PREDICTIONS, layout, read_predictions
from comit_ray.storage import local_files, storage
from comit_ray.tables import parquet


def summary(
    accounts: Accounts, output: str, manifest_uri: str, config: QueueConfig, operating_point: str | None
) -> list[str]:
    """What a person reads of the whole output: counts, the head of the queue, where it is, and what to run next."""
    queue = parquet.read_part(storage.join(output, QUEUE_FILE), ["rank", "image_id", "reasons", "score"])
    return [
        *screen_summary.account_lines(accounts, operating_point),
        *screen_summary.queue_lines(queue, names=sys.stdout.isatty()),
        *results_folder.other_picture_lines(output),
        *results_folder.unread_lines(output),
        *screen_summary.next_lines(output, manifest_uri, len(queue), config.capacity),
    ]


def masks_line(predictions: pa.Table, masks: str) -> str:
    """Of how many scored images there is no mask, and what was therefore not judged: one line.

    Args:
        predictions: of the whole output.
        masks: what was asked for: `flagged` or `none`.
    """
    scored = pc.equal(predictions["status"], Status.OK)
    areas = pc.and_(pc.is_null(predictions["lung_area"]), pc.is_null(predictions["disease_area"]))
    without, of = pc.sum(pc.and_(scored, areas)).as_py() or 0, pc.sum(scored).as_py() or 0
    return (
        f"{without:>9,} of {of:,} scored images have no masks (--masks {masks}): of these no_lungs_found and "
        "disease_outside_lungs were not judged"
    )


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


def check_options(config: ScreenConfig) -> None:
    """Refuse what the checkpoint cannot do, before an archive is listed for hours.

    Raises:
        ConfigError: for options that the checkpoint does not fit.
        CheckpointError: the checkpoint cannot be loaded.
    """
    if config.compact:
        check(storage.normalise(config.output))
    backend, precision, _ = optimised.choose(config.checkpoint, config.backend, config.precision)
    loaded = optimised.facts(config.checkpoint, backend, precision)
    run_settings.choose_temperatures(config, loaded)
    run_settings.choose_operating_point(config, loaded)
    run_settings.check_masks(config, loaded)
    run_settings.check_gradcam(config, loaded)
    run_settings.check_variants(config, loaded)


def screen(
    config: ScreenConfig, cpus: float | None = None, tally: StageTimer | None = None, lease: Lease | None = None
) -> Accounts:
    """Screen what is left of the manifest, and build the queue; the accounts of the whole output.

    Args:
        config: of the job.
        cpus: of the cluster that it may hold; None: all.
        tally: is told the seconds of the graph and of its stages; None: no one.
        lease: of the output, held by the caller; None: it is taken here.

    Raises:
        ConfigError: for options that the checkpoint does not fit, an output that belongs to another question, or a
            local path that not all nodes see.
        ManifestError: the manifest is not whole.
        CheckpointError: the checkpoint cannot be loaded.
        HeldError: another driver works on the output.
        StorageError: the output cannot be written, or its tables not be read.
    """
    if lease is not None:
        return _screen(config, lease, cpus, tally)
    check_options(config)
    with one_driver.hold(storage.normalise(config.output)) as taken:
        return _screen(config, taken, cpus, tally)


def _screen(config: ScreenConfig, lease: Lease, cpus: float | None, tally: StageTimer | None) -> Accounts:
    output = storage.normalise(config.output)
    if config.manifest is None:
        raise ConfigError("expected --manifest, or an --archive of which a manifest was made")
    if config.compact:
        check(output)
    backend, precision, why = optimised.choose(config.checkpoint, config.backend, config.precision)
    loaded = optimised.facts(config.checkpoint, backend, precision)
    computed = optimised.computed(backend, precision)
    temperatures = run_settings.choose_temperatures(config, loaded)
    operating_point = run_settings.choose_operating_point(config, loaded)
    written_point = run_settings.as_written(operating_point, config, temperatures)
    whole = plan.make_plan(config.manifest, config.split)
    asked = run_settings.run_settings(config, loaded, whole, written_point, temperatures, computed)
    if config.model_change is not None and model_change.is_asked(output, asked, config.model_change):
        found = model_change.compare(output, config, loaded.model_id, lambda options: screen(options, cpus))
        print("\n".join(model_change.lines(found, config.model_change)), flush=True)
        ownership.check_lease(output, Owner("", "", "", lease))
        model_change.accept(output, asked, config.model_change, found)
    growth.open_run(output, asked, config.model_dump(mode="json"), PREDICTIONS, whole)
    owner = replace(Owner.of(run_record.read(output)), lease=lease)
    for score, reason in operating_point.missing.items():
        print(f"operating point {operating_point.name} has no threshold for {score} ({reason}): its flags are null")
    scores = run_settings.score_names(loaded)
    print(screen_summary.scores_line(scores, temperatures))
    print(frontal_check.load(config.checkpoint).line)
    if config.backend != optimised.TORCH:
        print(f"computed by {why}: model {loaded.model_id}")

    tables = layout(config.embeddings, config.gradcam, len(config.variants))
    remaining = whole.without(accounts.committed(whole, output, tables, owner, config.retry))
    started = time.monotonic()
    if remaining.parts:
        print(f"screening {remaining.rows:,} of {whole.rows:,} images in {len(remaining.chunks):,} chunks", flush=True)
        if config.gpu:
            graph.check_gpus_here()
        ray_start.start()
        if config.gpu:
            graph.check_gpus()
        read = {"manifest": config.manifest, "checkpoint": config.checkpoint}
        nodes.check(read, {"output": output}, remaining)
        run_record.sign(output, config.model_dump(mode="json"))
        with monitor.lines("screened", remaining, storage.join(output, tables.main), silent=graph.in_an_actor()):
            begun = accounts.begun(remaining, output, tables)
            screen_pipeline.screen(
                config, remaining, loaded.config, operating_point, temperatures, owner, begun, cpus, tally, computed
            )
    seconds = time.monotonic() - started
    if tally is not None:
        tally.add(GRAPH, seconds)

    ownership.check_lease(output, owner)
    taken = settle(whole, output, tables, owner)
    ownership.check_lease(output, owner)
    run_record.finish(output, remaining.rows, seconds)
    results_folder.write_images(output, whole, config.split, manifest.read_marks(config.manifest))
    calibrated = bool(config.operating_points and operating_point.bound)
    drifted = drift.write(output, config.manifest, loaded.model_id, loaded.reference, temperatures, calibrated)
    if results_folder.write_queue(output, config.manifest, config.queue, written_point):
        print("the review queue was built from the tables")
    if config.compact and taken.balanced:
        print(f"larger files: {write(whole, output, (tables.main, *tables.sides))}")
    print(screen_summary.time_line(remaining.rows, seconds))
    if config.masks != mask_choice.ALL:
        print(masks_line(read_predictions(output), config.masks))
    print("\n".join([*drift.lines(drifted), *taken.too_many_failed(config.max_failed_share)]))
    point_name = operating_point.name if scores else None
    lead = drift.untrusted_lines(drifted, config.queue.untrusted, config.on_drift)
    print("\n".join(["", *lead, *summary(taken, output, config.manifest, config.queue, point_name)]))
    return taken
