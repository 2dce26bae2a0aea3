"""Every job of the way, submitted to a cluster of a head and two workers that ask for a token, from and to `s3://`.

What comes out is compared with the same jobs at home, on local files and left alone: that the storage is S3, that jobs
are stopped and that nodes are lost in the middle changes no number. At home rows are made in this process without Ray,
so that neither does it; two workers train on this process's own Ray. What is done at home is done while a job of the
cluster, which starts processes and waits for them, has time for it.
"""

import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pytest
import yaml

from comit_ray import cli
from comit_ray.checkpoint import checkpoint
from comit_ray.chunks import run_record
from comit_ray.config.manifest_config import ManifestConfig
from comit_ray.config.prepare_config import PrepareConfig
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.config.train_config import TrainConfig
from comit_ray.storage import storage
from comit_ray.tables import parquet
from comit_ray.training.run_training import train
from jobs import manifest as manifest_job
from jobs import prepare as prepare_job
from jobs import screen as screen_job
from tests.chunks.one_process import chunks_here
from tests.conftest import empty_bucket
from tests.jobs.object_storage import packed_archive, rows, upload
from tests.local_cluster import LocalCluster
from tests.support import write_checkpoint

T = TypeVar("T")

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.cluster]

SOURCE = ["--source", "covid-chestxray", "--present_only", "true", "--chunk_rows", "1"]
MODEL = [
    "--config",
    "comit_net",
    "--config",
    "small_cpu",
    "--model.width",
    "0.0625",
    "--frame.size",
    "64",
]
EPOCHS, IMAGES = 8, 60
STUDY = {
    "base": ["comit_net", "small_cpu"],
    "options": {
        "model.tasks": ["lung"],
        "frame.size": 64,
        "train.epochs": 1,
        "workers.count": 1,
        "workers.threads": 1,
    },
    "axes": {"width": {"narrow": {"model.width": 0.0625}}},
    "seeds": 1,
}
"""Of lungs alone: of the images here that are validated on, all show COVID-19, so that there is no operating point."""
TRAINING = ["--train.epochs", str(EPOCHS), "--train.accumulate", "2", "--train.specificities", "[0.5]"]
TRAINING += ["--train.balance", "class_and_source"]
WORKERS = ["--workers.count", "2", "--workers.threads", "1"]
FAILURES = ("--max_failed_share", "1")
"""The archive has broken files on purpose."""


@pytest.fixture(scope="module")
def bucket(s3_endpoint: str) -> Iterator[str]:
    """URI of the module's bucket."""
    with empty_bucket(s3_endpoint, "cluster") as uri:
        yield uri


@pytest.fixture(scope="module")
def cluster(bucket: str) -> Iterator[LocalCluster]:
    """One for the module: a test may take a node from it, and the next has as many again."""
    directory = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # sockets have short names
    keys = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    started = LocalCluster(directory, keys)
    try:
        yield started
    finally:
        started.stop()
        shutil.rmtree(directory, ignore_errors=True)


def options(root: str, output: str, checkpoint: str) -> dict[str, list[str]]:
    """Options of every job, by its name."""
    manifest = ["--manifest", f"{output}/manifest"]
    run = ["--data", f"{output}/data", "--storage", f"{output}/runs", "--name", "first"]
    tables = ["--embeddings", "true", "--gradcam", "true", "--variants", "[lungs_only]"]
    return {
        "manifest": [*SOURCE, "--root", root, "--output", f"{output}/manifest"],
        "prepare": [*manifest, "--output", f"{output}/data"],
        "train": [*MODEL, *TRAINING, *WORKERS, *run],
        "screen": [*manifest, "--checkpoint", checkpoint, "--output", f"{output}/results", *tables, *FAILURES],
        "benchmark": ["--checkpoint", checkpoint, "--output", f"{output}/benchmark"],
        "sweep": ["--data", f"{output}/data", "--storage", f"{output}/studies", "--name", "study"],
        "evaluate": [*manifest, "--results", f"{output}/results", "--output", f"{output}/report", "--draws", "20"],
    }


def files(uri: str, ending: str = ".parquet") -> list[str]:
    return [entry.path for entry in storage.list_files(uri, ending)] if storage.exists(uri) else []


