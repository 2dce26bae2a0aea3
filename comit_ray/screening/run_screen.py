"""A whole screen, from the question to the queue: what `jobs/screen.py` does, and every trial of a sweep."""

import time

import ray

from comit_ray.checkpoint import checkpoint
from comit_ray.chunks import accounts, graph, monitor, nodes, plan, run_record
from comit_ray.chunks.accounts import Accounts, settle
from comit_ray.chunks.monitor import Tally
from comit_ray.chunks.plan import GRAPH
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.screening import compact, drift, drift_words, results, run_settings, screen_pipeline
from comit_ray.screening.screen_tables import PREDICTIONS, layout
from comit_ray.storage import storage


def screen(config: ScreenConfig, cpus: float | None = None, tally: Tally | None = None) -> Accounts:
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
        compact.check(output)
    loaded = checkpoint.load(config.checkpoint)
    temperatures = run_settings.choose_temperatures(config, loaded)
    operating_point = run_settings.choose_operating_point(config, loaded)
    written_point = run_settings.as_written(operating_point, config, temperatures)
    whole = plan.make_plan(config.manifest, config.split)
    asked = run_settings.of(config, loaded, whole, written_point, temperatures)
    run_id = run_record.open_run(output, asked, config.model_dump(), PREDICTIONS)
    for score, reason in operating_point.missing.items():
        print(f"operating point {operating_point.name} has no threshold for {score} ({reason}): its flags are null")
    print(results.scores_line(run_settings.score_names(loaded), temperatures))

    tables = layout(config.embeddings, config.gradcam, len(config.variants))
    remaining = whole.without(accounts.committed(whole, output, tables))
    started = time.monotonic()
    if remaining.parts:
        print(f"screening {remaining.rows:,} of {whole.rows:,} images in {len(remaining.chunks):,} chunks", flush=True)
        if not ray.is_initialized():
            ray.init()
        if config.gpu:
            graph.check_gpus()
        read = {"manifest": config.manifest, "checkpoint": config.checkpoint}
        nodes.check(read, {"output": output}, remaining)
        run_record.sign(output, config.model_dump(mode="json"))
        frame, model_id = loaded.config.frame, loaded.model_id
        with monitor.lines("screened", remaining, storage.join(output, tables.main), silent=graph.in_an_actor()):
            screen_pipeline.screen(
                config, remaining, frame, model_id, operating_point, temperatures, run_id, cpus, tally
            )
    seconds = time.monotonic() - started
    if tally is not None:
        tally.add(GRAPH, seconds)

    taken = settle(whole, output, tables)
    if results.write_queue(output, config.manifest, config.queue, written_point):
        print("the review queue was built from the tables")
    if config.compact and taken.balanced:
        print(f"larger files: {compact.write(whole, output, (tables.main, *tables.sides))}")
    drifted = drift.write(output, config.manifest, loaded.model_id, loaded.reference, temperatures)
    print(results.summary(taken, output, remaining.rows, seconds))
    print("\n".join(drift_words.lines(drifted)))
    return taken
