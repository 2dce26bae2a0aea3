"""The parts of a Ray Data graph that every chunked job shares: manifest parts first, committed files last."""

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
"""Seconds between the tries to write a chunk, and to read a part of the manifest."""
READ_CPUS, WRITE_CPUS = 0.5, 0.5
READ_MEMORY, WRITE_MEMORY = 2**30, 3 * 2**28
"""Bytes that a task reserves, so that Ray puts no more of them on a node than it holds (docs/sizing.md).

Writing 0.6 GiB: its process may have read before, and keeps some of what that took.
"""


@dataclass(frozen=True)
class Node:
    """What a machine of the cluster offers to tasks: CPUs, GPUs, and bytes of memory (0: Ray does not say)."""

    cpus: float
    gpus: float
    memory: float


def nodes_there() -> list[Node]:
    """The machines of the cluster that this process is connected to."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [Node(*(float(there.get(name, 0)) for name in ("CPU", "GPU", "memory"))) for there in alive]


@dataclass(frozen=True)
class ReadSettings:
    """How the rows of manifest parts are read; it travels to the tasks.

    Attributes:
        columns: of the manifest that reading needs.
        split: of the manifest; all: every row.
        read: see `comit_ray.chunks.reading.read_part`; so are `fail`, `threads`, `max_bytes` and `also_wanted`.
        fail: a row that is not what its archive's checksum says.
        to_table: what `read` and `fail` gave for the rows of a chunk, as its table.
        threads: that fetch and decode.
        max_bytes: of one file.
        name: of the packed table.
        also_wanted: further files that `read` asks for.
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
    """Stage 1. INPUT: one row, a manifest part and its remaining chunks. OUTPUT: a row per chunk, fetched and decoded.

    FAN-OUT: 1 part -> its chunks, each yielded as soon as it is full, so that what follows starts before the part is
    read.

    Args:
        settings: what is read, and how.
        counters: of the job.
        attempts: counts the processes that end over a chunk; None: nobody does.
    """

    def __init__(self, settings: ReadSettings, counters: Counters, attempts: Attempts | None = None) -> None:
        self.settings, self.counters, self.attempts = settings, counters, attempts

    def __call__(self, part: pa.Table) -> Iterator[pa.Table]:
        """The chunks of one part."""

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
        """The rows of a manifest part; None: the storage does not give it. Its chunks stay undone, the others go on."""
        for seconds in (*WAITS_S, None):
            try:
                return select(parquet.read_part(uri, list(self.settings.columns)), self.settings.split)
            except StorageError as error:
                if seconds is None:
                    print(f"a part of the manifest cannot be read, and its images are left undone: {error}", flush=True)
                else:
                    time.sleep(seconds)
        return None


class Commit(Datasink[list[str]]):
    """Last stage. INPUT: rows of chunks. OUTPUT: their files, the main table's last. FAN-OUT: 1 -> a table.

    Args:
        output: URI.
        layout: of the tables.
        counters: of the job.
        owner: whose the files are.
        begun: files of chunks that are there already: their rows that are ok are not replaced by failures.
        measure: makes of a chunk's tables those that are written; None: they are.
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
        """Commit every chunk of the task's blocks; a retry writes the same names again."""
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
        """Commit, and do it again where the storage failed: the work of a chunk is not lost for one PUT."""
        for seconds in (*WAITS_S, None):
            try:
                chunk.commit(self.output, file, tables, self.layout, self.owner)
                return
            except OvertakenError:
                raise
            except StorageError as error:
                if seconds is None:
                    raise
                print(f"chunk {file} could not be written, and is written again in {seconds:g} s: {error}", flush=True)
                time.sleep(seconds)

    def on_write_complete(self, write_result: WriteResult[list[str]]) -> None:
        """Nothing to do: a chunk was committed when its file appeared."""


@contextmanager
def chunk_context(cpus: float | None = None) -> Iterator[None]:
    """A Ray Data context in which every yielded chunk is a block of its own and goes on at once.

    Args:
        cpus: of the cluster that its stages may hold together; None: all.
    """
    stopping.renew()  # Ray runs by now, and has put handlers of its own in place
    context = DataContext.get_current().copy()
    context.target_max_block_size = 1
    context.enable_progress_bars = False  # Ray says it in eight lines, `comit_ray.chunks.progress` in one
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    if cpus is not None:
        context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(cpu=cpus)
    with DataContext.current(context):
        yield


