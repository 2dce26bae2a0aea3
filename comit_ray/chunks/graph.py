"""The steps of a Ray Data graph that every chunked job shares: read manifest parts first, commit files last."""

import json
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
from ray.data import DataContext, Dataset, Datasink, TaskPoolStrategy
from ray.data.block import Block
from ray.data.datasource import WriteResult

from comit_ray.chunks import plan as chunk
from comit_ray.chunks import ray_start, stopping
from comit_ray.chunks.accounts import keep_scored
from comit_ray.chunks.attempts import Attempts
from comit_ray.chunks.ownership import Owner
from comit_ray.chunks.plan import DECODE, FETCH, MEASURE, WRITE, Layout, Plan, select
from comit_ray.chunks.progress import Counters
from comit_ray.chunks.reading import Row, Spent, nothing_else, read_part
from comit_ray.data.manifest.manifest_updates import Marks
from comit_ray.errors import ConfigError, DecodeError, OvertakenError, StorageError
from comit_ray.storage.file_reader import FileReader
from comit_ray.tables import parquet

WAITS_S = (2.0, 10.0, 30.0)
"""Seconds between attempts to write a chunk, and between attempts to read a manifest part."""
READ_CPUS, WRITE_CPUS = 0.5, 0.5
READ_MEMORY, WRITE_MEMORY = 2**30, 3 * 2**28
"""Bytes that each task reserves, so that Ray places no more tasks on a node than its memory holds (docs/sizing.md).

Writing uses about 0.6 GiB: the process may have read before, and keeps some of that memory.
"""


@dataclass(frozen=True)
class Node:
    """Resources of one machine of the cluster: CPUs, GPUs, and bytes of memory (0 if Ray does not say)."""

    cpus: float
    gpus: float
    memory: float