def wait_for(happened: Callable[[], T], job: Any, seconds: float = 900) -> T:
    """What `happened` returns, once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert job.poll() is None, job.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


class Way:
    """The jobs of one archive in a bucket, submitted to the cluster; and the same at home, left alone.

    Args:
        cluster: to submit to.
        archive: on the disk.
        bucket: URI.
        home: directory of what is done at home.
    """

    def __init__(self, cluster: LocalCluster, archive: Path, bucket: str, home: Path) -> None:
        checkpoint_uri = write_checkpoint(home / "checkpoint")
        upload(archive, f"{bucket}/archive")
        upload(home / "checkpoint", f"{bucket}/checkpoint")
        self.cluster, self.archive, self.home = cluster, archive, home
        self.root, self.output = f"{bucket}/archive", f"{bucket}/out"
        self.asked = options(self.root, self.output, f"{bucket}/checkpoint")
        self.at_home = options(str(archive), str(home / "out"), checkpoint_uri)
        cluster.unpack()

    def command(self, job: str, *more: str) -> list[str]:
        return ["python", f"jobs/{job}.py", *self.asked[job], *more]

    @contextmanager
    def doing(self, *commands: list[str]) -> Iterator[list[str]]:
        """One submission runs the commands one after the other during the block; after it, what it printed."""
        job, _ = self.cluster.start_job("bash", "-c", " && ".join(map(shlex.join, commands)))
        printed: list[str] = []
        try:
            yield printed
        except BaseException:
            job.kill()
            raise
        out, err = job.communicate(timeout=900)
        assert job.returncode == 0, out[-5000:] + err[-2000:]
        printed.append(out)

    def compare(self, *tables: str) -> None:
        for table in tables:
            here = rows(_without_times(parquet.read_table(f"{self.home}/out/{table}")), str(self.archive))
            assert rows(_without_times(parquet.read_table(f"{self.output}/{table}")), self.root) == here, table


def _without_times(table: pa.Table) -> pa.Table:
    """Without what says when and where, not what: a file's version on its storage, and the time of a screen."""
    return table.drop_columns([name for name in ("file_tag", "screened_at") if name in table.column_names])


@pytest.fixture(scope="module")
def prepared(cluster: LocalCluster, bucket: str, cxr: Path, tmp_path_factory: pytest.TempPathFactory) -> Way:
    """The archive's manifest and training table, made on the cluster and at home."""
    home = tmp_path_factory.mktemp("home")
    way = Way(cluster, packed_archive(cxr, home, IMAGES), bucket, home)
    with way.doing(way.command("manifest"), way.command("prepare")) as printed, chunks_here():
        assert manifest_job.job(cli.parse(ManifestConfig, "", way.at_home["manifest"])) == 0
        assert prepare_job.job(cli.parse(PrepareConfig, "", way.at_home["prepare"])) == 0
    assert f"manifest: {way.output}/manifest" in printed[0]
    assert f"data: {way.output}/data" in printed[0]
    return way


@pytest.fixture
def way(prepared: Way) -> Way:
    """With all nodes of its cluster."""
    if prepared.cluster.mend():
        prepared.cluster.unpack()
    return prepared


def test_manifest_and_training_table_are_those_made_at_home(way: Way) -> None:
    way.compare("manifest", "data/images")
    ids = parquet.read_table(f"{way.output}/manifest")["image_id"].to_pylist()
    assert len(ids) == IMAGES
    assert sum("!" in image_id for image_id in ids) == 12, "members of archives"


def test_a_job_without_token_and_one_that_would_lose_its_tables_are_refused(way: Way) -> None:
    refused = way.cluster.submit(*way.command("manifest", "--output", f"{way.output}/refused"), token=False)
    assert refused.returncode != 0
    assert "AuthenticationError" in refused.stderr
    assert not files(f"{way.output}/refused")
    lost = way.cluster.submit("python", "jobs/manifest.py", *SOURCE, "--root", way.root, "--output", "tables")
    assert lost.returncode != 0
    assert "lies in the working directory that Ray deletes" in lost.stdout


