"""Runs an export as a Ray Data job with one row per chunk; each task writes the rows of its own chunk."""

import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from comit_ray.chunks import graph, nodes, ray_start
from comit_ray.chunks.plan import from_ipc, to_ipc
from comit_ray.config.export_config import ExportConfig
from comit_ray.dicom.destination import Pace
from comit_ray.dicom.export import Export, ExportCounts, export_unit
from comit_ray.dicom.result import Naming
from comit_ray.dicom.selection import Unit, units
from comit_ray.errors import StorageError
from comit_ray.screening.run_settings import recorded_operating_point
from comit_ray.storage import storage, web
from comit_ray.tables import parquet
from comit_ray.tables.vocabulary import counted

WORKER_CPUS = 0.5
"""CPUs that a task reserves. Making objects takes about as long as a server takes to store them."""

_COUNTS = ("done", "stored", "refused")


def run(config: ExportConfig) -> int:
    """Export the selected results, and print the counts.

    Returns:
        The exit status: 0 if every object is stored, else 1.

    Raises:
        ConfigError: an option is wrong.
        StorageError: a table cannot be read or written, or the server does not answer.
        ray.exceptions.RayError: a task failed more often than Ray retries it.
    """
    export = exporting(config)
    chunks = list(units(config))
    # Read them once, because the reading room stores every verdict as a file.
    said = (
        pa.table({"image_id": pa.array([], pa.string())})
        if config.reviews is None
        else parquet.read_table(config.reviews)
    )
    work = [
        {"file": one.file, "places": to_ipc(one.places).to_pybytes(), "reviews": _of_chunk(said, one)} for one in chunks
    ]
    if not work:
        print("no image is selected, so there is nothing to export")
        return 0
    ray_start.start()
    outputs = {"results": export.results} | ({} if export.to_pacs else {"output": export.destination})
    nodes.check({"manifest": config.manifest}, outputs, pa.concat_tables([one.places for one in chunks]))
    began = time.monotonic()
    chunk_count = counted(len(work), "chunk")
    print(f"exporting {', '.join(export.formats)} of {chunk_count} to {export.destination}", flush=True)
    with graph.chunk_context():
        exported = ray.data.from_items(work, override_num_blocks=len(work)).map_batches(
            _Worker(export),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=min(WORKER_CPUS, _cpus() / config.workers),
            concurrency=config.workers,
        )
        totals = dict.fromkeys(_COUNTS, 0)
        for row in exported.iter_rows():
            if row["problem"]:
                raise StorageError(f"{row['problem']}; run the job again: objects that are stored are not sent twice")
            for name in totals:
                totals[name] += row[name]
    seconds = time.monotonic() - began
    print(f"objects stored: {totals['stored']:,}, stored before: {totals['done']:,}, refused: {totals['refused']:,}")
    if totals["stored"]:
        print(f"{totals['stored'] / seconds:.1f} objects/s ({seconds:.1f} s, including start-up)")
    print(f"exports: {export.table}")
    if totals["refused"]:
        print("their rows in exports give the reason; the same command tries refused objects again")
    return 1 if totals["refused"] else 0


def exporting(config: ExportConfig) -> Export:
    """Turn the options into the facts that tasks need.

    Raises:
        StorageError: the results have no record of their run.
        ConfigError: the server's URL is not valid, or holds a password.
    """
    results = storage.normalise(config.results)
    return Export(
        results=results,
        destination=storage.normalise(config.output) if config.output else web.check_root(str(config.dicomweb)),
        to_pacs=config.dicomweb is not None,
        formats=config.formats,
        naming=Naming(config.series_description, config.series_number, version("comit-ray")),
        thresholds=recorded_operating_point(results).thresholds,
        limits=config.decode,
        rate=None if config.rate is None else config.rate / config.workers,
    )


class _Worker:
    """Takes one row (a chunk) and yields one row (its counts). It writes the chunk's rows of `exports/` meanwhile."""

    def __init__(self, export: Export) -> None:
        self._export = export

    def __call__(self, chunk: pa.Table) -> Iterator[pa.Table]:
        """Export one chunk. A retry starts from the rows that the chunk has."""
        unit = Unit(chunk["file"][0].as_py(), from_ipc(chunk["places"][0].as_py()))
        reviews: dict[str, list[dict[str, Any]]] = {}
        for row in from_ipc(chunk["reviews"][0].as_py()).to_pylist():
            reviews.setdefault(row["image_id"], []).append(row)
        try:
            counts, problem = export_unit(self._export, unit, reviews, Pace(self._export.rate)), ""
        except StorageError as error:  # returned as a value: Ray would retry, and storage has retried already
            counts, problem = ExportCounts(0, 0, 0), str(error)
        yield pa.table({name: [getattr(counts, name)] for name in _COUNTS} | {"problem": [problem]})


def _of_chunk(said: pa.Table, unit: Unit) -> bytes:
    """Return the verdicts on a chunk's images."""
    mine = pc.is_in(said["image_id"], value_set=unit.places["image_id"].combine_chunks())
    return bytes(to_ipc(said.filter(mine)))


def _cpus() -> float:
    return float(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
