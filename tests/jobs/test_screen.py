"""The screen as its users run it, on real files: the job's own process, and this one where Ray has no part in it."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pydicom.data
import pytest
from PIL import Image
from scipy.special import logit

from comit_ray import cli
from comit_ray.checkpoint.temperature import Temperature
from comit_ray.config.manifest_config import ManifestConfig
from comit_ray.config.queue_config import QueueConfig, RequeueConfig
from comit_ray.config.screen_config import ScreenConfig
from comit_ray.errors import ConfigError
from jobs import manifest as manifest_job
from jobs import requeue as requeue_job
from jobs import screen as screen_job
from tests.chunks.one_process import chunks_here
from tests.conftest import REPOSITORY
from tests.jobs.in_process import called
from tests.support import some_of_covid, some_of_nih, write_checkpoint

pytestmark = pytest.mark.slow


def screen(*options: str) -> int:
    """The job in this process, on the session's Ray or `here`; however many images of its broken archives fail."""
    return screen_job.job(cli.parse(ScreenConfig, "", ("--max_failed_share", "1", *options)))


def manifest(output: Path, **options: Any) -> str:
    assert manifest_job.job(ManifestConfig(output=str(output), **options)) == 0
    return str(output)


def query(sql: str, output: Path) -> list[tuple]:
    return duckdb.sql(sql.replace("OUTPUT", str(output))).fetchall()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> str:
    return write_checkpoint(tmp_path_factory.mktemp("model") / "checkpoint")


def test_every_dicom_file_ends_as_one_row_with_pixels_or_a_reason(cxr, checkpoint, tmp_path, ray_session, capsys):
    """Real chest radiographs, extremities, and pydicom's own test files: whole, broken and alien ones."""
    archive = tmp_path / "archive"
    shutil.copytree(cxr / "dicom", archive / "cxr")
    shutil.copytree(Path(pydicom.data.__file__).parent / "test_files", archive / "pydicom")
    uri = manifest(tmp_path / "manifest", source="dicom", root=str(archive))
    output = tmp_path / "results"
    assert screen("--manifest", uri, "--checkpoint", checkpoint, "--output", str(output)) == 0
    summary = capsys.readouterr().out
    assert "5 not_a_chest" in summary

    rows = query("SELECT image_id, status, reason, detail, p_covid FROM 'OUTPUT/predictions/*.parquet'", output)
    listed = duckdb.sql(f"SELECT count(*), count(DISTINCT image_id) FROM '{uri}/*.parquet'").fetchall()
    assert listed == [(len(rows), len(rows))]
    assert len({row[0] for row in rows}) == len(rows) > 80
    by_id = {row[0]: row[1:] for row in rows}
    for name in ("1.2.276.0.7230010.3.1.4.8323329.6904.1517875201.850819.dcm", "Fake_MONOHR1.dcm", "RG1_J2KI.dcm"):
        assert by_id[f"dicom/cxr/{name}"][0] == "ok", by_id[f"dicom/cxr/{name}"]
    for name in ("RG3_J2KI.dcm", "RG3_J2KR.dcm"):
        assert by_id[f"dicom/cxr/{name}"][:2] == ("excluded", "not_a_chest")
    for status, reason, detail, p_covid in by_id.values():
        assert (status == "ok") == (reason is None) == (detail is None) == (p_covid is not None)


def covid_and_nih(cxr: Path, root: Path) -> str:
    """69 and 40 images, in small chunks."""
    some = some_of_covid(cxr, root / "some_of_covid", every=3)
    covid = manifest(root / "covid", source="covid-chestxray", root=str(some), present_only=True)
    some = some_of_nih(cxr, root / "some_of_nih", every=25)
    nih = manifest(root / "nih", source="nih", root=str(some), present_only=True)
    return manifest(root / "all", inputs=f"{covid},{nih}", chunk_rows=2, duplicates="ignore")


