"""The list of jobs: name, one line of purpose, options, and the function that does the work.

`comit-ray NAME` and `python jobs/NAME.py` run the same function. Ray and torch take seconds to import, so they are
imported only after the options have been read: `--help` and a wrong option are answered at once.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from comit_ray.config.benchmark_config import BenchmarkConfig
from comit_ray.config.config_base import Config
from comit_ray.config.embedding_config import EmbeddingClassifierConfig
from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.config.export_config import ExportConfig
from comit_ray.config.manifest_config import ListingConfig, ManifestConfig
from comit_ray.config.phantom_config import DemoConfig, PhantomConfig
from comit_ray.config.prepare_config import PrepareConfig
from comit_ray.config.queue_config import RequeueConfig
from comit_ray.config.reading_config import CalibrateConfig, ReviewConfig
from comit_ray.config.screen_config import ScreenConfig, VerifyConfig
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
    of the manifest has exactly one row, and no more failed than --max_failed_share allows.
    """
    from comit_ray.prepare.run_prepare import prepare as make
    from comit_ray.storage import storage

    taken = make(config)
    if not taken.balanced or taken.failed_share > config.max_failed_share:
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
    """Screen a folder or bucket of radiographs, or a manifest of them: predictions, masks and a review queue.

    Give --archive, and all DICOM, PNG and JPEG files are found, also inside tar and zip files; or give --manifest. Run
    the same command again after any interruption: only what is missing is done. Exit status 0 only if every image of
    the manifest has exactly one row, and no more failed than --max_failed_share allows.
    """
    from comit_ray.command.screen_archive import manifest_of
    from comit_ray.screening.run_screen import check_options
    from comit_ray.screening.run_screen import screen as run

    if config.archive is not None:
        check_options(config)
        config = config.model_copy(update={"manifest": manifest_of(config.archive, config.output)})
    taken = run(config)
    return 0 if taken.balanced and taken.failed_share <= config.max_failed_share else 1


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
    print("\n".join(results_folder.unread_lines(output)))
    print(f"review_queue: {storage.join(output, results_folder.QUEUE_FILE)}")
    return 0


def verify(config: VerifyConfig) -> int:
    """Read everything that a job wrote back, and say what is damaged; nothing is changed.

    Every file is compared with the SHA-256 it was written with, its chunk's commit, and the record of the run.
    Run the job that wrote them again to do damaged chunks anew. Exit status 0 only if nothing is damaged.
    """
    from comit_ray.chunks.verifying import verify as read_back

    found = read_back(config.results)
    print("\n".join(found.lines()))
    return 1 if found.damaged else 0


def evaluate(config: EvaluateConfig) -> int:
    """Score a screened, labelled archive, a bare predictions table or a study, from tables alone: no model is loaded.

    Writes report.html, report.md, metrics.json, tables/ and figures/, and prints ten lines of the report.
    """
    from comit_ray.chunks import nodes
    from comit_ray.evaluation import screen_report, shortcuts_report
    from comit_ray.evaluation.report import terminal
    from comit_ray.evaluation.study import study_report
    from comit_ray.reading import report as reading_report
    from comit_ray.storage import storage

    nodes.check_submitted({}, {"output": config.output})
    if config.study is not None:
        text = study_report.write(config.study, config.manifest, config.output, config)
    else:
        text = screen_report.write(config, reading_report.chapters(config))
    output = storage.normalise(config.output)
    print(terminal.digest(text, shortcuts_report.ALARMS))
    print(f"\nall of it: {storage.join(output, 'report.html')}")
    print(f"report: {output}")
    return 0


def export(config: ExportConfig) -> int:
    """Send results of a screen to where they are read, as DICOM objects: to a PACS by DICOMweb, or into a directory.

    Run the same command again after any interruption: what is stored is not stored twice. Exit status 0 only if every
    object is stored.
    """
    from comit_ray.dicom.run_export import run

    return run(config)


def review(config: ReviewConfig) -> int:
    """Read the review queue in a browser: a page for radiologists, and their verdicts as a table beside the results.

    Prints a link and serves it until it is interrupted. Verdicts lie in RESULTS/reviews, each whole before it is
    acknowledged; run it again to go on.
    """
    from comit_ray.reading import serve

    serve.review(config)
    return 0


def calibrate(config: CalibrateConfig) -> int:
    """Find a threshold for this site from readers' verdicts, or from confirmatory tests, on a screen's review queue.

    Writes thresholds.csv (every threshold, by age, sex, view and site), calibration.json, and the operating_points.json
    that `screen --operating_points` takes, for the same model alone.
    """
    from comit_ray.reading import calibrate as site

    print(site.write(config))
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
    "verify": Job(verify, VerifyConfig),
    "review": Job(review, ReviewConfig),
    "evaluate": Job(evaluate, EvaluateConfig, ANEW),
    "calibrate": Job(calibrate, CalibrateConfig, ANEW),
    "export": Job(export, ExportConfig),
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
