"""Decides whether a manifest is the earlier one with more chunks; if so, only the new chunks are screened.

The manifest is part of an output's run settings, chunk by chunk. `OUTPUT/asked/FINGERPRINT.parquet` holds name, rows
and digest of every chunk of each manifest that the output was asked for. A manifest with all of these chunks, and more,
is the earlier manifest after growth, and only its new chunks are screened. A manifest that lost or changed a chunk is
refused. Outputs of older versions have no such list: the new manifest then has to begin with the old one.
"""

from typing import Any

import pyarrow as pa

from comit_ray.chunks import run_record
from comit_ray.chunks.plan import Plan
from comit_ray.errors import ConfigError, NotFoundError
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.tables.vocabulary import counted

DIRECTORY = "asked"
EXAMPLES = 3
SCHEMA = pa.schema([("file", pa.string()), ("rows", pa.int64()), ("digest", pa.string())])


def open_run(output: str, question: dict[str, Any], settings: dict[str, Any], main: str, plan: Plan) -> str:
    """Opens the run of an output as `run_record.open_run` does, but accepts a grown manifest; returns the run id.

    Args:
        output: URI of the results directory.
        question: the settings that decide the results; its `manifest` is the plan's fingerprint.
        settings: all other settings, for the record.
        main: name of the output's main table.
        plan: plan of the whole manifest.

    Raises:
        ConfigError: the directory was made with other settings, or the manifest has lost or changed chunks.
        StorageError: the record, or the list of earlier chunks, cannot be read or written.
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
        return run_record.open_run(output, question, settings, main)  # refuses the manifest, and says what differs
    if asked is not None:
        _refuse_other(output, asked, plan)
    run_id = run_record.open_run(output, question | {"manifest": before}, settings, main)
    _remember(output, plan)
    run_record.grow(output, plan.fingerprint, len(plan.chunks), plan.rows)
    return run_id


def _uri(output: str, fingerprint: str) -> str:
    return storage.join(output, DIRECTORY, f"{fingerprint}.parquet")


def _remember(output: str, plan: Plan) -> None:
    """Writes the list of the plan's chunks; this comes before the record names the manifest."""
    uri = _uri(output, plan.fingerprint)
    if storage.exists(uri):
        return
    chunks = plan.chunks
    columns = [[c.file for c in chunks], [c.rows for c in chunks], [c.digest for c in chunks]]
    parquet.write_table(
        uri, pa.table([pa.array(of, field.type) for of, field in zip(columns, SCHEMA, strict=True)], SCHEMA)
    )


def _asked(output: str, fingerprint: str) -> dict[str, tuple[int, str]] | None:
    """Returns file name -> (rows, digest) for the chunks of an earlier manifest, or None if no list was kept."""
    try:
        table = parquet.read_part(_uri(output, fingerprint))
    except NotFoundError:
        return None
    columns = (table[name].to_pylist() for name in SCHEMA.names)
    return {file: (rows, digest) for file, rows, digest in zip(*columns, strict=True)}


def _refuse_other(output: str, asked: dict[str, tuple[int, str]], plan: Plan) -> None:
    """Refuses a manifest that lacks earlier chunks or has changed them.

    Raises:
        ConfigError: chunks are missing or changed.
    """
    now = {chunk.file: (chunk.rows, chunk.digest) for chunk in plan.chunks}
    lost = sorted(asked.keys() - now.keys())
    changed = sorted(file for file in asked.keys() & now.keys() if asked[file] != now[file])
    if not lost and not changed:
        return
    names = [file.rpartition("-")[0] for file in [*lost, *changed][:EXAMPLES]]
    images = sum(asked[file][0] for file in [*lost, *changed])
    raise ConfigError(
        f"{output} was made with another manifest: of the {counted(len(asked), 'chunk')} of that manifest, this one "
        f"lacks {len(lost):,} and has {len(changed):,} with other exclusions, views, sidecars or checksums "
        f"({counted(images, 'image')}; such as {', '.join(names)}). A manifest may grow (`comit-ray manifest --update "
        "true`), but must not lose or change rows: choose another --output"
    )
