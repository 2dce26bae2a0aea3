"""The benchmark as its users run it, on phantoms: every stage, the whole, and what is projected from them."""

import json
from pathlib import Path

import pytest

from comit_ray import cli
from comit_ray.benchmark_config import BenchmarkConfig
from comit_ray.errors import ConfigError
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
def test_phantoms_are_measured_and_projected(tmp_path: Path, ray_session, capsys) -> None:
    model, output = write_checkpoint(tmp_path / "checkpoint"), tmp_path / "out"
    options = ["--images", "64", "--chunk_rows", "16", "--project", "[1000]", "--cost_per_hour", "2"]
    assert run("--checkpoint", model, "--output", str(output), *options) == 0
    said = capsys.readouterr().out
    for words in ("bottleneck: ", "end to end over the bare model loop: ", "1,000 images: ", "GB of tables", "cost "):
        assert words in said, words
    found = json.loads((output / "benchmark.json").read_text())
    assert {"fetch", "decode", "predict", "write", "bare model"} == {stage["name"] for stage in found["stages"]}
    assert {stage["kind"] for stage in found["stages"] if stage["name"] == "decode"} >= {"PNG", "JPEG"}
    assert found["whole"]["images"] > found["whole"]["fewer"] > 0
    assert found["rate"] > 0
    assert found["row_bytes"] > 100
