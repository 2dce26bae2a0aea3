"""The screen as a Ray Data graph: manifest parts, fetched chunks, predicted chunks, files with measured masks."""

from collections.abc import Mapping
from functools import partial

import pyarrow as pa
from ray.data import ActorPoolStrategy

from comit_ray.checkpoint.operating_points import OperatingPoint
from comit_ray.chunks import graph
from comit_ray.chunks.attempts import MOST_GIVEN_UP, Attempts
from comit_ray.chunks.graph import READ_CPUS, READ_MEMORY, WRITE_CPUS, WRITE_MEMORY, Commit, ReadParts, ReadSettings
from comit_ray.chunks.ownership import Owner
from comit_ray.chunks.plan import PREDICT, PREDICTORS, Plan, pack, unpack
from comit_ray.chunks.progress import Counters, StageTimer
from comit_ray.chunks.reading import MOST
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.config.train_config import TrainConfig
from comit_ray.errors import DecodeError, Reason
from comit_ray.screening.fetch import MANIFEST_COLUMNS, fail_fetched, fail_row, fetch_row, to_table
from comit_ray.screening.mask_tables import finish
from comit_ray.screening.pool_sizes import PREDICT_MEMORY, Pool, choose, image_seconds, predict_cpus
from comit_ray.screening.predictor import Predictor, PredictorSettings
from comit_ray.screening.screen_tables import layout
from comit_ray.storage import storage
from comit_ray.tables.vocabulary import counted

STEP = "screen"
"""Name of the job, for its counters."""


def pool_of(config: ScreenConfig, plan: Plan, image_s: float, cpus: float | None = None) -> Pool:
    """Returns the processes of a screen for the cluster to which this process is connected.

    Args:
        config: options of the job.
        plan: the chunks that remain.
        image_s: CPU seconds per image (`comit_ray.screening.pool_sizes.image_seconds`).
        cpus: CPUs of the cluster that it may use, if others work beside it; None: all.
    """
    if config.predictors == "auto" and cpus is None:
        return choose(graph.nodes_there(), config.gpu, plan.rows, len(plan.chunks), image_s)
    predictors = 1 if config.predictors == "auto" else config.predictors
    # These shares do not deadlock on two CPUs: 0.5 (read) + 1 (predict) + 0.5 (measure and write).
    held = predict_cpus(config.gpu)
    share = graph.cpu_share(READ_CPUS + predictors * held + WRITE_CPUS, cpus)
    memory = graph.memory_share(READ_MEMORY + predictors * PREDICT_MEMORY + WRITE_MEMORY, cpus)
    return Pool(predictors, predictors, None, None, None, held * share, share, memory)


class _Predict(Predictor):
    """Stage 2, an actor: scores one fetched chunk.

    INPUT: one row, a fetched chunk. OUTPUT: its tables, with masks as bits. FAN-OUT: 1 -> 1.
    """

    def __init__(self, settings: PredictorSettings, counters: Counters, attempts: Attempts) -> None:
        super().__init__(settings)
        self.counters, self.attempts = counters, attempts
        counters.began(PREDICTORS)

    def __call__(self, row: pa.Table) -> pa.Table:
        """Scores and counts a chunk; its rows fail if the model fails on it twice or it kills several processes."""
        name = f"predict {row['file'][0].as_py()}"
        deaths = self.attempts.begin(name)
        with self.counters.timed(PREDICT):
            if deaths >= MOST:
                made = self._failed(row, f"the model's process died {counted(deaths, 'time')} on its chunk")
            else:
                made = self._tried(name, row)
        self.attempts.end(name)
        return made

    def _tried(self, name: str, row: pa.Table) -> pa.Table:
        try:
            return super().__call__(row)
        except Exception as error:  # noqa: BLE001 GPU libraries raise any type; the second one is reported
            print(f"{name}: the model failed and is called once more: {error!r}", flush=True)
        try:
            return super().__call__(row)
        except Exception as error:
            if self.attempts.give_up(name) > MOST_GIVEN_UP:
                raise
            return self._failed(row, f"the model raised {type(error).__name__} on its chunk twice")

    def _failed(self, row: pa.Table, why: str) -> pa.Table:
        file, tables = unpack(row)
        error = DecodeError(Reason.PROGRAM_FAILED, f"expected scores of the image, but {why}")
        return pack(file, self.predict(fail_fetched(tables["fetched"], error)))


def screen(
    config: ScreenConfig,
    plan: Plan,
    training: TrainConfig,
    operating_point: OperatingPoint,
    temperatures: dict[str, float],
    owner: Owner,
    begun: frozenset[str] = frozenset(),
    cpus: float | None = None,
    tally: StageTimer | None = None,
    computed: Mapping[str, str] | None = None,
) -> None:
    """Screens the chunks of `plan` on the Ray cluster to which this process is connected.

    Args:
        config: options of the job.
        plan: the chunks that remain.
        training: training options of the model, with its frame.
        operating_point: decides the flags; from `comit_ray.screening.run_settings.choose_operating_point`.
        temperatures: score -> temperature that divides its log-odds; empty: scores as the model gives them.
        owner: its run and model are written into every row, and it holds the lease of the output.
        begun: names of files of `plan` that exist already; their scored rows are not replaced by failures.
        cpus: CPUs of the cluster that it may use; None: all.
        tally: timer that receives the seconds of the stages; None: no timer.
        computed: what decides the arithmetic (`comit_ray.inference.optimised.computed`); None: PyTorch in float32.

    Raises:
        ray.exceptions.RayError: a task or actor failed more often than Ray retries it.
    """
    counters, attempts = Counters(STEP, tally), Attempts()
    frame, network = training.frame, training.model
    pool = pool_of(config, plan, image_seconds(network.name, network.width, frame.size), cpus)
    if pool.reason:
        print(pool.reason, flush=True)
    reading = ReadSettings(
        columns=MANIFEST_COLUMNS,
        split=config.split,
        read=partial(fetch_row, frame=frame, limits=config.decode),
        fail=fail_row,
        to_table=partial(to_table, frame=frame),
        threads=config.fetch_threads,
        max_bytes=config.decode.max_bytes,
        name="fetched",
    )
    predicting = PredictorSettings(
        checkpoint_uri=storage.normalise(config.checkpoint),
        model_id=owner.model_id,
        operating_point=operating_point,
        run_id=owner.run_id,
        batch_size=config.batch_size,
        device="cuda" if config.gpu else "cpu",
        threads=pool.threads,
        embeddings=config.embeddings,
        temperatures=temperatures,
        site_thresholds=config.operating_points is not None,
        gradcam=config.gradcam,
        variants=tuple(config.variants),
        masks=config.masks,
        computed=dict(computed or {}),
    )
    tables = layout(config.embeddings, config.gradcam, len(config.variants))
    with graph.chunk_context(cpus):
        fetched = graph.read(
            plan, ReadParts(reading, counters, attempts), READ_CPUS * pool.cpu_share, pool.memory_share, pool.readers
        )
        predicted = fetched.map_batches(
            _Predict,
            fn_constructor_kwargs={"settings": predicting, "counters": counters, "attempts": attempts},
            batch_size=1,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(min_size=pool.at_least, max_size=pool.at_most, initial_size=pool.predictors),
            num_cpus=pool.predict_cpus,
            memory=PREDICT_MEMORY * pool.memory_share,
            num_gpus=1 if config.gpu else 0,
        )
        commit = Commit(storage.normalise(config.output), tables, counters, owner, begun, finish)
        graph.write(predicted, commit, pool.cpu_share, pool.memory_share, pool.writers)