def nodes_there() -> list[Node]:
    """Returns the live machines of the cluster to which this process is connected."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [Node(*(float(there.get(name, 0)) for name in ("CPU", "GPU", "memory"))) for there in alive]


@dataclass(frozen=True)
class ReadSettings:
    """Settings for reading the rows of manifest parts; they are passed to the tasks.

    Attributes:
        columns: columns of the manifest that reading needs.
        split: split to read; `all` reads every row.
        read: turns a manifest row into a result row; see `comit_ray.chunks.reading.read_part`.
        fail: turns a manifest row into a failed row, for archives that do not match their checksum.
        to_table: turns the result rows of a chunk into its table.
        threads: number of threads that fetch and decode.
        max_bytes: largest size of one file in bytes.
        name: name of the packed table.
        also_wanted: lists further files of a row that `read` asks for, such as masks.
    """

    columns: Sequence[str]
    split: str
    read: Callable[[Row, FileReader], Row]
    fail: Callable[[Row, DecodeError], Row]
    to_table: Callable[[Sequence[Row]], pa.Table]
    threads: int
    max_bytes: int
    name: str
    also_wanted: Callable[[Row], Iterable[Any]] = nothing_else


class ReadParts:
    """Stage 1: fetches and decodes the images of a manifest part.

    INPUT: one row, a manifest part with its remaining chunks. OUTPUT: one row per chunk. FAN-OUT: 1 part -> its chunks.
    Each chunk is yielded as soon as it is complete, so that later stages start before the whole part is read.

    Args:
        settings: what to read, and how.
        counters: counters of the job.
        attempts: counts the processes that die while they read a chunk; None: nobody counts.
    """

    def __init__(self, settings: ReadSettings, counters: Counters, attempts: Attempts | None = None) -> None:
        self.settings, self.counters, self.attempts = settings, counters, attempts

    def __call__(self, part: pa.Table) -> Iterator[pa.Table]:
        """Yields the packed chunks of one part."""

        def told(spent: Spent) -> None:
            self.counters.stage(FETCH, spent.fetching, spent.size, batches=1)
            self.counters.stage(DECODE, spent.decoding, batches=1)

        files: dict[str, str] = dict(zip(part["chunks"][0].as_py(), part["files"][0].as_py(), strict=True))
        asked = self.settings
        rows = self._rows(part["uri"][0].as_py())
        if rows is None:
            return
        rows = Marks(dict.fromkeys(json.loads(part["superseded"][0].as_py()), ""), {}).excluding(rows)

        def begun(name: str) -> int:
            return 0 if self.attempts is None else self.attempts.begin(f"read {files[name]}")

        for name, results in read_part(
            rows, files, asked.read, asked.fail, asked.threads, asked.max_bytes, asked.also_wanted, told, begun
        ):
            yield chunk.pack(files[name], {asked.name: asked.to_table(results)})
            if self.attempts is not None:
                self.attempts.end(f"read {files[name]}")

    def _rows(self, uri: str) -> pa.Table | None:
        """Reads the rows of a manifest part; None if the storage fails: its chunks wait for the next run."""
        for seconds in (*WAITS_S, None):
            try:
                return select(parquet.read_part(uri, list(self.settings.columns)), self.settings.split)
            except StorageError as error:
                if seconds is None:
                    print(f"a part of the manifest cannot be read; the next run reads it again: {error}", flush=True)
                else:
                    time.sleep(seconds)
        return None


class Commit(Datasink[list[str]]):
    """Last stage: commits the files of each chunk, the main table's file last.

    INPUT: packed chunks, one per row. OUTPUT: their files. FAN-OUT: one file per table for each chunk.

    Args:
        output: URI of the results.
        layout: the tables of the output.
        counters: counters of the job.
        owner: the run that the files belong to.
        begun: names of chunk files that exist already; rows in them that are ok are not replaced by failures.
        measure: turns a chunk's tables into the tables to write; None writes them unchanged.
    """

    def __init__(
        self,
        output: str,
        layout: Layout,
        counters: Counters,
        owner: Owner,
        begun: frozenset[str] = frozenset(),
        measure: Callable[[dict[str, pa.Table]], dict[str, pa.Table]] | None = None,
    ) -> None:
        self.output, self.layout, self.counters, self.measure = output, layout, counters, measure
        self.owner, self.begun = owner, begun

    def write(self, blocks: Iterable[Block], ctx: Any) -> list[str]:
        """Commits every chunk of the task's blocks; a retry writes the same file names again."""
        files = []
        for block in blocks:
            assert isinstance(block, pa.Table), f"blocks come from a pyarrow stage, got {type(block)}"
            for index in range(block.num_rows):
                file, tables = chunk.unpack(block.slice(index, 1))
                if self.measure is not None:
                    with self.counters.timed(MEASURE):
                        tables = self.measure(tables)
                if file in self.begun:
                    tables = keep_scored(self.output, file, tables, self.layout, self.owner)
                with self.counters.timed(WRITE, sum(table.nbytes for table in tables.values())):
                    self._commit(file, tables)
                self.counters.images(tables[self.layout.main])
                files.append(file)
        return files

    def _commit(self, file: str, tables: dict[str, pa.Table]) -> None:
        """Commits a chunk; an error of the storage is retried, so that one failed write does not lose the work."""
        for seconds in (*WAITS_S, None):
            try:
                chunk.commit(self.output, file, tables, self.layout, self.owner)
                return
            except OvertakenError:
                raise
            except StorageError as error:
                if seconds is None:
                    raise
                print(f"chunk {file} could not be written; next attempt in {seconds:g} s: {error}", flush=True)
                time.sleep(seconds)

    def on_write_complete(self, write_result: WriteResult[list[str]]) -> None:
        """Does nothing, because a chunk is committed as soon as its file appears."""


@contextmanager
def chunk_context(cpus: float | None = None) -> Iterator[None]:
    """Provides a Ray Data context in which each yielded chunk is a block of its own and moves on at once.

    Args:
        cpus: CPUs of the cluster that all stages together may use; None: all of them.
    """
    stopping.renew()  # Ray runs by now and has installed its own handlers
    context = DataContext.get_current().copy()
    context.target_max_block_size = 1
    context.enable_progress_bars = False  # `comit_ray.chunks.progress` prints one line instead of Ray's eight
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    if cpus is not None:
        context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(cpu=cpus)
    with DataContext.current(context):
        yield


def tell_little() -> None:
    """Limits Ray Data's output for later datasets to warnings and errors, with bars on a terminal only."""
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    DataContext.get_current().enable_progress_bars = sys.stdout.isatty()


def in_an_actor() -> bool:
    """Whether this job runs inside a Ray actor, such as a trial of a sweep."""
    return ray.is_initialized() and ray.get_runtime_context().get_actor_id() is not None


