"""Runs an export as a Ray Data job: one row per chunk; each task commits its own rows."""

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

WORKER_CPUS = 0.5
"""That a task reserves: making objects takes about as long as a server takes to store them."""

_COUNTS = ("done", "stored", "refused")


def run(config: ExportConfig) -> int:
    """Export what is selected; exit status 0 only if every object is stored.

    Raises:
        ConfigError: a wrong option.
        StorageError: a table cannot be read or written, or the server stays away.
        ray.exceptions.RayError: a task failed more often than Ray retries it.
    """
    export = exporting(config)
    chunks = list(units(config))
    # Read once: in a reading room's results every verdict is a file of its own.
    said = (
        pa.table({"image_id": pa.array([], pa.string())})
        if config.reviews is None
        else parquet.read_table(config.reviews)
    )
    work = [
        {"file": one.file, "places": to_ipc(one.places).to_pybytes(), "reviews": _of_chunk(said, one)} for one in chunks
    ]
    if not work:
        print("no image is selected: nothing to export")
        return 0
    ray_start.start()
    outputs = {"results": export.results} | ({} if export.to_pacs else {"output": export.destination})
    nodes.check({"manifest": config.manifest}, outputs, pa.concat_tables([one.places for one in chunks]))
    began = time.monotonic()
    print(f"exporting {', '.join(export.formats)} of {len(work):,} chunks to {export.destination}", flush=True)
    with graph.chunk_context():
        counted = ray.data.from_items(work, override_num_blocks=len(work)).map_batches(
            _Worker(export),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=min(WORKER_CPUS, _cpus() / config.workers),
            concurrency=config.workers,
        )
        totals = dict.fromkeys(_COUNTS, 0)
        for row in counted.iter_rows():
            if row["problem"]:
                raise StorageError(f"{row['problem']}; what was stored until then is not sent twice: run it again")
            for name in totals:
                totals[name] += row[name]
    seconds = time.monotonic() - began
    print(f"{totals['stored']:,} objects stored, {totals['done']:,} were before, {totals['refused']:,} refused")
    if totals["stored"]:
        print(f"{totals['stored'] / seconds:.1f} objects/s ({seconds:.1f} s, start-up included)")
    print(f"exports: {export.table}")
    if totals["refused"]:
        print("some objects were refused: their rows in exports have the reason; the same command tries them again")
    return 1 if totals["refused"] else 0


def exporting(config: ExportConfig) -> Export:
    """The job as its tasks take it.

    Raises:
        StorageError: the results have no record of their run.
        ConfigError: the server's URL is none, or holds a password.
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
    """INPUT: one row, a chunk. OUTPUT: one row, its counts. Rows of `exports/` are written on the way."""

    def __init__(self, export: Export) -> None:
        self._export = export

    def __call__(self, chunk: pa.Table) -> Iterator[pa.Table]:
        """Export one chunk; a retry begins with what its rows say."""
        unit = Unit(chunk["file"][0].as_py(), from_ipc(chunk["places"][0].as_py()))
        reviews: dict[str, list[dict[str, Any]]] = {}
        for row in from_ipc(chunk["reviews"][0].as_py()).to_pylist():
            reviews.setdefault(row["image_id"], []).append(row)
        try:
            counts, problem = export_unit(self._export, unit, reviews, Pace(self._export.rate)), ""
        except StorageError as error:  # told as a value: Ray would try again what has waited long enough
            counts, problem = ExportCounts(0, 0, 0), str(error)
        yield pa.table({name: [getattr(counts, name)] for name in _COUNTS} | {"problem": [problem]})


def _of_chunk(said: pa.Table, unit: Unit) -> bytes:
    """The readers' rows of a chunk's images."""
    mine = pc.is_in(said["image_id"], value_set=unit.places["image_id"].combine_chunks())
    return bytes(to_ipc(said.filter(mine)))


def _cpus() -> float:
    return float(ray.cluster_resources().get("CPU", 1))  # type: ignore[no-untyped-call]
