"""The Ray Data graph of the screen: manifest parts -> fetched chunks -> predicted chunks -> committed files."""

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Datasink
from ray.data.block import Block
from ray.data.datasource import WriteResult
from ray.util.metrics import Counter as MetricsCounter

from comit_ray import storage
from comit_ray.config import FrameConfig, ScreenConfig
from comit_ray.operating_points import OperatingPoint
from comit_ray.screening import chunk
from comit_ray.screening.plan import Plan, chunks_of, select
from comit_ray.screening.predictor import Predictor
from comit_ray.screening.reader import MANIFEST_COLUMNS, fetch_chunk

# Shares of a CPU that do not deadlock on two: 0.5 (read) + 1 (predict) + 0.5 (write).
READ_CPUS, PREDICT_CPUS, WRITE_CPUS = 0.5, 1.0, 0.5


class _Read:
    """Stage 1. INPUT: one row, a manifest part and its remaining chunks. OUTPUT: one row a chunk, fetched and decoded.

    FAN-OUT: 1 part -> its chunks, each yielded as soon as it is full, so that predictors start before the part is read.
    """

    def __init__(self, config: ScreenConfig, frame: FrameConfig) -> None:
        self.config = config
        self.frame = frame

    def __call__(self, part: pa.Table) -> Iterator[pa.Table]:
        images = MetricsCounter("comit_images", "Images fetched, by status", tag_keys=("status",))
        files: dict[str, str] = dict(zip(part["chunks"][0].as_py(), part["files"][0].as_py(), strict=True))
        rows = select(storage.read_part(part["uri"][0].as_py(), MANIFEST_COLUMNS), self.config.split)
        for name, chunk_rows in chunks_of(rows):
            if name in files:
                fetched = fetch_chunk(
                    chunk_rows,
                    self.frame,
                    self.config.decode,
                    self.config.fetch_threads,
                    lambda status: images.inc(tags={"status": status}),
                )
                yield chunk.pack(files[name], {"fetched": fetched})


class _Predict(Predictor):
    """Stage 2, an actor. INPUT: one row, a fetched chunk. OUTPUT: one row, its result tables. FAN-OUT: 1 -> 1."""


class _Commit(Datasink[list[str]]):
    """Stage 3. INPUT: rows of predicted chunks. OUTPUT: their files, `predictions/` last. FAN-OUT: 1 -> 2-3 files."""

    def __init__(self, output: str) -> None:
        self.output = output

    def write(self, blocks: Iterable[Block], ctx: Any) -> list[str]:
        """Commit every chunk of the task's blocks; a retry writes the same names again."""
        files = []
        for block in blocks:
            assert isinstance(block, pa.Table), f"blocks come from a pyarrow stage, got {type(block)}"
            for index in range(block.num_rows):
                file, tables = chunk.unpack(block.slice(index, 1))
                chunk.commit(self.output, file, tables)
                files.append(file)
        return files

    def on_write_complete(self, write_result: WriteResult[list[str]]) -> None:
        """Nothing to do: a chunk was committed when its file appeared."""


def screen(
    config: ScreenConfig, plan: Plan, frame: FrameConfig, model_id: str, operating_point: OperatingPoint, run_id: str
) -> None:
    """Screen the chunks of `plan` on the Ray cluster this process is connected to.

    Raises:
        ray.exceptions.RayError: if a task or actor failed more often than Ray retries it.
    """
    share = _share(config.predictors)
    # A context of our own: every yielded chunk is its own block and reaches the predictor at once.
    context = DataContext.get_current().copy()
    context.target_max_block_size = 1
    context.enable_progress_bars = True
    context.enable_rich_progress_bars = True  # bars on a terminal, a line every ten seconds elsewhere
    context.use_ray_tqdm = False
    with DataContext.current(context):
        parts = ray.data.from_items(
            [
                {"uri": part.uri, "chunks": [c.chunk for c in part.chunks], "files": [c.file for c in part.chunks]}
                for part in plan.parts
            ],
            override_num_blocks=len(plan.parts),
        )
        fetched = parts.map_batches(
            _Read(config, frame), batch_size=1, batch_format="pyarrow", num_cpus=READ_CPUS * share
        )
        predicted = fetched.map_batches(
            _Predict,
            fn_constructor_kwargs={
                "checkpoint_uri": storage.normalise(config.checkpoint),
                "model_id": model_id,
                "operating_point": operating_point,
                "run_id": run_id,
                "batch_size": config.batch_size,
                "device": "cuda" if config.gpu else "cpu",
                "embeddings": config.embeddings,
            },
            batch_size=1,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=config.predictors),
            num_cpus=PREDICT_CPUS * share,
            num_gpus=1 if config.gpu else 0,
        )
        predicted.write_datasink(
            _Commit(storage.normalise(config.output)), ray_remote_args={"num_cpus": WRITE_CPUS * share}
        )


def _share(predictors: int) -> float:
    """What every stage's CPUs are multiplied by, so that one machine with few of them does not wait for ever.

    A cluster may still grow, so there it is 1.
    """
    cpus = float(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
    wanted = READ_CPUS + predictors * PREDICT_CPUS + WRITE_CPUS
    alone = len(ray.nodes()) == 1  # type: ignore[no-untyped-call]
    return cpus / wanted if alone and 0 < cpus < wanted else 1.0
