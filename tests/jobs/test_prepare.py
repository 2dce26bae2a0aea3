"""The training table as its users make it: the job's own process on real radiographs, killed and gone on with."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from comit_ray import cli
from comit_ray.checkpoint import checkpoint
from comit_ray.config.manifest_config import ManifestConfig
from comit_ray.config.prepare_config import PrepareConfig
from comit_ray.config.train_config import TrainConfig
from comit_ray.errors import ConfigError
from comit_ray.storage import storage
from comit_ray.training.run_training import train
from jobs import manifest as manifest_job
from jobs import prepare as prepare_job
from jobs import train as train_job
from tests.conftest import REPOSITORY
from tests.jobs.in_process import called
from tests.support import some_of_covid, some_of_nih
from tests.training.one_process import trains_here

pytestmark = pytest.mark.slow


def prepare(*options: str) -> int:
    """The job in this process, on the session's Ray."""
    return prepare_job.job(cli.parse(PrepareConfig, "", ("--max_failed_share", "1", *options)))


@pytest.fixture(scope="module")
def manifest(cxr: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Every third image of covid_chestxray and every 25th of NIH that is present, in chunks of 3."""
    root = tmp_path_factory.mktemp("manifests")
    covid, nih = (
        some_of_covid(cxr, root / "some_of_covid", every=3),
        some_of_nih(cxr, root / "some_of_nih", every=25),
    )
    for name, folder in (("covid-chestxray", covid), ("nih", nih)):
        config = ManifestConfig(source=name, root=str(folder), output=str(root / name), present_only=True)
        assert manifest_job.job(config) == 0
    inputs = f"{root}/covid-chestxray,{root}/nih"
    merged = ManifestConfig(inputs=inputs, output=str(root / "all"), chunk_rows=3, duplicates="ignore")
    assert manifest_job.job(merged) == 0
    return str(root / "all")


def test_a_killed_driver_loses_nothing_and_training_reads_the_table(manifest, tmp_path, joining, capsys):
    """One of several on a cluster, which outlives it: tests/jobs/test_screen.py kills one with a Ray of its own."""
    output = tmp_path / "prepared"
    options = ["--manifest", manifest, "--output", str(output), "--threads", "1"]
    command = [sys.executable, str(REPOSITORY / "jobs" / "prepare.py"), *options]
    driver = subprocess.Popen(command, env=joining, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not ((output / "images").is_dir() and len(list((output / "images").glob("*.parquet"))) >= 3):
        assert driver.poll() is None, "the job ended before it could be killed"
        time.sleep(0.01)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    committed = len(list((output / "images").glob("*.parquet")))
    assert 0 < committed < 37
    victim = sorted((output / "images").glob("*.parquet"))[0]
    victim.write_bytes(victim.read_bytes()[:100])

    assert prepare(*options) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == f"data: {output}"
    images = f"'{output}/images/*.parquet'"
    counts = duckdb.sql(f"SELECT count(*), count(DISTINCT image_id) FROM {images}").fetchall()
    assert counts == [(109, 109)]
    reasons = duckdb.sql(f"SELECT reason, count(*) FROM {images} GROUP BY ALL ORDER BY 2 DESC").fetchall()
    assert reasons == [(None, 96), ("wrong_modality", 9), ("lateral", 4)]
    masks = f"SELECT count(lung_png), count(disease_png), count(disease_mask) FROM {images}"
    assert duckdb.sql(masks).fetchall() == [(53, 29, 1)]
    groups = f"SELECT max(row_group_num_rows) FROM parquet_metadata({images})"
    assert duckdb.sql(groups).fetchall()[0][0] <= 64

    assert prepare(*options) == 0
    assert "nothing was left to do" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="format was 'png', now 'webp'"):
        prepare(*options, "--format", "webp")

    # A training on the table has the numbers of one on the manifest.
    for name, data in (("table", str(output)), ("manifest", manifest)):
        config = {
            "data": data,
            "storage": str(tmp_path / "runs"),
            "name": name,
            "frame": {"size": 32},
            "model": {"width": 0.0625, "weights": "none"},
            "train": {"epochs": 1, "lr": 1e-3, "augment_covid": False},
            "workers": {"threads": 2},
        }
        with trains_here(ray_data=True):
            train(TrainConfig.parse(config, origin="test"))
    runs = tmp_path / "runs"
    weights = [(runs / name / "best" / checkpoint.WEIGHTS).read_bytes() for name in ("table", "manifest")]
    assert weights[0] == weights[1]
    first, second = capsys.readouterr().out.split("manifest: ")[1:3]
    assert first.splitlines()[0] == second.splitlines()[0]


def test_an_unfinished_table_is_not_trained_on(manifest, tmp_path):
    storage.write_bytes(
        f"{tmp_path}/prepared/run.json",
        b'{"run_id": "r", "question": {"kind": "prepare", "rows": 5, "training_hash": ""}}',
    )
    places = ["--data", f"{tmp_path}/prepared", "--storage", str(tmp_path), "--name", "x", "--model.weights", "none"]
    done = called(train_job.job, TrainConfig, *places)
    assert done.returncode == 1
    assert "holds 0 of 5 images: run comit-ray prepare again" in done.stderr
    assert done.stderr.count("\n") == 1
