"""The jobs, by name: what each does in a line, its options, and the work, which is imported when it begins.

`comit-ray NAME` and `python jobs/NAME.py` run the same function. Ray and torch take seconds to import, so they are
imported only after the options have been read: `--help` and a wrong option are answered at once.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from comit_ray.config.config_base import Config
from comit_ray.config.data_config import DemoConfig, ListingConfig, ManifestConfig, PhantomConfig, PrepareConfig
from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.config.screen_config import BenchmarkConfig, EmbeddingClassifierConfig, RequeueConfig, ScreenConfig
from comit_ray.config.sweep_config import SweepConfig
from comit_ray.config.train_config import TrainConfig
from comit_ray.errors import ConfigError

C = TypeVar("C", bound=Config)

AGAIN = "Run the same command again to go on."
RESUME = "Run the same command again with --resume true to go on."
ANEW = "Run the same command again to begin anew."
ELSEWHERE = "Give another --output to begin anew."


@dataclass(frozen=True)
class Job(Generic[C]):
    """A job's door.

    Attributes:
        work: takes the options, gives the exit status; its docstring is the help.
        config: the options.
        after_stop: what to do after Ctrl-C, in a sentence.
    """

    work: Callable[[C], int]
    config: type[C]
    after_stop: str = AGAIN

    @property
    def description(self) -> str:
        """The help: a line, then what else there is to say."""
        return inspect.cleandoc(self.work.__doc__ or "")

    @property
    def line(self) -> str:
        """The first line of the help."""
        return self.description.partition("\n")[0]


def demo(config: DemoConfig) -> int:
    """Show the whole way on phantoms: archive, manifest, training, screening, report."""
    from comit_ray.command.demo import show

    show(config)
    return 0


def phantom(config: PhantomConfig) -> int:
    """Write an archive of synthetic chest radiographs with known lungs and lesions, and broken and alien files."""
    from comit_ray.chunks import nodes
    from comit_ray.data.phantom import phantom_archive

    nodes.check_submitted({}, {"output": config.output})
    entries = phantom_archive.write(config.output, config.count, config.seed)
    print(phantom_archive.summary(entries))
    print(f"archive: {config.output}")
    return 0


def listing(config: ListingConfig) -> int:
    """List a bucket or directory once, into Parquet; `manifest --listing` then need not list it again."""
    from comit_ray.chunks import nodes
    from comit_ray.data.sources.listing import write
    from comit_ray.storage import storage

    output = storage.normalise(config.output)
    storage.refuse_inside("--output", output, "--root", config.root)
    nodes.check_submitted({"root": config.root}, {"output": output})
    print(f"{write(config.root, output):,} files")
    print(f"listing: {output}")
    return 0


def manifest(config: ManifestConfig) -> int:
    """Write the manifest of an image archive: one row an image, where it is, whose it is, what is known of it."""
    from comit_ray.prepare.run_manifest import make

    print(f"manifest: {make(config)}")
    return 0


def prepare(config: PrepareConfig) -> int:
    """Decode the radiographs of a manifest once into a training table: 8 bits, at most 512 px, masks beside them.

    Run the same command again after any interruption: only what is missing is done. Exit status 0 only if every image
    of the manifest has exactly one row.
    """
    from comit_ray.prepare.run_prepare import prepare as make
    from comit_ray.storage import storage

    if not make(config).balanced:
        return 1
    print(f"data: {storage.normalise(config.output)}")
    return 0


def train(config: TrainConfig) -> int:
    """Train a model on a manifest's radiographs, data-parallel on Ray. Prints the best checkpoint's URI last."""
    from comit_ray.training.run_training import train as fit

    print(f"checkpoint: {fit(config)}")
    return 0


def sweep(config: SweepConfig) -> int:
    """Train and score every variant of a study, with several seeds: a row a trial in `trials`, scores in `predictions`.

    Run the same command with --resume true after any interruption: finished trials stay as they are. Exit status 0 only
    if every planned trial has a row, and none failed.
    """
    from comit_ray.sweep.run_sweep import run

    return 0 if run(config) else 1


def screen(config: ScreenConfig) -> int:
    """Screen the radiographs of a manifest with a checkpoint: predictions, masks and a review queue in Parquet.

    Run the same command again after any interruption: only what is missing is done. Exit status 0 only if every image
    of the manifest has exactly one row.
    """
    from comit_ray.screening.run_screen import screen as run

    return 0 if run(config).balanced else 1


def requeue(config: RequeueConfig) -> int:
    """Build the review queue again from the tables of a screen, with other options; no image and no model is read."""
    from comit_ray.chunks import nodes
    from comit_ray.screening import results_folder, run_settings
    from comit_ray.storage import storage

    output = storage.normalise(config.results)
    nodes.check_submitted({}, {"results": output})
    operating_point = run_settings.recorded_operating_point(output)
    written = results_folder.write_queue(output, config.manifest, config.queue, operating_point)
    print(
        "the review queue was built from the tables" if written else "the review queue is what it would be: unchanged"
    )
    print("\n".join(results_folder.queue_lines(output)))
    print(f"review_queue: {storage.join(output, results_folder.QUEUE_FILE)}")
    return 0


def evaluate(config: EvaluateConfig) -> int:
    """Score a screened, labelled archive, a bare predictions table or a study, from tables alone: no model is loaded.

    Writes report.md, metrics.json, tables/ and figures/.
    """
    from comit_ray.chunks import nodes
    from comit_ray.evaluation import screen_report
    from comit_ray.evaluation.study import study_report
    from comit_ray.storage import storage

    nodes.check_submitted({}, {"output": config.output})
    if config.study is not None:
        text = study_report.write(config.study, config.manifest, config.output, config)
    else:
        text = screen_report.write(config)
    print(text.partition("\n## ")[0])  # the first page; the rest is to be opened
    output = storage.normalise(config.output)
    print(f"open: {storage.join(output, 'report.html')}")
    print(f"report: {output}")
    return 0


def embedding_classifier(config: EmbeddingClassifierConfig) -> int:
    """Fit the paper's random forest or SVM on the embeddings of a screen, and score every image of it from the tables.

    No image and no network is read. The scores order the images; they are not calibrated probabilities. A second run
    of the same command writes the same rows again. Exit status 0 only if every image has exactly one row.
    """
    from comit_ray.chunks import nodes
    from comit_ray.screening.embedding_screen import classify

    nodes.check_submitted({}, {"output": config.output})
    return 0 if classify(config).balanced else 1


def benchmark(config: BenchmarkConfig) -> int:
    """Measure a screen on this cluster: each stage alone, the whole, the bottleneck, and the hours for N images."""
    from comit_ray.benchmark.run_benchmark import measure

    print(f"benchmark: {measure(config)}")
    return 0


JOBS: dict[str, Job[Any]] = {
    "demo": Job(demo, DemoConfig, ANEW),
    "manifest": Job(manifest, ManifestConfig, ANEW),
    "screen": Job(screen, ScreenConfig),
    "requeue": Job(requeue, RequeueConfig),
    "evaluate": Job(evaluate, EvaluateConfig, ANEW),
    "prepare": Job(prepare, PrepareConfig),
    "train": Job(train, TrainConfig, RESUME),
    "embedding_classifier": Job(embedding_classifier, EmbeddingClassifierConfig, ANEW),
    "sweep": Job(sweep, SweepConfig, RESUME),
    "benchmark": Job(benchmark, BenchmarkConfig, ELSEWHERE),
    "listing": Job(listing, ListingConfig, ELSEWHERE),
    "phantom": Job(phantom, PhantomConfig, ELSEWHERE),
}
"""Name -> door, in the order of `comit-ray --help`."""


def of(function: Callable[[Any], int]) -> Job[Any]:
    """The door of a job's function.

    Raises:
        ConfigError: it is none of `JOBS`.
    """
    for job in JOBS.values():
        if job.work is function:
            return job
    raise ConfigError(f"{getattr(function, '__name__', function)} is no job; there are: {', '.join(JOBS)}")
