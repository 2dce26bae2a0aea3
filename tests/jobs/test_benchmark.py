"""The benchmark as its users run it: every stage, the whole, and what is projected from them."""

import json
import time
from pathlib import Path

import pytest
import ray

from comit_ray import cli
from comit_ray.benchmark.run_benchmark import images_of
from comit_ray.chunks.plan import DECODE, WRITE
from comit_ray.chunks.progress import Counters, StageTimer
from comit_ray.config.benchmark_config import BenchmarkConfig
from comit_ray.errors import ConfigError
from comit_ray.tables import parquet
from comit_ray.tables.manifest_schema import MANIFEST
from jobs import benchmark as benchmark_job
from tests.support import manifest_row, write_checkpoint, write_rows


def run(*options: str) -> int:
    return benchmark_job.job(cli.parse(BenchmarkConfig, "", options))


def test_a_directory_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match="holds files already: give a new directory"):
        run("--checkpoint", str(tmp_path / "checkpoint"), "--output", str(tmp_path / "out"))


@pytest.mark.slow
def test_what_tasks_tell_a_tally_is_summed_by_stage(ray_session) -> None:
    tally = StageTimer()

    @ray.remote(num_cpus=0)
    def work(seconds: float) -> None:
        Counters("screen", tally).stage(DECODE, seconds)

    ray.get([work.remote(0.25), work.remote(0.5)])
    tally.add(WRITE, 1.0)
    until = time.monotonic() + 30
    while tally.read() != {DECODE: 0.75, WRITE: 1.0}:  # nobody waits for an addition
        assert time.monotonic() < until, tally.read()
        time.sleep(0.1)


@pytest.mark.usefixtures("small_phantoms")
def test_without_a_manifest_phantoms_are_drawn(tmp_path: Path) -> None:
    config = BenchmarkConfig(checkpoint="", output="", images=64)
    rows = images_of(config, str(tmp_path))
    assert 0 < len(rows) <= 64
    assert all(Path(uri).parent.parent.is_relative_to(tmp_path / "phantoms") for uri in rows["uri"].to_pylist())


@pytest.mark.slow
def test_an_archive_is_measured_and_projected(cxr: Path, tmp_path: Path, ray_session, capsys) -> None:
    """Of two sources one after the other, as in a merged manifest: every sample has images of both."""
    png = sorted((cxr / "nih_chestxray14" / "images").glob("*.png"))[:72]
    jpeg = sorted((cxr / "covid_chestxray" / "images").glob("*.jp*g"))[:24]
    rows = [manifest_row(f"{file.parent.parent.name}/{file.name}", uri=str(file)) for file in (*png, *jpeg)]
    manifest = write_rows(tmp_path / "manifest", rows, MANIFEST)
    model, output = write_checkpoint(tmp_path / "checkpoint"), tmp_path / "out"
    options = ["--images", "64", "--chunk_rows", "32", "--project", "[1000]", "--cost_per_hour", "2"]
    assert run("--checkpoint", model, "--manifest", manifest, "--output", str(output), *options) == 0
    said = capsys.readouterr().out
    for words in ("bottleneck: ", "end to end over the bare model loop: ", "1,000 images: ", "GB of tables", "cost "):
        assert words in said, words
    found = json.loads((output / "benchmark.json").read_text())
    assert {
        *("fetch", "decode", "predict", "measure", "write", "bare model", "bare model by torch-fused float32"),
    } == {stage["name"] for stage in found["stages"]}
    assert {stage["kind"] for stage in found["stages"] if stage["name"] == "decode"} == {"PNG", "JPEG"}
    assert (found["whole"]["images"], found["whole"]["fewer"]) == (64, 16)
    for sample in ("warm", "fewer", "all"):
        predictions = parquet.read_table(str(output / sample / "results" / "predictions"))
        assert set(predictions["status"].to_pylist()) == {"ok"}
        sources = {image_id.split("/")[0] for image_id in predictions["image_id"].to_pylist()}
        assert sources == {"nih_chestxray14", "covid_chestxray"}, sample
    (note,) = found["notes"]
    assert "--images 512 or more" in note
    assert f"NOTE: {note}" in said
    assert found["rate"] > 0
    assert all(
        found["whole"]["took"][stage] > 0 for stage in ("fetch", "decode", "predict", "measure", "write", "graph")
    )
    assert sum(found["predictors_time"].values()) == pytest.approx(1)
    assert found["row_bytes"] > 100