def test_a_killed_driver_loses_nothing_and_repeats_nothing(cxr, checkpoint, tmp_path, ray_session, capsys):
    uri = covid_and_nih(cxr, tmp_path)
    output = tmp_path / "results"
    options = ["--manifest", uri, "--checkpoint", checkpoint, "--output", str(output), "--fetch_threads", "1"]
    chunks = duckdb.sql(f"SELECT count(DISTINCT chunk) FROM '{uri}/*.parquet'").fetchall()[0][0]

    command = [sys.executable, str(REPOSITORY / "jobs" / "screen.py"), *options]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    predictions = output / "predictions"
    while not (predictions.is_dir() and len(list(predictions.glob("*.parquet"))) >= 3):
        assert driver.poll() is None, "the screen ended before it could be killed"
        time.sleep(0.01)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    committed = len(list(predictions.glob("*.parquet")))
    assert 0 < committed < chunks
    # A half-written file of the killed run, as a full disk might leave it, is done again.
    victim = sorted(predictions.glob("*.parquet"))[0]
    victim.write_bytes(victim.read_bytes()[:100])

    assert screen(*options) == 0
    counts = "SELECT count(*), count(DISTINCT image_id) FROM 'OUTPUT/{}/*.parquet'"
    assert query(counts.format("predictions"), output) == [(109, 109)]
    scored = query("SELECT count(*) FROM 'OUTPUT/predictions/*.parquet' WHERE status = 'ok'", output)[0][0]
    assert query(counts.format("masks"), output) == [(scored, scored)]
    reasons = query("SELECT reason, count(*) FROM 'OUTPUT/predictions/*.parquet' GROUP BY ALL ORDER BY 2 DESC", output)
    assert reasons == [(None, 96), ("wrong_modality", 9), ("lateral", 4)]

    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")}
    capsys.readouterr()
    assert screen(*options) == 0
    assert "nothing was left to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")} == before

    assert screen(*options, "--compact", "true") == 0
    assert query(counts.format("compact/predictions"), output) == [(109, 109)]
    assert len(list((output / "compact" / "predictions").iterdir())) == 1

    # Another queue needs neither images nor model; another model changes the settings of the results.
    assert requeue_job.job(RequeueConfig(results=str(output), manifest=uri, queue=QueueConfig(capacity=10))) == 0
    assert "the review queue was built from the tables" in capsys.readouterr().out
    assert query("SELECT count(*), max(rank) FROM 'OUTPUT/review_queue/*.parquet'", output) == [(10, 10)]
    other = write_checkpoint(tmp_path / "other", seed=1)
    with pytest.raises(ConfigError, match=r"was made with other settings .*model_id was"):
        screen(*options, "--checkpoint", other)
    assert json.loads((output / "run.json").read_text())["question"]["split"] == "all"


def few(cxr: Path, root: Path) -> str:
    """A manifest of eight real radiographs."""
    (root / "archive").mkdir()
    for file in sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[:8]:
        shutil.copy(file, root / "archive")
    return manifest(root / "manifest", source="images", root=str(root / "archive"))


@dataclass(frozen=True)
class Plain:
    """A screen of eight real radiographs with nothing asked for but the scores, and what it said."""

    manifest: str
    checkpoint: str
    output: Path
    said: str


@pytest.fixture(scope="module")
def plain(cxr: Path, tmp_path_factory) -> Plain:
    root = tmp_path_factory.mktemp("plain")
    by = {"covid": 3.0, "other": 2.0, "unhealthy": 0.5}
    document = {score: Temperature(temperature=temperature) for score, temperature in by.items()}
    uri, model = few(cxr, root), write_checkpoint(root / "checkpoint", temperatures=document)
    options = ["--manifest", uri, "--checkpoint", model, "--output", str(root / "results"), "--temperature", "off"]
    with chunks_here():
        done = called(screen_job.job, ScreenConfig, *options)
    assert done.returncode == 0
    return Plain(uri, model, root / "results", done.stdout)


def test_temperatures_are_written_only_where_they_are_asked_for(plain, here, tmp_path, capsys):
    columns = "image_id, covid_flag, unhealthy_flag, calibration, p_covid"
    ask = f"SELECT {columns} FROM 'OUTPUT/predictions/*.parquet' ORDER BY image_id"
    options = ["--manifest", plain.manifest, "--checkpoint", plain.checkpoint]
    assert "not calibrated" in plain.said
    assert screen(*options, "--output", str(tmp_path / "on"), "--temperature", "on") == 0
    assert "covid by 3, other by 2" in capsys.readouterr().out
    found = {"off": query(ask, plain.output), "on": query(ask, tmp_path / "on")}
    assert [row[:3] for row in found["off"]] == [row[:3] for row in found["on"]]
    assert {row[3] for row in found["off"]} == {"none"}
    assert {row[3] for row in found["on"]} == {"temperature"}
    for off, on in zip(found["off"], found["on"], strict=True):
        assert logit(on[4]) == pytest.approx(logit(off[4]) / 3, abs=1e-4)
    question = json.loads((tmp_path / "on" / "run.json").read_text())["question"]
    assert question["temperature"] == {"covid": 3.0, "other": 2.0, "unhealthy": 0.5}
    with pytest.raises(ConfigError, match=r"was made with other settings .*temperature was .*covid.*, now 'off'"):
        screen(*options, "--output", str(tmp_path / "on"))
    assert requeue_job.job(RequeueConfig(results=str(tmp_path / "on"), manifest=plain.manifest)) == 0
    assert "unchanged" in capsys.readouterr().out


