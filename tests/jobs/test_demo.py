import subprocess
import sys

import duckdb
import pytest
from PIL import Image

from comit_ray.config.phantom_config import DemoConfig
from comit_ray.errors import ConfigError
from jobs import demo as demo_job
from tests.conftest import REPOSITORY
from tests.jobs.in_process import NOT_OURS


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path):
    (tmp_path / "results").mkdir()
    with pytest.raises(ConfigError, match="holds files that do not belong to a demo"):
        demo_job.job(DemoConfig(output=str(tmp_path)))
    assert (tmp_path / "results").is_dir()


@pytest.mark.slow
@pytest.mark.ray
def test_the_demo_leaves_everything_that_the_pages_promise(tmp_path, monkeypatch):
    small = ["--count", "40", "--epochs", "4"]
    command = [sys.executable, "jobs/demo.py", "--output", str(tmp_path / "demo"), *small]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    demo = tmp_path / "demo"
    assert Image.open(demo / "sheet.png").width > 1000
    assert (demo / "checkpoint" / "weights.safetensors").is_file()
    assert (demo / "report" / "metrics.json").is_file()

    monkeypatch.chdir(demo / "results")
    statements = duckdb.extract_statements((REPOSITORY / "docs" / "queries.sql").read_text())
    answered = [bool(duckdb.sql(one).fetchall()) for one in statements if "reviews/" not in one.query]
    assert len(answered) >= 10
    assert sum(answered) >= len(answered) - 2, "of forty phantoms hardly any question has no answer"
    counts = duckdb.sql(f"SELECT status, count(*) FROM '{demo}/results/predictions/*.parquet' GROUP BY ALL").fetchall()
    assert sum(count for _, count in counts) == 40
    assert {status for status, _ in counts} == {"ok", "failed", "excluded"}
    assert "images in the review queue (phantoms, not patients)" in done.stdout
    assert f"report in a browser: {demo}/report/report.html" in done.stdout
    said = done.stdout + done.stderr
    # The Ray of other tests is on this machine too, which a thread of Ray Train ends with; alone there is no such word.
    others = "Found multiple active Ray instances" in said
    not_ours = [words for words in NOT_OURS if words in said and not (others and words == "Traceback")]
    assert [line for line in said.splitlines() if any(words in line for words in not_ours)] == []
