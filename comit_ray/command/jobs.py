"""The list of jobs: name, one line of purpose, options, and the function that does the work.

`comit-ray NAME` and `python jobs/NAME.py` run the same function. Ray and torch take seconds to import, so they are
imported only after the options are read. `--help` and a wrong option get their answer at once.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from comit_ray.command import options
from comit_ray.config.benchmark_config import BenchmarkConfig
from comit_ray.config.config_base import Config
from comit_ray.config.embedding_config import EmbeddingClassifierConfig
from comit_ray.config.evaluate_config import EvaluateConfig
from comit_ray.config.export_config import ExportConfig
from comit_ray.config.manifest_config import ListingConfig, ManifestConfig
from comit_ray.config.monitor_config import MonitorConfig
from comit_ray.config.optimise_config import OptimiseConfig
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
    """One job.

    Attributes:
        work: function that takes the options and returns the exit status; its docstring is the help text.
        config: class of the options.
        after_stop: one sentence that says what to do after Ctrl-C.
    """

    work: Callable[[C], int]
    config: type[C]
    after_stop: str = AGAIN

    @property
    def description(self) -> str:
        """The help text: one line of purpose, then the details."""
        return inspect.cleandoc(self.work.__doc__ or "")

    @property
    def line(self) -> str:
        """The first line of the help text."""
        return self.description.partition("\n")[0]


def demo(config: DemoConfig) -> int:
    """Run all steps on synthetic radiographs: archive, manifest, training, screening, report."""
    from comit_ray.command.demo import show

    show(config, _with_words)
    return 0


def _with_words(name: str, words: Sequence[str]) -> int:
    """The exit status of a job that runs in this process with words of a command line."""
    job = JOBS[name]
    return job.work(job.config.model_validate(options.read(job.config, words).values))


def phantom(config: PhantomConfig) -> int:
    """Write an archive of synthetic chest radiographs with known lungs and lesions, and some broken files."""
    from comit_ray.chunks import nodes
    from comit_ray.data.phantom import phantom_archive

    nodes.check_submitted({}, {"output": config.output})
    entries = phantom_archive.write(config.output, config.count, config.seed)
    print(f"{phantom_archive.summary(entries)}\narchive: {config.output}")
    return 0


def listing(config: ListingConfig) -> int:
    """List the files of a bucket or directory into a table, so that later runs need not list it again."""
    from comit_ray.chunks import nodes
    from comit_ray.data.sources.listing import write
    from comit_ray.storage import storage

    output = storage.normalise(config.output)
    storage.refuse_inside("--output", output, "--root", config.root)
    nodes.check_submitted({"root": config.root}, {"output": output})
    print(f"files: {write(config.root, output):,}\nlisting: {output}")
    return 0


def manifest(config: ManifestConfig) -> int:
    """Write the manifest of an archive: one row per image, with its place, patient, view and labels."""
    from comit_ray.prepare.run_manifest import make

    print(f"manifest: {make(config)}")
    return 0


def prepare(config: PrepareConfig) -> int:
    """Decode the radiographs of a manifest once into a training table (8 bits, at most 512 px, with masks).

    If a run was interrupted, run the same command again: it does only what is missing. The exit status is 0 only if
    every image of the manifest has exactly one row, and at most --max_failed_share of them failed.
    """
    from comit_ray.prepare.run_prepare import prepare as make
    from comit_ray.storage import storage

    taken = make(config)
    if not taken.balanced or taken.failed_share > config.max_failed_share:
        return 1
    print(f"data: {storage.normalise(config.output)}")
    return 0


def train(config: TrainConfig) -> int:
    """Train a model on the radiographs of a manifest, on one machine or a cluster; print the checkpoint's URI.

    A checkpoint is a folder with the trained model, its thresholds and its options. If a run was interrupted, run the
    same command with --resume true.
    """
    from comit_ray.training.run_training import train as fit

    print(f"checkpoint: {fit(config)}")
    return 0


def sweep(config: SweepConfig) -> int:
    """Train and score every variant of a study with several seeds, and record each result in a table.

    If a run was interrupted, run the same command with --resume true: finished trials are kept. The exit status is 0
    only if every planned trial has a row and none failed.
    """
    from comit_ray.sweep.run_sweep import run

    return 0 if run(config) else 1


def screen(config: ScreenConfig) -> int:
    """Screen a folder or bucket of radiographs: write scores, masks and the review queue.

    Give --archive to screen all DICOM, PNG and JPEG files, also inside tar and zip files; or give --manifest. If a run
    was interrupted, or the archive has grown, run the same command again: it does only what is missing or new. The exit
    status is 0 only if every image has exactly one row, and at most --max_failed_share of them failed. With --on_drift
    stop, it is 0 only if the flags are also trusted.
    """
    from comit_ray.command.screen_archive import screen as run

    taken = run(config)
    untrusted = config.on_drift == "stop" and _flags_are_untrusted(config.output)
    return 0 if taken.balanced and taken.failed_share <= config.max_failed_share and not untrusted else 1


def _flags_are_untrusted(output: str) -> bool:
    from comit_ray.screening import drift

    return not drift.flags_trusted(output)


def requeue(config: RequeueConfig) -> int:
    """Build the review queue again from the tables of a screen, with other options. It needs no images and no model."""
    from comit_ray.chunks import nodes
    from comit_ray.screening import results_folder, run_settings, screen_summary
    from comit_ray.storage import storage

    output = storage.normalise(config.results)
    nodes.check_submitted({}, {"results": output})
    operating_point = run_settings.recorded_operating_point(output)
    written = results_folder.write_queue(output, config.manifest, config.queue, operating_point, config.memory_gib)
    print("the review queue was built from the tables" if written else "the review queue is unchanged")
    print("\n".join(results_folder.unread_lines(output)))
    print("\n".join(screen_summary.next_lines(output, config.manifest, config.queue.capacity)))
    return 0


def verify(config: VerifyConfig) -> int:
    """Check every file that a job wrote, and report what is damaged. Nothing is changed.

    Every file is compared with the SHA-256 that was stored when it was written, with the commit of its chunk, and with
    the record of the run. To repair damaged chunks, run the job that wrote them again. The exit status is 0 only if
    nothing is damaged.
    """
    from comit_ray.chunks.verifying import verify as read_back

    found = read_back(config.results)
    print("\n".join(found.lines()))
    return 1 if found.damaged else 0


def evaluate(config: EvaluateConfig) -> int:
    """Write the report of a screen or a study, with or without labels. It needs only the tables, no model.

    The job writes report.html, report.md, metrics.json, tables/ and figures/, and prints ten lines of the report.
    """
    from comit_ray.chunks import nodes
    from comit_ray.evaluation import screen_report, severity, shortcuts_report
    from comit_ray.evaluation.report import terminal
    from comit_ray.evaluation.study import study_report
    from comit_ray.reading import report as reading_report
    from comit_ray.storage import storage

    nodes.check_submitted({}, {"output": config.output})
    if config.study is not None:
        text = study_report.write(config.study, config.manifest, config.output, config)
    else:
        more = [*reading_report.chapters(config)]
        if config.severity is not None:
            more.append(severity.chapter(config, config.severity))
        text = screen_report.write(config, more)
    output = storage.normalise(config.output)
    print(terminal.digest(text, shortcuts_report.ALARMS))
    print(f"\nwhole report: {storage.join(output, 'report.html')}\nreport: {output}")
    return 0


def export(config: ExportConfig) -> int:
    """Export results of a screen as DICOM objects, to a PACS (DICOMweb) or into a directory.

    If a run was interrupted, run the same command again: nothing is stored twice. The exit status is 0 only if every
    object is stored.
    """
    from comit_ray.dicom.run_export import run

    return run(config)


def review(config: ReviewConfig) -> int:
    """Open the reading room: a page in the browser where radiologists read the review queue and give verdicts.

    The job prints a link and serves the page until it is interrupted. It stores each verdict in RESULTS/reviews before
    the page confirms it. Run the same command again to continue.
    """
    from comit_ray.reading import serve

    serve.review(config)
    return 0


def monitor(config: MonitorConfig) -> int:
    """Watch a screen over days or weeks, by site, device and view: find changes, with limits for false alarms.

    The job writes report.html, tables/, periods.parquet, alarms.json and metrics.prom (Prometheus), and prints alarms
    first.
    """
    from comit_ray.chunks import nodes
    from comit_ray.evaluation.monitor import watch_report
    from comit_ray.storage import storage

    nodes.check_submitted({}, {"results": config.results, **({"output": config.output} if config.output else {})})
    output, said = watch_report.write(config)
    print("\n".join([*said, f"monitor: {storage.join(output, 'report.html')}"]))
    return 0


def calibrate(config: CalibrateConfig) -> int:
    """Find a threshold for this site, from readers' verdicts or from confirmatory tests.

    The job writes thresholds.csv (every threshold, by age, sex, view and site), calibration.json, and
    operating_points.json for `screen --operating_points`. The file works only with the same model.
    """
    from comit_ray.reading import calibrate as site

    print(site.write(config))
    return 0


def embedding_classifier(config: EmbeddingClassifierConfig) -> int:
    """Fit the paper's random forest or support vector machine on the embeddings of a screen, and score every image.

    The job needs neither the images nor the network. The scores order the images; they are not calibrated
    probabilities. Running the same command again writes the same rows. The exit status is 0 only if every image has
    exactly one row.
    """
    from comit_ray.chunks import nodes
    from comit_ray.screening.embedding_screen import classify

    nodes.check_submitted({}, {"output": config.output})
    return 0 if classify(config).balanced else 1


def optimise(config: OptimiseConfig) -> int:
    """Make a faster form of a checkpoint for CPUs, measure what it changes, and store it if that is within bounds.

    The training images give the value ranges for int8. The validation images show how scores, flags and masks change,
    and give the new scores their own operating points and temperatures. The exit status is 0 only if every form was
    stored.
    """
    from comit_ray.chunks import nodes
    from comit_ray.optimisation.run_optimise import optimise as make

    nodes.check_submitted({"data": config.data}, {"checkpoint": config.checkpoint})
    refused = 0
    for precision, problems in make(config).items():
        refused += bool(problems)
        told = "is stored" if not problems else f"is NOT stored: {'; '.join(problems)}"
        print(f"{config.checkpoint}, OpenVINO in {precision}: {told}")
    return 1 if refused else 0


def benchmark(config: BenchmarkConfig) -> int:
    """Measure a screen on this machine or cluster: each stage, the bottleneck, and the hours for N images."""
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
    "monitor": Job(monitor, MonitorConfig, ANEW),
    "calibrate": Job(calibrate, CalibrateConfig, ANEW),
    "export": Job(export, ExportConfig),
    "prepare": Job(prepare, PrepareConfig),
    "train": Job(train, TrainConfig, RESUME),
    "embedding_classifier": Job(embedding_classifier, EmbeddingClassifierConfig, ANEW),
    "sweep": Job(sweep, SweepConfig, RESUME),
    "optimise": Job(optimise, OptimiseConfig, ANEW),
    "benchmark": Job(benchmark, BenchmarkConfig, ELSEWHERE),
    "listing": Job(listing, ListingConfig, ELSEWHERE),
    "phantom": Job(phantom, PhantomConfig, ELSEWHERE),
}
"""Name -> job, in the order of `comit-ray --help`."""


def of(function: Callable[[Any], int]) -> Job[Any]:
    """Return the job of a function.

    Raises:
        ConfigError: the function belongs to none of `JOBS`.
    """
    for job in JOBS.values():
        if job.work is function:
            return job
    raise ConfigError(f"{getattr(function, '__name__', function)} is not a job; the jobs are: {', '.join(JOBS)}")
