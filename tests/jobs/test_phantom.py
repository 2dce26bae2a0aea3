"""jobs/phantom.py as people call it."""

import subprocess
import sys
from pathlib import Path

from comit_ray.config.phantom_config import PhantomConfig
from jobs import phantom as phantom_job
from tests.jobs.in_process import called

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "jobs/phantom.py", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_it_writes_an_archive_and_says_so(tmp_path: Path) -> None:
    done = run("--output", str(tmp_path / "archive"), "--count", "20", "--seed", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("20 files of ")
    assert done.stdout.endswith(f"archive: {tmp_path / 'archive'}\n")
    assert len((tmp_path / "archive" / "labels.csv").read_text().splitlines()) == 21


def test_wrong_options_are_one_line_and_status_2(tmp_path: Path) -> None:
    output = ["--output", str(tmp_path / "archive")]
    for wrong in (run(*output, "--count", "5"), called(phantom_job.job, PhantomConfig, *output, "--seed", "-1")):
        assert wrong.returncode == 2
        assert len(wrong.stderr.strip().splitlines()) == 1, wrong.stderr
        assert "Traceback" not in wrong.stderr
    assert not (tmp_path / "archive").exists()
