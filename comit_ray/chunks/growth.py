"""Decides whether a manifest asks the same question as an output, with more chunks: then only these are screened.

An output belongs to one question, and the manifest is part of it, chunk by chunk. `OUTPUT/asked/FINGERPRINT.parquet`
holds name, rows and digest of every chunk of each manifest that was asked. A manifest that has all of these, and more,
is the same question grown: only what is new is screened. One that lost or changed a chunk is another question. Of
outputs that are older than these lists it is enough that the new manifest begins with the old one.
"""

from typing import Any

import pyarrow as pa

from comit_ray.chunks import run_record
from comit_ray.chunks.plan import Plan
from comit_ray.errors import ConfigError, NotFoundError
from comit_ray.storage import storage
from comit_ray.tables import parquet

DIRECTORY = "asked"
EXAMPLES = 3
SCHEMA = pa.schema([("file", pa.string()), ("rows", pa.int64()), ("digest", pa.string())])


def open_run(output: str, question: dict[str, Any], settings: dict[str, Any], main: str, plan: Plan) -> str:
    """As `run_record.open_run`, where the manifest may have grown; the id of the run.

    Args:
        output: URI of the results directory.
        question: what decides the results; its `manifest` is the plan's fingerprint.
        settings: everything else that was asked, for the record.
        main: name of the output's main table.
        plan: of the whole manifest.

    Raises:
        ConfigError: the directory holds the answers to another question, or the manifest has lost or changed chunks.
        StorageError: the record, or the list of the chunks that were asked, cannot be read or written.
    """
    try:
        before = str(run_record.read(output)["question"].get("manifest"))
    except NotFoundError:
        before = plan.fingerprint
    if before == plan.fingerprint:
        run_id = run_record.open_run(output, question, settings, main)
        _remember(output, plan)
        return run_id
    asked = _asked(output, before)
    if asked is None and before not in plan.prefixes:
        return run_record.open_run(output, question, settings, main)  # which refuses it, and says what differs
    if asked is not None:
        _refuse_other(output, asked, plan)
    run_id = run_record.open_run(output, question | {"manifest": before}, settings, main)
    _remember(output, plan)
    run_record.grow(output, plan.fingerprint, len(plan.chunks), plan.rows)
    return run_id


def _uri(output: str, fingerprint: str) -> str:
    return storage.join(output, DIRECTORY, f"{fingerprint}.parquet")


def _remember(output: str, plan: Plan) -> None:
    """Put the list of the plan's chunks, before the record says that they are asked."""
    uri = _uri(output, plan.fingerprint)
    if storage.exists(uri):
        return
    chunks = plan.chunks
    columns = [[c.file for c in chunks], [c.rows for c in chunks], [c.digest for c in chunks]]
    parquet.write_table(
        uri, pa.table([pa.array(of, field.type) for of, field in zip(columns, SCHEMA, strict=True)], SCHEMA)
    )


def _asked(output: str, fingerprint: str) -> dict[str, tuple[int, str]] | None:
    """File -> rows and digest of the chunks of an earlier manifest; None: no list of them was kept."""
    try:
        table = parquet.read_part(_uri(output, fingerprint))
    except NotFoundError:
        return None
    columns = (table[name].to_pylist() for name in SCHEMA.names)
    return {file: (rows, digest) for file, rows, digest in zip(*columns, strict=True)}


def _refuse_other(output: str, asked: dict[str, tuple[int, str]], plan: Plan) -> None:
    """Refuse a manifest that lacks chunks that were asked, or in which they are others.

    Raises:
        ConfigError: it does.
    """
    now = {chunk.file: (chunk.rows, chunk.digest) for chunk in plan.chunks}
    lost = sorted(asked.keys() - now.keys())
    changed = sorted(file for file in asked.keys() & now.keys() if asked[file] != now[file])
    if not lost and not changed:
        return
    names = [file.rpartition("-")[0] for file in [*lost, *changed][:EXAMPLES]]
    images = sum(asked[file][0] for file in [*lost, *changed])
    raise ConfigError(
        f"{output} belongs to another question: of the {len(asked):,} chunks of its manifest this one lacks "
        f"{len(lost):,} and has {len(changed):,} with other exclusions, views, sidecars or checksums "
        f"({images:,} images; such as {', '.join(names)}). A manifest may grow (`comit-ray manifest --update true`) "
        "and not lose or change rows: choose another --output"
    )