def test_a_stopped_screen_that_loses_a_node_has_the_rows_of_one_left_alone(way: Way) -> None:
    predictions = f"{way.output}/results/predictions"
    slow = ["--predictors", "2", "--fetch_threads", "1"]
    first, submission = way.cluster.start_job(*way.command("screen", *slow))
    wait_for(lambda: len(files(predictions)) > 0, first)
    way.cluster.stop_job(submission)
    first.communicate(timeout=900)
    begun = len(files(predictions))
    assert 0 < begun < IMAGES, "it was stopped before its end"
    assert parquet.read_table(predictions).num_rows == begun, "every file is whole"

    second, _ = way.cluster.start_job(*way.command("screen", *slow))
    wait_for(lambda: len(files(predictions)) > begun, second)
    way.cluster.kill_raylet(way.cluster.workers()[-1])
    printed = second.communicate(timeout=900)[0]
    assert second.returncode == 0, printed[-5000:]
    assert f"{IMAGES} images in the manifest" in printed
    measuring = way.command("benchmark", "--images", "64", "--chunk_rows", "16")
    with way.doing(way.command("evaluate"), measuring) as said, chunks_here():
        assert screen_job.job(cli.parse(ScreenConfig, "", way.at_home["screen"])) == 0
    assert "report: " in said[0]
    assert "bottleneck: " in said[0]
    assert storage.exists(f"{way.output}/benchmark/benchmark.json")
    processes = run_record.read(f"{way.output}/results")["processes"]
    assert processes[0]["job"]["job_submission_id"] == submission
    assert len({one["code"]["sources"] for one in processes}) == 1

    tables = ("predictions", "masks", "embeddings", "gradcam", "variants", "review_queue")
    way.compare(*(f"results/{one}" for one in tables))


def test_a_stopped_training_that_loses_a_node_has_the_weights_of_one_left_alone(way: Way, ray_session) -> None:
    run = f"{way.output}/runs/first"
    spread = ["--workers.cpus", str(way.cluster.cpus)]  # a node each
    first, submission = way.cluster.start_job(*way.command("train", *spread))
    wait_for(lambda: storage.exists(f"{run}/checkpoint_0001/{checkpoint.CONFIG}"), first)
    way.cluster.stop_job(submission)
    first.communicate(timeout=900)
    assert not storage.exists(f"{run}/last/{checkpoint.CONFIG}"), "it was stopped before its end"

    way.cluster.add_worker()  # a place for the worker of the node that is lost
    second, _ = way.cluster.start_job(*way.command("train", *spread, "--resume", "true"))
    wait_for(lambda: storage.exists(f"{run}/checkpoint_{EPOCHS // 2:04d}/{checkpoint.CONFIG}"), second)
    at_work = wait_for(lambda: way.cluster.workers_with("ray::RayTrainWorker"), second)
    way.cluster.kill_raylet(at_work[0])
    printed = second.communicate(timeout=900)[0]
    assert second.returncode == 0, printed[-5000:]
    assert "epoch 1/" not in printed
    assert f"checkpoint: {run}/best" in printed
    history = checkpoint.load_history(f"{run}/last")
    assert [epoch["epoch"] for epoch in history] == list(range(1, EPOCHS + 1))
    assert len({epoch["train_images"] for epoch in history}) == 1, "balanced, each epoch has as many"
    assert set(checkpoint.load(f"{run}/best").operating_points) == {"specificity_0.50"}
    left = files(run, "")
    assert "curves.png" in left
    assert len([name for name in left if name.startswith("tensorboard/")]) == EPOCHS

    study = ["python", "-c", f"open('study.yaml', 'w').write({yaml.safe_dump(STUDY)!r})"]
    with way.doing(study, way.command("sweep", "--study", "study.yaml")):
        train(cli.parse(TrainConfig, "", way.at_home["train"]))
    trials = parquet.read_table(f"{way.output}/studies/study/trials")
    assert trials.select(["variant", "status"]).to_pylist() == [{"variant": "narrow", "status": "ok"}]

    for which in ("best", "last"):
        weights = f"runs/first/{which}/{checkpoint.WEIGHTS}"
        assert storage.read_bytes(f"{way.output}/{weights}") == (way.home / "out" / weights).read_bytes()
