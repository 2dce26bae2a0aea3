"""Decodes the radiographs of a manifest once into a training table; a rerun processes only the missing chunks."""

import time

from comit_ray.chunks import accounts, nodes, ownership, plan, progress, ray_start, run_record
from comit_ray.chunks.accounts import Accounts, settle
from comit_ray.chunks.ownership import Owner
from comit_ray.config.prepare_config import PrepareConfig
from comit_ray.data.manifest import manifest
from comit_ray.prepare import other_pictures, prepare_pipeline, prepared
from comit_ray.prepare.prepare_pipeline import LAYOUT
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import counted


def prepare(config: PrepareConfig) -> Accounts:
    """Makes the training table, or its missing chunks, and returns the counts of the whole table.

    Raises:
        ConfigError: the output was made with other settings, or not all nodes see a local path.
        ManifestError: the manifest is incomplete.
        StorageError: the output cannot be written, or its tables cannot be read.
    """
    output = storage.normalise(config.output)
    whole = plan.make_plan(config.manifest, "all")
    rows = manifest.read(config.manifest)
    question = {
        "kind": prepared.KIND,
        "manifest": whole.fingerprint,
        "training_hash": manifest.training_hash(rows),
        "rows": whole.rows,
        "format": config.format,
        "decode": config.decode.question(),
    }
    run_record.open_run(output, question, config.model_dump(), LAYOUT.main)
    owner = Owner.of(run_record.read(output))
    remaining = whole.without(accounts.committed(whole, output, LAYOUT, owner, config.retry))
    started = time.monotonic()
    if remaining.parts:
        chunks = counted(len(remaining.chunks), "chunk")
        print(f"preparing {remaining.rows:,} of {counted(whole.rows, 'image')} in {chunks}", flush=True)
        ray_start.start()
        nodes.check({"manifest": config.manifest}, {"output": output}, remaining)
        run_record.sign(output, config.model_dump(mode="json"))
        owner = ownership.take_lease(output, owner)
        with progress.lines("prepared", remaining, storage.join(output, LAYOUT.main)):
            begun, others = accounts.begun(remaining, output, LAYOUT), other_pictures.share_of(rows)
            prepare_pipeline.prepare(config, remaining, owner, begun, others)
    seconds = time.monotonic() - started

    taken = settle(whole, output, LAYOUT, owner)
    print(prepared.describe(output))
    if remaining.rows:
        rate = f"{remaining.rows / seconds:.1f} per second, start-up included"
        print(f"{counted(remaining.rows, 'image')} in {seconds:.1f} s ({rate})")
    else:
        print("nothing was left to do: every chunk of the manifest is committed")
    for line in [
        *taken.refused,
        *taken.too_many_failed(config.max_failed_share),
        *(f"PROBLEM: {problem}" for problem in taken.problems),
    ]:
        print(line)
    if not taken.balanced:
        print("the counts do NOT balance: run the same command again to process what is missing")
    return taken