def rows_of(plan: Plan) -> list[dict[str, Any]]:
    """Returns one row per manifest part: its URI, its chunks, their file names, and the ids of superseded images."""
    return [
        {
            "uri": part.uri,
            "chunks": [chunk.chunk for chunk in part.chunks],
            "files": [chunk.file for chunk in part.chunks],
            "superseded": json.dumps(
                part.superseded
            ),  # as text, because blocks would disagree on the type of an empty list
        }
        for part in plan.parts
    ]


def parts_of(plan: Plan) -> Dataset:
    """Returns the rows of the manifest parts as a dataset with one part per block."""
    return ray.data.from_items(rows_of(plan), override_num_blocks=len(plan.parts))


def read(plan: Plan, reading: ReadParts, cpus: float, memory: float, at_most: int | None = None) -> Dataset:
    """Builds the beginning of a graph, which yields every chunk of the plan as a row.

    Args:
        plan: the chunks to process.
        reading: the stage that reads a manifest part.
        cpus: CPUs that each task reserves.
        memory: share (0 to 1) of `READ_MEMORY` that each task reserves.
        at_most: largest number of tasks at a time; None: as many as have room.
    """
    return parts_of(plan).map_batches(
        reading,
        batch_size=1,
        batch_format="pyarrow",
        compute=TaskPoolStrategy(at_most),
        num_cpus=cpus,
        memory=READ_MEMORY * memory,
    )


def write(chunks: Dataset, commit: Commit, share: float, memory: float, at_most: int | None = None) -> None:
    """Adds the last stage of a graph and runs the graph.

    Args:
        chunks: packed chunks, as `commit` expects them.
        commit: the stage that commits them.
        share: share (0 to 1) of `WRITE_CPUS` that each task reserves.
        memory: share (0 to 1) of `WRITE_MEMORY` that each task reserves.
        at_most: largest number of tasks at a time; None: as many as have room.
    """
    reserved = {"num_cpus": WRITE_CPUS * share, "memory": WRITE_MEMORY * memory}
    chunks.write_datasink(commit, ray_remote_args=reserved, concurrency=at_most)


def check_gpus_here(option: str = "--gpu") -> None:
    """Refuses a job that needs a GPU before Ray starts, where Ray would start on this machine alone and it has no GPU.

    Starting Ray takes half a minute, so the error comes earlier this way.

    Args:
        option: the option that asks for GPUs, with its dashes.

    Raises:
        ConfigError: Ray would start on this machine, and torch finds no GPU on it.
    """
    if not ray_start.starts_here():
        return
    import torch  # imported late: reading and decoding use this module without torch

    if not torch.cuda.is_available():
        raise ConfigError(f"{option} yes: there is no GPU on this machine: leave the option out to compute on CPUs")


def check_gpus() -> None:
    """Prints a line if predictors will wait for a GPU, and refuses where there can never be one.

    Raises:
        ConfigError: this machine is the whole cluster and has no GPU.
    """
    if ray.cluster_resources().get("GPU"):  # type: ignore[no-untyped-call]
        return
    if len(ray.nodes()) == 1:  # type: ignore[no-untyped-call]
        raise ConfigError("--gpu true: Ray finds no GPU on this machine: leave the option out to predict on CPUs")
    print("no node of the cluster has a GPU yet: predictors wait for a node with a GPU", flush=True)


def cpu_share(wanted: float, held: float | None = None) -> float:
    """Returns the factor (0 to 1) by which the CPUs of every stage are multiplied.

    Without it, a single machine with few CPUs would wait for ever. A cluster may still grow, so its factor is 1.

    Args:
        wanted: CPUs that all stages together want.
        held: CPUs that they may use where other work runs beside them; None: all.
    """
    if held is not None:
        return min(1.0, held / wanted)
    return _share("CPU", wanted)


def memory_share(wanted: float, held: float | None = None) -> float:
    """Returns the factor (0 to 1) for the memory of every stage; 0 beside other work, which reserves no memory either.

    Args:
        wanted: bytes that all stages together want.
        held: CPUs that they may use where other work runs beside them; None: all.
    """
    return 0.0 if held is not None else _share("memory", wanted)


def _share(resource: str, wanted: float) -> float:
    there = float(ray.cluster_resources().get(resource, 0))  # type: ignore[no-untyped-call]
    alone = len(ray.nodes()) == 1  # type: ignore[no-untyped-call]
    return there / wanted if alone and 0 < there < wanted else 1.0
