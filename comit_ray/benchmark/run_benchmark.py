"""Measures a screen on the cluster: each stage alone, the whole screen, the bottleneck, the hours for N images."""

import json
import time
from dataclasses import asdict
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from comit_ray.benchmark import machine_prices, projection, stages
from comit_ray.benchmark.projection import EndToEnd, Throughput
from comit_ray.benchmark.stages import Stage
from comit_ray.checkpoint import checkpoint_facts
from comit_ray.chunks import graph, nodes, plan, ray_start
from comit_ray.chunks.plan import PREDICTORS
from comit_ray.chunks.progress import StageTimer
from comit_ray.config.benchmark_config import BenchmarkConfig
from comit_ray.config.manifest_config import ManifestConfig
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.data.manifest import manifest, manifest_chunks
from comit_ray.data.manifest.manifest_build import finish, read_source
from comit_ray.data.phantom import phantom_archive
from comit_ray.data.sources.source_files import SourceFiles
from comit_ray.data.sources.source_registry import adapter
from comit_ray.errors import ConfigError
from comit_ray.inference import optimised
from comit_ray.screening import pool_sizes, run_settings, screen_pipeline
from comit_ray.screening.predictor import Predictor, PredictorSettings
from comit_ray.screening.run_screen import screen
from comit_ray.screening.screen_tables import layout
from comit_ray.storage import storage

ALONE, WARM = 256, 32
"""Most images for measuring stages alone, and images of the screen that warms the cluster up."""
PYTORCH = ((optimised.TORCH, optimised.FLOAT32), (optimised.TORCH_FUSED, optimised.FLOAT32))
"""Backends and precisions that work with every checkpoint."""
FEWER = 4
"""The small screen has one image in this many."""