def tell_little() -> None:
    """Of the datasets made after this: bars of Ray Data on a terminal alone, and a log of what is wrong alone."""
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    DataContext.get_current().enable_progress_bars = sys.stdout.isatty()


def in_an_actor() -> bool:
    """Whether this is a job inside another one, as a trial of a sweep."""
    return ray.is_initialized() and ray.get_runtime_context().get_actor_id() is not None


def rows_of(plan: Plan) -> list[dict[str, Any]]:
    """One row for every part: URI, its chunks and their files, images that are superseded."""
    return [
        {
            "uri": part.uri,
            "chunks": [chunk.chunk for chunk in part.chunks],
            "files": [chunk.file for chunk in part.chunks],
            "superseded": json.dumps(part.superseded),  # an empty list has no type that blocks agree on
        }
        for part in plan.parts
    ]


def parts_of(plan: Plan) -> Dataset:
    """The rows of the parts as a dataset, each in a block of its own."""
    return ray.data.from_items(rows_of(plan), override_num_blocks=len(plan.parts))


def read(plan: Plan, reading: ReadParts, cpus: float, memory: float, at_most: int | None = None) -> Dataset:
    """The beginning of a graph: every chunk of the plan as a row.

    Args:
        plan: what is to do.
        reading: the stage.
        cpus: that a task reserves.
        memory: share of `READ_MEMORY` that it reserves.
        at_most: tasks at a time; None: as many as find room.
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
    """The end of a graph, which runs it.

    Args:
        chunks: what `commit` takes.
        commit: the stage.
        share: of `WRITE_CPUS` that a task reserves.
        memory: share of `WRITE_MEMORY` that it reserves.
        at_most: tasks at a time; None: as many as find room.
    """
    reserved = {"num_cpus": WRITE_CPUS * share, "memory": WRITE_MEMORY * memory}
    chunks.write_datasink(commit, ray_remote_args=reserved, concurrency=at_most)


def check_gpus_here(option: str = "--gpu") -> None:
    """Refuse before Ray starts, which takes half a minute, where it would start on this machine alone, without a GPU.

    Args:
        option: that asks for GPUs, with its dashes.

    Raises:
        ConfigError: Ray would start on this machine, and torch finds no GPU on it.
    """
    if not ray_start.starts_here():
        return
    import torch  # late: reading and decoding, which are of this module too, do without it

    if not torch.cuda.is_available():
        raise ConfigError(f"{option} yes: there is no GPU on this machine: leave it out to compute on CPUs")


def check_gpus() -> None:
    """Say it where predictors will wait for a GPU, and refuse where there will never be one.

    Raises:
        ConfigError: this machine is all that there is, and has none.
    """
    if ray.cluster_resources().get("GPU"):  # type: ignore[no-untyped-call]
        return
    if len(ray.nodes()) == 1:  # type: ignore[no-untyped-call]
        raise ConfigError("--gpu true: Ray finds no GPU on this machine: leave it out to predict on CPUs")
    print("no node of the cluster has a GPU yet: predictors wait for one that has", flush=True)


def cpu_share(wanted: float, held: float | None = None) -> float:
    """What every stage's CPUs are multiplied by, so that one machine with few of them does not wait for ever.

    A cluster may still grow, so there it is 1.

    Args:
        wanted: CPUs that all stages want together.
        held: CPUs that they may hold, where other work runs beside them; None: all.
    """
    if held is not None:
        return min(1.0, held / wanted)
    return _share("CPU", wanted)


def memory_share(wanted: float, held: float | None = None) -> float:
    """The same of the stages' memory; 0 where they run beside other work, which reserves none either.

    Args:
        wanted: bytes that all stages want together.
        held: CPUs that they may hold, where other work runs beside them; None: all.
    """
    return 0.0 if held is not None else _share("memory", wanted)


def _share(resource: str, wanted: float) -> float:
    there = float(ray.cluster_resources().get(resource, 0))  # type: ignore[no-untyped-call]
    alone = len(ray.nodes()) == 1  # type: ignore[no-untyped-call]
    return there / wanted if alone and 0 < there < wanted else 1.0