def test_a_model_of_lungs_alone_screens(cxr, here, tmp_path, capsys):
    uri = few(cxr, tmp_path)
    model = write_checkpoint(tmp_path / "checkpoint", tasks=["lung"])
    output = tmp_path / "results"
    assert screen("--manifest", uri, "--checkpoint", model, "--output", str(output), "--queue.min_lung_area", "1") == 0
    assert "the model has no score" in capsys.readouterr().out
    rows = query("SELECT p_covid, covid_flag, operating_point, lung_area FROM 'OUTPUT/predictions/*.parquet'", output)
    assert len(rows) == 8
    assert all(row[:3] == (None, None, None) and row[3] is not None for row in rows)
    queued = query("SELECT DISTINCT reasons FROM 'OUTPUT/review_queue/*.parquet'", output)
    assert queued == [(["no_lungs_found"],)]


def test_grad_cam_maps_are_a_side_table_and_change_no_number(plain, here, tmp_path, capsys):
    output = tmp_path / "explained"
    options = ["--manifest", plain.manifest, "--checkpoint", plain.checkpoint, "--temperature", "off"]
    explained = [*options, "--output", str(output), "--gradcam", "true"]
    assert screen(*explained, "--compact", "true") == 0
    for table, but in (("predictions", "EXCLUDE (run_id, screened_at)"), ("masks", "")):
        rows = f"SELECT * {but} FROM 'OUTPUT/{table}/*.parquet' ORDER BY image_id"
        assert query(rows, plain.output) == query(rows, output)
    assert not (plain.output / "gradcam").exists()

    ids = query("SELECT image_id FROM 'OUTPUT/predictions/*.parquet' WHERE status = 'ok' ORDER BY ALL", output)
    assert len(ids) == 8
    for table in ("gradcam", "compact/gradcam"):
        assert query(f"SELECT image_id FROM 'OUTPUT/{table}/*.parquet' ORDER BY ALL", output) == ids
    maps = query("SELECT image_id, covid_png, unhealthy_png FROM 'OUTPUT/gradcam/*.parquet' ORDER BY ALL", output)
    for _, *pngs in maps:
        for png in pngs:
            with Image.open(io.BytesIO(png)) as image:
                assert (image.mode, image.size) == ("L", (64, 64))
    (frame,) = query("SELECT DISTINCT frame_height, frame_width FROM 'OUTPUT/masks/*.parquet'", output)
    assert frame == (64, 64)

    # A chunk without its maps is not whole, and is done again; another answer to the question is refused.
    for file in (output / "gradcam").glob("*.parquet"):
        file.unlink()
    assert screen(*explained) == 0
    assert (
        query("SELECT image_id, covid_png, unhealthy_png FROM 'OUTPUT/gradcam/*.parquet' ORDER BY ALL", output) == maps
    )
    capsys.readouterr()
    assert screen(*explained) == 0
    assert "nothing was left to do" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"was made with other settings \(gradcam was True, now False\)"):
        screen(*options, "--output", str(output))


def test_grad_cam_of_a_model_of_lungs_is_refused_before_anything_is_read(cxr, tmp_path):
    uri = few(cxr, tmp_path)
    model = write_checkpoint(tmp_path / "checkpoint", tasks=["lung"])
    output = tmp_path / "results"
    with pytest.raises(ConfigError, match=r"--gradcam true: the model of .* has no score to explain \(heads: lung\)"):
        screen("--manifest", uri, "--checkpoint", model, "--output", str(output), "--gradcam", "true")
    assert not output.exists()


def test_an_absent_checkpoint_is_one_line(tmp_path):
    places = ["--manifest", "m", "--checkpoint", str(tmp_path / "x"), "--output", str(tmp_path / "o")]
    absent = called(screen_job.job, ScreenConfig, *places)
    assert absent.returncode == 1
    assert absent.stderr.startswith("screen.py: CheckpointError: no complete checkpoint at")
    assert absent.stderr.count("\n") == 1