def measure(config: BenchmarkConfig) -> str:
    """Measures, prints, writes benchmark.json, and returns its URI.

    Raises:
        ConfigError: the output holds files, the manifest has too few images, or there is no GPU to measure.
    """
    output = storage.normalise(config.output)
    if storage.exists(output) and next(iter(storage.list_files(output)), None) is not None:
        raise ConfigError(f"--output {output} holds files already: give a new directory")
    if config.gpu:
        graph.check_gpus_here()
    kinds = machine_prices.read(config.machines) if config.machines else {}
    rows = images_of(config, output)
    rng = np.random.default_rng(config.seed + 1)  # every sample has the same mix of sources and formats
    ray_start.start()
    if config.gpu:
        graph.check_gpus()
    inputs = {"checkpoint": config.checkpoint} | ({"manifest": config.manifest} if config.manifest else {})
    nodes.check(inputs, {"output": output}, rows)
    sample = _drawn(rows, ALONE, rng)
    alone = _alone(config, output, sample)
    _screen(config, output, _drawn(rows, WARM, rng), "warm")
    cpus, fewer = _cpus(), _drawn(rows, len(rows) // FEWER, rng)
    seconds, took = _screen(config, output, rows, "all")
    fewer_seconds, fewer_took = _screen(config, output, fewer, "fewer")
    asked = _predictors(config, storage.join(output, "all", "manifest"))
    ran = min(asked, int(took.pop(PREDICTORS)))
    fewer_took.pop(PREDICTORS)
    whole = EndToEnd(len(rows), seconds, len(fewer), fewer_seconds, took, fewer_took)
    size = stages.written_bytes(storage.join(output, "all", "results"), ("predictions", "masks"))
    found = Throughput(alone, len(sample), whole, cpus, ran, config.gpu, size / len(rows))
    print("\n".join(projection.lines(found, config.project, config.cost_per_hour)))
    prices = machine_prices.prices(found, kinds)
    print("\n".join(machine_prices.lines(prices)))
    doubts = [
        projection.other_cluster(cpus, _cpus()),
        projection.fewer_predictors(asked, ran),
        projection.too_few(len(fewer), config.chunk_rows, pool_sizes.room_for_readers(cpus, ran, config.gpu)),
    ]
    notes = [doubt for doubt in doubts if doubt is not None]
    for note in notes:
        print(f"NOTE: {note}")
    record = asdict(found) | {"bounds": found.bounds, "rate": whole.rate, "of_the_bare_model": found.of_the_bare_model}
    record |= {"predictors_time": found.predictors_time, "cpus_time": found.cpus_time, "notes": notes}
    record["prices"] = [asdict(price) for price in prices]
    uri = storage.join(output, "benchmark.json")
    storage.write_bytes(uri, json.dumps(record, indent=1).encode())
    return uri


def images_of(config: BenchmarkConfig, output: str) -> pa.Table:
    """Draws the images from the manifest."""
    if config.manifest is None:
        root = storage.join(output, "phantoms")
        phantom_archive.write(root, config.images, config.seed)
        asked = ManifestConfig(source="phantom", root=root, output=root)
        table = finish(read_source(adapter("phantom"), SourceFiles(root), "phantom", asked).table, asked.split, 512)
    else:
        table = manifest.read(config.manifest)
    table = table.filter(pc.is_null(table["excluded"]))
    if len(table) < config.images and config.manifest is not None:
        raise ConfigError(f"--images {config.images}: {config.manifest} has {len(table):,} that are not excluded")
    return _drawn(table, config.images, np.random.default_rng(config.seed))


def _drawn(rows: pa.Table, count: int, rng: np.random.Generator) -> pa.Table:
    """Draws `count` rows at random, or all if there are fewer, and keeps their order, as archives are read in order."""
    return rows.take(pa.array(np.sort(rng.permutation(len(rows))[:count])))


def _cpus() -> float:
    return float(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]


def _alone(config: BenchmarkConfig, output: str, rows: pa.Table) -> list[Stage]:
    """Measures every stage while nothing else runs, on a node where a screen would run it, maybe not the driver's."""
    backend, precision, _ = optimised.choose(config.checkpoint, config.backend, config.precision)
    loaded = optimised.facts(config.checkpoint, backend, precision)
    point = run_settings.choose_operating_point(_options(config, storage.join(output, "manifest"), output), loaded)
    device = "cuda" if config.gpu else "cpu"
    threads = None if config.gpu else 1  # as Ray sets it for an actor with one CPU
    settings = PredictorSettings(
        config.checkpoint,
        loaded.model_id,
        point,
        "benchmark",
        config.batch_size,
        device,
        threads=threads,
        computed=optimised.computed(backend, precision),
    )
    load = partial(Predictor, settings)
    on_cpu, gpus = ray.remote(num_cpus=1), 1 if config.gpu else 0
    predictor = ray.remote(num_cpus=pool_sizes.predict_cpus(config.gpu), num_gpus=gpus)
    read, fetched = ray.get(on_cpu(stages.read).remote(rows.to_pylist(), loaded.config.frame, config.decode))
    predict, predicted = ray.get(predictor(stages.predict).remote(fetched, config.chunk_rows, load))
    tables = layout(embeddings=False)
    write: list[Stage] = ray.get(on_cpu(stages.write).remote(predicted, storage.join(output, "alone"), tables))
    others = [] if config.gpu else optimised.there(config.checkpoint)
    bare = [one for one in (*PYTORCH, *others) if one != (backend, precision)]
    side_by_side: list[Stage] = ray.get(
        predictor(stages.bare_networks).remote(fetched, config.checkpoint, bare, config.batch_size, device, threads)
    )
    return [*read, *predict, *side_by_side, *write]


def _options(config: BenchmarkConfig, uri: str, output: str) -> ScreenConfig:
    return ScreenConfig(
        manifest=uri,
        checkpoint=config.checkpoint,
        output=output,
        batch_size=config.batch_size,
        predictors=config.predictors,
        gpu=config.gpu,
        fetch_threads=config.fetch_threads,
        decode=config.decode,
        backend=config.backend,
        precision=config.precision,
    )


def _predictors(config: BenchmarkConfig, uri: str) -> int:
    """Returns the number of predictors that a screen of the manifest at `uri` starts."""
    known = checkpoint_facts.read_facts(config.checkpoint)[0].config
    image_s = pool_sizes.image_seconds(known.model.name, known.model.width, known.frame.size)
    return screen_pipeline.pool_of(_options(config, uri, ""), plan.make_plan(uri, "all"), image_s).predictors


def _screen(config: BenchmarkConfig, output: str, rows: pa.Table, name: str) -> tuple[float, dict[str, float]]:
    """Returns the seconds of a whole screen of these rows, and of its graph and stages."""
    index = rows.schema.get_field_index("chunk")
    rows = rows.set_column(index, rows.schema.field(index), manifest_chunks.chunk_names(rows, config.chunk_rows))
    uri = storage.join(output, name, "manifest")
    manifest.write(uri, rows, config.chunk_rows)
    tally = StageTimer()
    began = time.monotonic()
    screen(_options(config, uri, storage.join(output, name, "results")), tally=tally)
    return time.monotonic() - began, tally.read()
