"""The Ray Data graph of preparing: manifest parts -> fetched, decoded and shrunken chunks -> committed files."""

from functools import partial

from comit_ray.chunks import graph
from comit_ray.chunks.graph import READ_MEMORY, WRITE_CPUS, WRITE_MEMORY, Commit, ReadParts
from comit_ray.chunks.monitor import Counters
from comit_ray.chunks.plan import Plan
from comit_ray.config.data_config import PrepareConfig
from comit_ray.preparing.rows import LAYOUT, MANIFEST_COLUMNS, fail_row, prepare_row, wanted_masks
from comit_ray.storage import storage
from comit_ray.tables.schema import PREPARED

DECODE_CPUS = 1.0  # decoding is the work here; nothing follows that could wait for a CPU

STEP = "prepare"
"""Name of the job, for its counters."""


def prepare(config: PrepareConfig, plan: Plan) -> None:
    """Prepare the chunks of `plan` on the Ray cluster this process is connected to.

    Raises:
        ray.exceptions.RayError: if a task failed more often than Ray retries it.
    """
    counters = Counters(STEP)
    share = graph.cpu_share(DECODE_CPUS + WRITE_CPUS)
    memory = graph.memory_share(READ_MEMORY + WRITE_MEMORY)
    read = ReadParts(
        MANIFEST_COLUMNS,
        "all",
        PREPARED,
        partial(prepare_row, limits=config.decode, coding=config.format),
        fail_row,
        config.threads,
        config.decode.max_bytes,
        name=LAYOUT.main,
        counters=counters,
        also_wanted=wanted_masks,
    )
    with graph.chunk_context():
        prepared = graph.read(plan, read, DECODE_CPUS * share, memory)
        graph.write(prepared, Commit(storage.normalise(config.output), LAYOUT, counters), share, memory)
