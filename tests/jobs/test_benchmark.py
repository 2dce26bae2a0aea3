"""The benchmark as its users run it, on phantoms: every stage, the whole, and what is projected from them."""

import json
from pathlib import Path

import pytest
import ray

from comit_ray import cli
from comit_ray.benchmark_config import BenchmarkConfig
from comit_ray.errors import ConfigError
from comit_ray.work.counters import Counters
from comit_ray.work.stage_names import DECODE, WRITE
from comit_ray.work.tally import Tally
from jobs import benchmark as benchmark_job
from tests.support import write_checkpoint


def run(*options: str) -> int:
    return benchmark_job.job(cli.parse(BenchmarkConfig, "", options))


def test_a_directory_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(ConfigError, match="holds files already: give a new directory"):
        run("--checkpoint", str(tmp_path / "checkpoint"), "--output", str(tmp_path / "out"))


@pytest.mark.slow
def test_what_tasks_tell_a_tally_is_summed_by_stage(ray_session) -> None:
    tally = Tally()

    @ray.remote(num_cpus=0)
    def work(seconds: float) -> None:
        Counters("screen", tally).stage(DECODE, seconds)

    ray.get([work.remote(0.25), work.remote(0.5)])
    tally.add(WRITE, 1.0)
    assert tally.read() == {DECODE: 0.75, WRITE: 1.0}


@pytest.mark.slow
def test_phantoms_are_measured_and_projected(tmp_path: Path, ray_session, capsys) -> None:
    model, output = write_checkpoint(tmp_path / "checkpoint"), tmp_path / "out"
    options = ["--images", "64", "--chunk_rows", "16", "--project", "[1000]", "--cost_per_hour", "2"]
    assert run("--checkpoint", model, "--output", str(output), *options) == 0
    said = capsys.readouterr().out
    for words in ("bottleneck: ", "end to end over the bare model loop: ", "1,000 images: ", "GB of tables", "cost "):
        assert words in said, words
    found = json.loads((output / "benchmark.json").read_text())
    assert {"fetch", "decode", "predict", "measure", "write", "bare model"} == {
        stage["name"] for stage in found["stages"]
    }
    assert {stage["kind"] for stage in found["stages"] if stage["name"] == "decode"} >= {"PNG", "JPEG"}
    assert found["whole"]["images"] > found["whole"]["fewer"] > 0
    assert found["rate"] > 0
    assert all(
        found["whole"]["took"][stage] > 0 for stage in ("fetch", "decode", "predict", "measure", "write", "graph")
    )
    assert sum(found["predictors_time"].values()) == pytest.approx(1)
    assert found["row_bytes"] > 100
