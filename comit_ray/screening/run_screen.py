"""Runs a whole screen, from its settings to the review queue and the summary; every trial of a sweep uses it too."""

import time
from dataclasses import dataclass, replace

from comit_ray.checkpoint import frontal_check
from comit_ray.checkpoint.checkpoint_facts import CheckpointFacts
from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks import (
    accounts,
    compaction,
    graph,
    growth,
    nodes,
    one_driver,
    ownership,
    plan,
    progress,
    ray_start,
    run_record,
)
from comit_ray.chunks.accounts import Accounts, settle
from comit_ray.chunks.ownership import Lease, Owner
from comit_ray.chunks.plan import GRAPH
from comit_ray.chunks.progress import StageTimer
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
from comit_ray.screening.screen_tables import PREDICTIONS, layout, stage_predictions
from comit_ray.storage import storage
from comit_ray.tables.schema import PREDICTIONS as PREDICTION_FIELDS
from comit_ray.tables.staging import staging
from comit_ray.tables.vocabulary import counted


def masks_line(output: str, masks: str, memory_gib: float) -> str:
    """Returns one line: how many scored images have no mask, and what was therefore not judged.

    Args:
        output: URI of the results.
        masks: the requested masks: `flagged` or `none`.
        memory_gib: memory that the tables may use, in GiB.
    """
    with staging(memory_gib) as tables:
        fields = [PREDICTION_FIELDS.field(name) for name in ("image_id", "status", "lung_area", "disease_area")]
        stage_predictions(tables, "predictions", output, fields)
        without, of = tables.rows(
            "SELECT count(*) FILTER (lung_area IS NULL AND disease_area IS NULL), count(*) FROM predictions "
            "WHERE status = ?",
            [str(Status.OK)],
        )[0]
    return (
        f"{without:>9,} of {counted(of, 'scored image')} without masks (--masks {masks}): no_lungs_found and "
        "disease_outside_lungs were not judged for these"
    )


@dataclass(frozen=True)
class Chosen:
    """The meaning of a screen's options for the checkpoint that they name.

    Attributes:
        loaded: facts of the checkpoint, as the backend computes it.
        computed: what decides the arithmetic of any other backend than plain PyTorch; empty for plain PyTorch.
        why: why this backend was chosen, in one line.
        temperatures: score -> temperature; empty without temperature scaling.
        operating_point: decides the flags, on the scale of the scores that it was made for.
    """

    loaded: CheckpointFacts
    computed: dict[str, str]
    why: str
    temperatures: dict[str, float]
    operating_point: OperatingPoint


def check_options(config: ScreenConfig) -> Chosen:
    """Resolves the options for their checkpoint, and refuses impossible ones before an archive is listed for hours.

    Raises:
        ConfigError: an option does not fit the checkpoint, or `--gpu yes` on a machine without a GPU.
        CheckpointError: the checkpoint cannot be loaded.
    """
    if config.gpu:
        graph.check_gpus_here()
    backend, precision, why = optimised.choose(config.checkpoint, config.backend, config.precision)
    loaded = optimised.facts(config.checkpoint, backend, precision)
    temperatures = run_settings.choose_temperatures(config, loaded)
    operating_point = run_settings.choose_operating_point(config, loaded)
    run_settings.check_masks(config, loaded)
    run_settings.check_gradcam(config, loaded)
    run_settings.check_variants(config, loaded)
    return Chosen(loaded, optimised.computed(backend, precision), why, temperatures, operating_point)


def screen(
    config: ScreenConfig, cpus: float | None = None, tally: StageTimer | None = None, lease: Lease | None = None
) -> Accounts:
    """Screens the remaining chunks of the manifest, and builds the queue; returns the counts of the whole output.

    Args:
        config: options of the job.
        cpus: CPUs of the cluster that it may use; None: all.
        tally: timer that receives the seconds of the graph and of its stages; None: no timer.
        lease: lease of the output that the caller holds; None: it is taken here.

    Raises:
        ConfigError: an option does not fit the checkpoint, the output was made with other settings, or not all nodes
            see a local path.
        ManifestError: the manifest is incomplete.
        CheckpointError: the checkpoint cannot be loaded.
        HeldError: another driver works on the output.
        StorageError: the output cannot be written, or its tables cannot be read.
    """
    chosen = check_options(config)
    if lease is not None:
        return _screen(config, chosen, lease, cpus, tally)
    with one_driver.hold(storage.normalise(config.output)) as taken:
        return _screen(config, chosen, taken, cpus, tally)


def _screen(
    config: ScreenConfig, chosen: Chosen, lease: Lease, cpus: float | None, tally: StageTimer | None
) -> Accounts:
    output = storage.normalise(config.output)
    if config.manifest is None:
        raise ConfigError("expected --manifest, or --archive with a manifest made from it")
    loaded, computed = chosen.loaded, chosen.computed
    temperatures, operating_point = chosen.temperatures, chosen.operating_point
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
        print(f"computed by {chosen.why}: model {loaded.model_id}")

    tables = layout(config.embeddings, config.gradcam, len(config.variants))
    remaining = whole.without(accounts.committed(whole, output, tables, owner, config.retry))
    started = time.monotonic()
    if remaining.parts:
        chunks = counted(len(remaining.chunks), "chunk")
        print(f"screening {remaining.rows:,} of {counted(whole.rows, 'image')} in {chunks}", flush=True)
        ray_start.start()
        if config.gpu:
            graph.check_gpus()
        read = {"manifest": config.manifest, "checkpoint": config.checkpoint}
        nodes.check(read, {"output": output}, remaining)
        run_record.sign(output, config.model_dump(mode="json"))
        with progress.lines("screened", remaining, storage.join(output, tables.main), silent=graph.in_an_actor()):
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
    drifted = drift.write(
        output, config.manifest, loaded.model_id, loaded.reference, temperatures, calibrated, config.memory_gib
    )
    if results_folder.write_queue(output, config.manifest, config.queue, written_point, config.memory_gib):
        print("the review queue was built from the tables")
    if config.compact and taken.balanced:
        names, copied = [chunk.file for chunk in whole.chunks], (tables.main, *tables.sides)
        large = compaction.compact(output, names, copied, lambda: ownership.check_lease(output, owner))
        print(f"chunk files copied into large files: {large}")
    print(screen_summary.time_line(remaining.rows, seconds))
    if config.masks != mask_choice.ALL:
        print(masks_line(output, config.masks, config.memory_gib))
    print("\n".join([*drift.lines(drifted), *taken.too_many_failed(config.max_failed_share)]))
    point = operating_point if scores else None
    lead = drift.untrusted_lines(drifted, config.queue.untrusted, config.on_drift)
    print("\n".join(["", *lead, *screen_summary.summary(taken, output, config.manifest, config.queue, point)]))
    return taken
